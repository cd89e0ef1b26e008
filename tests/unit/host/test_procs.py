"""A process is its number and its start time together."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.errors import HostError
from appc.host import procs
from capabilities import need


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    need("linux")
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_running_process_is_alive_and_a_dead_one_is_not(child: subprocess.Popen[bytes]) -> None:
    """Also while its parent has not waited for it yet."""
    started = procs.start_time(child.pid)
    assert started > 0
    assert procs.is_alive(child.pid, started)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not procs.is_alive(child.pid, started)
    assert procs.start_time(child.pid) == 0
    child.wait()
    assert not procs.is_alive(child.pid, started)
    assert procs.open_pidfd(child.pid, started) == -1


def test_another_process_with_the_number_is_not_meant(child: subprocess.Popen[bytes]) -> None:
    started = procs.start_time(child.pid)
    assert not procs.is_alive(child.pid, started - 1)
    assert not procs.send_signal(child.pid, started - 1, signal.SIGKILL)
    assert not procs.is_alive(child.pid, 0)
    assert child.poll() is None


def test_a_signal_reaches_the_process(child: subprocess.Popen[bytes]) -> None:
    assert procs.send_signal(child.pid, procs.start_time(child.pid), signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM


def test_a_name_with_parentheses_does_not_confuse(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(map(str, range(4, 53)))
    (tmp_path / "7" / "stat").write_text(f"7 (a) S (b) S {fields}\n")
    assert procs.start_time(7, str(tmp_path)) == 22


def test_memory_is_measured(child: subprocess.Popen[bytes]) -> None:
    assert 4096 < procs.pss(os.getpid()) < 1 << 32
    assert procs.pss(4194304 + 1) == 0


def test_a_process_of_another_user_is_one_clear_error() -> None:
    """In a child without privileges: the process is there, but not ours to signal."""
    need("root")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setuid(65534)
            procs.send_signal(os.getppid(), procs.start_time(os.getppid()), 0)
        except HostError as error:
            status = 0 if "cannot be signalled" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
