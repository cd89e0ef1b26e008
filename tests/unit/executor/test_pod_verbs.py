"""Verbs that look at pods which others change, or remove, at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_on_disk import OnDisk

from appc.cli.main import main
from appc.errors import PodNotFound
from appc.executor import apps, control, usage
from appc.host import cgroups
from appc.pods import gc, layout, records
from appc.pods.layout import Pod


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pod]:
    """A pod that runs."""
    pod = OnDisk(tmp_path, "run").pod
    fd = os.open(pod.file("lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield pod
    os.close(fd)


def gone(*_: object) -> None:
    raise PodNotFound("the pod is gone")


@pytest.mark.parametrize("words", [("--wait=0",), ("--wait-ready=0",), ("--wait-ready=0s", "--wait=0s")])
def test_no_time_to_wait_is_none(running: Pod, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(seconds: float) -> None:
        raise AssertionError(f"waits {seconds} s")

    monkeypatch.setattr(control.time, "sleep", waits)
    assert main(["--root", running.root, "status", *words, running.uuid]) == 1


def test_one_time_that_was_over_counts(running: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "wait", lambda pod, timeout: True)
    assert main(["--root", running.root, "status", "--wait-ready=0", "--wait=9", running.uuid]) == 1


@pytest.mark.parametrize("force", [False, True])
def test_a_pod_that_removed_itself_has_been_stopped(running: Pod, force: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "keeper_pid", gone)
    monkeypatch.setattr(records, "init_pid", gone)
    control.ask_to_stop(running, force=force)


def test_a_pod_that_removed_itself_uses_nothing(running: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pod, "app_names", gone)
    assert usage.measure(running.root) == []


def test_a_pod_that_cannot_be_cleared_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = OnDisk(tmp_path, "garbage").pod
    other = Pod(str(tmp_path), "garbage", first.uuid[:-1] + "e")
    os.makedirs(other.file("logs"))
    real = gc.carry_out

    def carry_out(verdict: gc.Verdict) -> bool:
        if verdict.pod.uuid == first.uuid:
            raise OSError(28, "No space left on device")
        return real(verdict)

    monkeypatch.setattr(gc, "carry_out", carry_out)
    monkeypatch.setattr(gc, "remove_cgroups", lambda pod: None)
    monkeypatch.setattr(cgroups, "remove_root", lambda facts: None)
    directories = ["--root", str(tmp_path), "--state", str(tmp_path / "state"), "--config", str(tmp_path)]
    assert main([*directories, "gc"]) == 1
    told = capsys.readouterr()
    assert f"appc: pod {first.uuid}: no space left on device\n" in told.err
    assert told.out == f"{other.uuid} remove: removal was interrupted\n"
    assert [pod.uuid for pod in layout.every(str(tmp_path))] == [first.uuid]


def test_an_app_that_is_removed_takes_all_of_its_log_along(tmp_path: Path) -> None:
    pod = OnDisk(tmp_path, "run").pod
    os.mkdir(pod.file("images"))
    for name in ("web.log", "web.log.1", "web.log.2", "web-2.log", "webs.log.1"):
        Path(pod.file(f"logs/{name}")).touch()
    apps.clear(pod, "web")
    assert sorted(os.listdir(pod.file("logs"))) == ["web-2.log", "webs.log.1"]
