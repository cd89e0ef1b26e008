"""The status document: what is on disk, in words that are true at every moment."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pod_on_disk import IMAGE_ID, UUID, OnDisk

from appc.errors import PodNotFound
from appc.executor import status
from appc.pods.layout import Pod
from appc.store.deletion import delete_tree


@pytest.fixture
def running(tmp_path: Path) -> Iterator[OnDisk]:
    """A pod that something holds the lock of."""
    made = OnDisk(tmp_path, "run", ("web", "db"))
    fd = os.open(made.pod.file("lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield made
    os.close(fd)


def apps(document: dict[str, Any]) -> dict[str, str]:
    return {app["name"]: app["state"] for app in document["apps"]}


def test_a_running_pod(running: OnDisk) -> None:
    running.status("_keeper", pid=10, starttime=1, init=11, init_starttime=2, ready=1)
    running.status("web", pid=12, started=1000)
    running.status("db", pid=13, started=1000, exited=2000, status=0)
    document = status.describe(running.pod)
    assert (document["state"], document["keeper"], document["pid"], document["ready"]) == ("running", 10, 11, True)
    assert apps(document) == {"web": "running", "db": "exited"}
    assert [app["pid"] for app in document["apps"]] == [12, None]
    assert document["exit-status"] is None
    assert document["failure"] is None


def test_a_pod_that_is_starting(running: OnDisk) -> None:
    running.status("_keeper", pid=10, starttime=1, init=11, init_starttime=2)
    document = status.describe(running.pod)
    assert (document["state"], document["ready"]) == ("running", False)
    assert apps(document) == {"web": "not started", "db": "not started"}


@pytest.mark.parametrize(
    ("web", "db", "expected"),
    [
        ({"status": 0, "exited": 1}, {"status": 0, "exited": 2}, 0),
        ({"status": 3, "exited": 2}, {"signal": 9, "exited": 1}, 137),
        ({"status": 3, "exited": 1}, {"signal": 9, "exited": 2}, 3),
        ({"status": 0, "exited": 1}, {"status": 5, "exited": 2}, 5),
        ({"status": 0, "exited": 1}, {}, None),
        ({}, {}, None),
        ({"status": 4}, {"status": 0, "exited": 2}, 4),
    ],
)
def test_the_exit_status(tmp_path: Path, web: dict[str, int], db: dict[str, int], expected: int | None) -> None:
    made = OnDisk(tmp_path, "exited", ("web", "db"))
    made.status("web", pid=1, started=1, **web)
    made.status("db", pid=2, started=1, **db)
    assert status.describe(made.pod)["exit-status"] == expected


def test_a_pod_whose_keeper_was_killed(tmp_path: Path) -> None:
    made = OnDisk(tmp_path, "run")
    made.status("_keeper", pid=10, starttime=1, init=11, init_starttime=2, ready=1)
    made.status("web", pid=12, started=1000)
    document = status.describe(made.pod)
    assert (document["state"], document["pid"], document["ready"]) == ("exited", None, False)
    assert apps(document) == {"web": "ended, unrecorded"}
    assert document["exit-status"] is None


def test_a_start_that_failed(tmp_path: Path) -> None:
    made = OnDisk(tmp_path)
    made.status("_failure", track="app web", op=6, errno=2)
    document = status.describe(made.pod)
    assert document["failure"] == "app web: /bin/x: no such file in the image"
    assert document["exit-status"] == 127
    made.status("_failure", track="keeper", op=1, errno=10, status=3)
    document = status.describe(made.pod)
    assert (document["failure"], document["exit-status"]) == ("pre-start handler of app web: ended with status 3", 1)


def test_what_was_noted_on_the_way(tmp_path: Path) -> None:
    made = OnDisk(tmp_path)
    Path(made.pod.file("status/_warnings")).write_text(
        "pre-start web 3 2\nkeeper 3 1\nkeeper x y\n\nnonsense\nabsent 0 1\n"
    )
    document = status.describe(made.pod)
    assert document["warnings"][0] == "app web: /bin/x: no such file in the image".replace(
        "app web", "pre-start handler of app web"
    )
    assert "cannot make a mount namespace for the pod: Operation not permitted" in document["warnings"][1]
    assert len(document["warnings"]) == 3


@pytest.mark.parametrize("phase", ["embryo", "prepare"])
def test_a_pod_in_the_making(tmp_path: Path, phase: str) -> None:
    os.makedirs(tmp_path / "pods" / phase / UUID)
    document = status.describe(Pod(str(tmp_path), phase, UUID))
    assert (document["apps"], document["exit-status"], document["networks"]) == ([], None, [])


@pytest.mark.parametrize("name", ["pod", "request"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_damaged_files_do_not_hide_the_pod(tmp_path: Path, name: str, content: bytes) -> None:
    made = OnDisk(tmp_path)
    Path(made.pod.file(name)).write_bytes(content)
    document = status.describe(made.pod)
    assert document["state"] == "exited"
    assert document["failure"].startswith("its files are damaged: ")
    assert [entry["uuid"] for entry in status.describe_all(str(tmp_path))] == [UUID]


def test_a_pod_that_ends_while_it_is_described(running: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    running.status("web", pid=12, started=1000)
    real, mover = status.records.app_record, Pod(running.pod.root, "run", UUID)

    def record(pod: Pod, name: str) -> Any:
        if mover.phase == "run":
            running.status("web", pid=12, started=1000, exited=2000, status=3)
            running.status("db", pid=13, started=1000, exited=2000, status=0)
            mover.move("exited")
        return real(pod, name)

    monkeypatch.setattr(status.records, "app_record", record)
    document = status.describe(running.pod)
    assert document["state"] == "exited"
    assert (apps(document), document["exit-status"]) == ({"web": "exited", "db": "exited"}, 3)


def test_a_pod_that_is_removed_while_it_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = OnDisk(tmp_path)
    real = status.records.app_record

    def record(pod: Pod, name: str) -> Any:
        found = real(pod, name)
        delete_tree(made.pod.path)
        return found

    monkeypatch.setattr(status.records, "app_record", record)
    with pytest.raises(PodNotFound):
        status.describe(made.pod)
    assert status.describe_all(str(tmp_path)) == []


def test_the_newest_first(tmp_path: Path) -> None:
    made = OnDisk(tmp_path)
    os.utime(made.pod.file("lock"), (1000, 1000))
    other = UUID.replace("0123", "9999")
    os.makedirs(tmp_path / "pods/embryo" / other)
    (tmp_path / "pods/embryo" / other / "lock").touch()
    assert [document["uuid"] for document in status.describe_all(str(tmp_path))] == [other, UUID]


@pytest.mark.parametrize(
    ("fields", "isolators", "shown"),
    [
        ({"signal": 9, "out_of_memory": 1}, [("resource/memory", {"limit": "64Mi"})], (True, "64Mi")),
        # The pod's limit, or the host's memory, was what did not suffice.
        ({"status": 137, "out_of_memory": 1}, [("resource/cpu", {"limit": "1"})], (True, None)),
        ({"signal": 9}, [("resource/memory", {"limit": "64Mi"})], (False, None)),
    ],
)
def test_an_app_that_the_kernel_killed_for_memory(
    tmp_path: Path, fields: dict[str, int], isolators: list[tuple[str, object]], shown: tuple[bool, str | None]
) -> None:
    disk = OnDisk(tmp_path)
    app = {"exec": ["/x"], "isolators": [{"name": name, "value": value} for name, value in isolators]}
    entry = {"name": "web", "image": {"id": IMAGE_ID, "name": "example.com/web"}, "app": app}
    disk.pod.write_json("pod", {"acKind": "PodManifest", "apps": [entry]})
    disk.status("web", pid=7, started=1, exited=2, **fields)
    (found,) = status.describe(disk.pod)["apps"]
    assert (found["out-of-memory"], found["memory-limit"]) == shown
