"""Changes of a pod and its collection come one after the other, so neither leaves what the other does not see."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from appc.errors import PodStateError
from appc.pods import gc
from appc.pods.changes import Changing
from appc.pods.layout import Pod

UUID = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """A pod that nothing holds."""
    pod = Pod(str(tmp_path), "run", UUID)
    for name in ("config", "status"):
        os.makedirs(pod.file(name))
    Path(pod.file("lock")).touch()
    return pod


def alive(pod: Pod) -> int:
    """Hold the lock as a keeper does."""
    fd = os.open(pod.file("lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_what_a_change_makes_late_is_collected(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[str] = []
    monkeypatch.setattr(gc, "remove_cgroups", lambda pod: groups.clear())
    keeper = alive(pod)
    with Changing(Pod(pod.root, "run", UUID)):
        os.close(keeper)
        collector = threading.Thread(target=gc.end, args=(pod,))
        collector.start()
        collector.join(0.2)
        groups.append("late")
    collector.join()
    assert (groups, pod.phase) == ([], "exited")


def test_a_change_that_comes_late_finds_no_pod(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[str] = []

    def change() -> None:
        try:
            with Changing(Pod(pod.root, "run", UUID)):
                raised.append("changed")
        except PodStateError as error:
            raised.append(error.what)

    # It looks while the collector, too, holds the lock that tells a pod that runs.
    changer = threading.Thread(target=change)

    def meanwhile(pod: Pod) -> None:
        changer.start()
        changer.join(0.2)

    monkeypatch.setattr(gc, "remove_cgroups", meanwhile)
    assert gc.end(pod)
    changer.join()
    assert raised == ["has ended"]


def test_only_pods_that_run_are_changed(pod: Pod) -> None:
    with pytest.raises(PodStateError, match="is not running"), Changing(pod):
        pass
