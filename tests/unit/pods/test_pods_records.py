"""Status files: what the keeper writes is read back, and anything else is survived."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appc.pods import records
from appc.pods.layout import Pod

UUID = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    (tmp_path / "pods/run" / UUID / "status").mkdir(parents=True)
    return Pod(str(tmp_path), "run", UUID)


def write(pod: Pod, name: str, data: bytes) -> None:
    Path(pod.file(f"status/{name}")).write_bytes(data)


def test_an_app_that_ended(pod: Pod) -> None:
    write(pod, "web", b"pid=12\nstarted=1000\nexited=2000\nstatus=3\npost-stop=done\n")
    record = records.app_record(pod, "web")
    assert (record.pid, record.started, record.exited, record.exit_status) == (12, 1000, 2000, 3)
    assert (record.signal, record.post_stop) == (None, "done")


def test_an_app_that_was_killed(pod: Pod) -> None:
    write(pod, "web", b"pid=12\nstarted=1\nexited=2\nsignal=9\n")
    assert records.app_record(pod, "web").exit_status == 137


def test_an_app_that_never_started(pod: Pod) -> None:
    record = records.app_record(pod, "web")
    assert (record.pid, record.started, record.exited, record.exit_status) == (None, None, None, None)


def test_the_keeper(pod: Pod) -> None:
    assert records.keeper_pid(pod) is None
    assert records.init_pid(pod) is None
    write(pod, "_keeper", b"pid=10\nstarttime=11\ninit=12\ninit-starttime=13\n")
    assert records.keeper_pid(pod) == (10, 11)
    assert records.init_pid(pod) == (12, 13)
    assert not records.is_ready(pod)
    write(pod, "_keeper", b"pid=10\nstarttime=11\nready=1\n")
    assert records.init_pid(pod) is None
    assert records.is_ready(pod)


@pytest.mark.parametrize("value", ["", "-1", "1.5", "0x10", "1e3", " 1", "٣", "9" * 21, "nan"])
def test_what_is_no_number_is_nothing(pod: Pod, value: str) -> None:
    write(pod, "web", f"pid={value}\nstatus={value}\n".encode())
    record = records.app_record(pod, "web")
    assert (record.pid, record.status) == (None, None)


@given(data=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_bytes_are_a_record(pod: Pod, data: bytes) -> None:
    write(pod, "web", data)
    record = records.app_record(pod, "web")
    assert record.pid is None or record.pid >= 0
    assert isinstance(record.post_stop, str)
    write(pod, "_keeper", data)
    records.keeper_pid(pod)


def test_a_huge_record_is_read_in_part(pod: Pod) -> None:
    write(pod, "web", b"pid=1\n" + b"x" * 10_000_000)
    assert records.app_record(pod, "web").pid == 1
    assert sum(map(len, records.lines(pod, "web"))) <= records.RECORD_LIMIT


def test_no_link_is_followed(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("pid=1\n")
    Path(pod.file("status/web")).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        records.app_record(pod, "web")
