"""A pod's directory: phases, locks, and what several processes make of them at the same time."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from appc.errors import ManifestError, PodNotFound, PodStateError
from appc.pods import gc, layout
from appc.pods.layout import PHASES, STATES, Pod
from appc.store.deletion import delete_tree

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
OTHER = "01234567-0000-4000-8000-000000000000"


def make(root: Path, phase: str, uuid: str = UUID) -> Pod:
    (root / "pods" / phase / uuid).mkdir(parents=True)
    return Pod(str(root), phase, uuid)


def hold(pod: Pod, how: int = fcntl.LOCK_EX) -> int:
    """Lock the pod as another process would."""
    fd = os.open(pod.file("lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, how)
    return fd


def test_a_new_pod_is_an_embryo_that_is_locked(tmp_path: Path) -> None:
    pod = layout.create(str(tmp_path))
    assert pod.phase == "embryo"
    assert os.listdir(pod.path) == ["lock"]
    assert os.stat(pod.path).st_mode & 0o777 == 0o700
    assert Pod(str(tmp_path), "embryo", pod.uuid).locked()
    pod.release()
    assert not pod.locked()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("locked", [True, False])
def test_the_state_is_the_phase_and_the_lock(tmp_path: Path, phase: str, locked: bool) -> None:
    pod = make(tmp_path, phase)
    fd = hold(pod) if locked else -1
    assert pod.state() == STATES[phase, locked]
    if locked:
        os.close(fd)


def test_moving(tmp_path: Path) -> None:
    pod = make(tmp_path, "prepare")
    pod.move("prepared")
    assert os.listdir(tmp_path / "pods/prepared") == [UUID]
    late = Pod(str(tmp_path), "prepare", UUID)
    with pytest.raises(PodStateError, match="is no longer in phase prepare"):
        late.move("prepared")


def test_a_pod_is_found_wherever_it_has_gone(tmp_path: Path) -> None:
    pod = make(tmp_path, "run")
    pod.write("pod", b"{}")
    fd = hold(pod)
    seen = Pod(str(tmp_path), "run", UUID)
    pod.move("exited")
    assert seen.read("pod") == b"{}"
    assert seen.phase == "exited"
    seen.phase = "run"
    assert seen.locked()
    os.close(fd)
    delete_tree(pod.path)
    assert not seen.locked()
    with pytest.raises(PodNotFound):
        seen.read("pod")
    with pytest.raises(PodNotFound):
        seen.state()


def test_a_file_that_was_never_there(tmp_path: Path) -> None:
    pod = make(tmp_path, "prepare")
    with pytest.raises(FileNotFoundError):
        pod.read("pod")
    with pytest.raises(PodStateError, match=r"has no manifest \(aborted prepare\)"):
        pod.manifest()


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    pod = make(tmp_path, "run")
    pod.write_json("request", {"net": "none", "ä": [1]})
    assert pod.read_json("request") == {"net": "none", "ä": [1]}
    assert os.stat(pod.file("request")).st_mode & 0o777 == 0o600
    (tmp_path / "target").write_text("kept")
    os.symlink(tmp_path / "target", pod.file("token.new"))
    with pytest.raises(OSError, match="symbolic links"):
        pod.write("token", b"x")
    assert (tmp_path / "target").read_text() == "kept"
    pod.write("request", b"")
    with pytest.raises(ManifestError):
        pod.read_json("request")


def test_the_lock_is_taken_once(tmp_path: Path) -> None:
    pod = make(tmp_path, "prepared")
    assert pod.acquire()
    assert not Pod(str(tmp_path), "prepared", UUID).acquire()
    pod.release()
    assert Pod(str(tmp_path), "prepared", UUID).acquire()


def test_somebody_who_only_looks_does_not_keep_the_lock_from_being_taken(tmp_path: Path) -> None:
    pod = make(tmp_path, "prepared")
    fd = hold(pod, fcntl.LOCK_SH)
    timer = threading.Timer(0.005, os.close, [fd])
    timer.start()
    assert pod.acquire()
    timer.join()


def test_the_lock_of_a_pod_that_has_moved_or_gone_is_no_lock(tmp_path: Path) -> None:
    pod = make(tmp_path, "prepared")
    late = Pod(str(tmp_path), "prepared", UUID)
    pod.move("run")
    assert not late.acquire()
    delete_tree(pod.path)
    assert not late.acquire()
    assert late.lock_fd == -1


def test_a_lock_taken_on_a_file_that_was_replaced_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = make(tmp_path, "prepared")
    real = fcntl.flock

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        # Another process ran and removed the pod between our open and our lock.
        if how & fcntl.LOCK_EX:
            os.unlink(pod.file("lock"))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert not pod.acquire()


def test_of_many_who_take_a_pod_one_gets_it(tmp_path: Path) -> None:
    make(tmp_path, "prepared")
    barrier = threading.Barrier(8)
    got = []

    def take() -> None:
        pod = Pod(str(tmp_path), "prepared", UUID)
        barrier.wait()
        if pod.acquire():
            got.append(pod)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_creating_while_a_collector_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "remove_cgroups", lambda pod: None)
    stop = threading.Event()
    failures: list[BaseException] = []

    def collect() -> None:
        try:
            while not stop.is_set():
                for verdict in gc.judge(str(tmp_path), 0):
                    gc.carry_out(verdict)
        except BaseException as error:
            failures.append(error)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(200):
            pod = layout.create(str(tmp_path))
            pod.move("prepare")
            assert os.path.exists(pod.file("lock"))
            pod.move("garbage")
            pod.release()
    finally:
        stop.set()
        collector.join()
    assert failures == []


def test_all_pods_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "run")
    make(tmp_path, "prepared", OTHER)
    (tmp_path / "pods/run/not-a-pod").mkdir()
    assert [(pod.phase, pod.uuid) for pod in layout.every(str(tmp_path))] == [("prepared", OTHER), ("run", UUID)]
    # A pod that moves on between two looks is seen twice.
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [UUID] if path.endswith("exited") else real(path))
    assert [(pod.phase, pod.uuid) for pod in layout.every(str(tmp_path))] == [("prepared", OTHER), ("exited", UUID)]


def test_no_pods_at_all(tmp_path: Path) -> None:
    assert layout.every(str(tmp_path / "absent")) == []


def test_a_whole_uuid_is_found_without_a_look_at_other_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "run")
    make(tmp_path, "exited", OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(layout, "every", None)
        assert [layout.find(str(tmp_path), uuid).phase for uuid in (UUID, OTHER.upper())] == ["run", "exited"]
    for absent in ("../../../../../../../../../-/-/-/-/etc", UUID.replace("0", "1")):
        with pytest.raises(PodNotFound, match="no pod has a UUID that begins so"):
            layout.find(str(tmp_path), absent)


def test_finding_by_prefix(tmp_path: Path) -> None:
    make(tmp_path, "run")
    assert layout.find(str(tmp_path), "0").uuid == UUID
    assert layout.find(str(tmp_path), UUID.upper()).uuid == UUID
    for prefix in ("", "1", "../", UUID + "0", "*"):
        with pytest.raises(PodNotFound, match="no pod has a UUID that begins so"):
            layout.find(str(tmp_path), prefix)
    make(tmp_path, "exited", OTHER)
    with pytest.raises(PodNotFound, match="2 pods have a UUID that begins so"):
        layout.find(str(tmp_path), "01234567")
    assert layout.find(str(tmp_path), "01234567-8").uuid == UUID
