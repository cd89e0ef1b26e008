"""Collecting: what becomes of a pod in each state, and trees an app made hard to delete."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from appc.errors import HostError, PodNotFound
from appc.pods import gc, layout
from appc.pods.budget import apply
from appc.pods.layout import PHASES, Pod
from appc.store import deletion
from appc.store.deletion import delete_tree

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
NOW = 2_000_000_000.0
DAY = 86400.0


@pytest.fixture(autouse=True)
def _no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "remove_cgroups", lambda pod: None)


def make(root: Path, phase: str, age: float = 0.0) -> Pod:
    """A pod whose lock was made, and whose status was last written, `age` seconds before NOW."""
    pod = Pod(str(root), phase, UUID)
    os.makedirs(pod.file("status"))
    Path(pod.file("lock")).touch()
    for name in ("lock", "status"):
        os.utime(pod.file(name), (NOW - age, NOW - age))
    return pod


def hold(pod: Pod) -> int:
    fd = os.open(pod.file("lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


@pytest.mark.parametrize("phase", PHASES)
def test_what_lives_is_kept(tmp_path: Path, phase: str) -> None:
    fd = hold(make(tmp_path, phase, 30 * DAY))
    (verdict,) = gc.judge(str(tmp_path), 0.0, NOW)
    assert verdict.action == "keep"
    os.close(fd)


@pytest.mark.parametrize(
    ("phase", "age", "grace", "action", "reason"),
    [
        ("embryo", 0, 60, "remove", "creation was interrupted"),
        ("prepare", 0, 60, "remove", "preparation was interrupted"),
        ("prepared", DAY, 0, "keep", "prepared, waits to be run"),
        ("prepared", DAY + 1, 0, "remove", "prepared 86401 s ago and never run"),
        ("run", 0, 60, "end", "its keeper was killed"),
        ("exited", 59, 60, "keep", "exited 59 s ago, within the grace period"),
        ("exited", 61, 60, "remove", "exited"),
        ("exited", 0.5, 0, "remove", "exited"),
        ("garbage", 0, 60, "remove", "removal was interrupted"),
    ],
)
def test_verdicts(tmp_path: Path, phase: str, age: float, grace: float, action: str, reason: str) -> None:
    make(tmp_path, phase, age)
    (verdict,) = gc.judge(str(tmp_path), grace, NOW)
    assert (verdict.action, verdict.reason) == (action, reason)


def test_prepared_pods_are_kept_as_long_as_is_said(tmp_path: Path) -> None:
    make(tmp_path, "prepared", 100)
    assert [gc.judge(str(tmp_path), 0, NOW, keep)[0].action for keep in (99, 101)] == ["remove", "keep"]


def test_a_budget_takes_the_first_that_ended(tmp_path: Path) -> None:
    """Those that run, or wait to be run, count and stay."""
    made = []
    for number, (phase, age) in enumerate(
        (("run", 0), ("exited", 10), ("exited", 30), ("exited", 20), ("prepared", 9))
    ):
        pod = Pod(str(tmp_path), phase, UUID[:-1] + str(number))
        os.makedirs(pod.file("status"))
        Path(pod.file("data")).write_bytes(os.urandom(1 << 20))
        Path(pod.file("lock")).touch()
        os.utime(pod.file("status"), (NOW - age, NOW - age))
        made.append(pod)
    fd = hold(made[0])

    def removed(budget: int) -> list[str]:
        verdicts = gc.judge(str(tmp_path), 3600, NOW, 30 * 365 * DAY)
        apply(verdicts, budget)
        assert {verdict.action for verdict in verdicts} <= {"keep", "remove"}
        return sorted(verdict.pod.uuid[-1] for verdict in verdicts if verdict.action == "remove")

    assert removed(6 << 20) == []
    assert removed(9 << 19) == ["2"]
    assert removed(7 << 19) == ["2", "3"]
    assert removed(0) == ["1", "2", "3"]
    os.close(fd)


def test_a_pod_that_vanishes_while_it_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = make(tmp_path, "run")

    def gone(self: Pod) -> str:
        raise PodNotFound("the pod is gone", self.uuid)

    monkeypatch.setattr(Pod, "locked", lambda self: True)
    monkeypatch.setattr(Pod, "state", gone)
    assert gc.judge(pod.root, 0.0, NOW) == []


def test_a_pod_whose_keeper_was_killed_ends_now(tmp_path: Path) -> None:
    make(tmp_path, "run", DAY)
    (verdict,) = gc.judge(str(tmp_path), 60)
    assert gc.carry_out(verdict)
    (pod,) = layout.every(str(tmp_path))
    assert pod.phase == "exited"
    # Its grace period begins with the discovery, not with the last record.
    (verdict,) = gc.judge(str(tmp_path), 60)
    assert verdict.action == "keep"
    assert pod.lock_fd == -1


def test_removing(tmp_path: Path) -> None:
    pod = make(tmp_path, "exited")
    assert gc.remove(pod)
    assert layout.every(str(tmp_path)) == []
    assert not gc.remove(make_again(pod))


def make_again(pod: Pod) -> Pod:
    return Pod(pod.root, "exited", pod.uuid)


def test_what_somebody_else_holds_is_left(tmp_path: Path) -> None:
    pod = make(tmp_path, "exited")
    (verdict,) = gc.judge(str(tmp_path), 0.0, NOW + 10)
    fd = hold(pod)
    assert not gc.carry_out(verdict)
    os.close(fd)
    assert gc.carry_out(verdict)
    assert not gc.carry_out(verdict)


def test_what_another_moved_meanwhile_is_left(tmp_path: Path) -> None:
    pod = make(tmp_path, "run")
    (verdict,) = gc.judge(str(tmp_path), 0.0, NOW)
    Pod(pod.root, "run", UUID).move("exited")
    assert not gc.carry_out(verdict)


def test_a_pod_is_locked_until_all_of_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another collector would take what is left for a removal that was interrupted, and both would fail."""
    pod = make(tmp_path, "exited")
    os.makedirs(pod.file("apps/web/upper"))
    seen = []
    real = deletion._unlink_files

    def looked_at(directory: int, *more: str) -> list[str]:
        found = real(directory, *more)
        seen.extend(gc.judge(pod.root, 0.0, NOW))
        return found

    monkeypatch.setattr(deletion, "_unlink_files", looked_at)
    assert gc.remove(pod)
    assert len(seen) > 3
    assert {(verdict.action, verdict.reason) for verdict in seen} == {("keep", "deleting")}
    assert layout.every(str(tmp_path)) == []


def test_a_disk_too_full_to_move_to_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = make(tmp_path, "exited")

    def full(self: Pod, phase: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pod, "move", full)
    assert gc.remove(pod)
    assert layout.every(str(tmp_path)) == []


def test_trees(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/file").write_text("x")
    (tree / "a/b/link").symlink_to(outside)
    (tree / ".deleted-1").mkdir()
    (tree / ".deleted-1/x").write_text("x")
    (tree / ".deleted-2").write_text("x")
    (tree / "a/.deleted-3").mkdir()
    os.mkfifo(tree / "a/fifo")
    (tree / os.fsdecode(b"\xff\xfe")).mkdir()
    (tree / "a" / ("n" * 255)).mkdir()
    delete_tree(str(tree))
    assert not tree.exists()
    assert (outside / "kept").read_text() == "kept"
    delete_tree(str(tree))


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d" * 20, dir_fd=fd)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    delete_tree(str(tree))
    assert not tree.exists()


def test_a_link_in_place_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(HostError, match="cannot be removed"):
        delete_tree(str(tmp_path / "link"))
    assert (tmp_path / "real/file").exists()


def test_a_tree_that_will_not_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)

    def refuse(path: str, **options: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(HostError, match="cannot be removed: Operation not permitted"):
        delete_tree(str(tree))
