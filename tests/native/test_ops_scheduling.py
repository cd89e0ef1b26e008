"""What the kernel's schedulers are told, clocks, hooks inside, mounts that are copied or moved: each op alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from planlib import CLONE_NEWNS, MS_REC_PRIVATE, OPS_BEFORE, PROC, InitResult, private_root, run_init, run_probe

from appc.plan.ops import Op

pytestmark = pytest.mark.root

Init = Callable[..., InitResult]
FIRST = OPS_BEFORE + 2  # index of the first op given to `app`


@pytest.fixture
def app(binaries: Path, tree: Path) -> Init:
    """Perform ops in the pivoted root with /proc; then the probe reads a file."""

    def perform(*ops: Op, probe: tuple[str, ...] = ("exit", "0"), **options: object) -> InitResult:
        track = [*private_root(tree), PROC, Op("pivot"), *ops, run_probe(*probe)]
        return run_init(binaries / "appc-init", track, **options)  # type: ignore[arg-type]

    return perform


def test_scheduler(app: Init) -> None:
    fields = (
        app(Op("scheduler", 3, 7, 0, 0, 0, 0, 0), probe=("read", "/proc/self/stat")).output.rpartition(")")[2].split()
    )
    assert (fields[16], fields[38]) == ("7", "3")
    assert app(Op("scheduler", 99, 0, 0, 0, 0, 0, 0)).failure == (FIRST, errno.EINVAL)
    assert app(Op("scheduler", 1 << 32, 0, 0, 0, 0, 0, 0)).failure == (FIRST, errno.EINVAL)
    assert app(Op("scheduler", 1, 0, 200, 0, 0, 0, 0)).failure == (FIRST, errno.EINVAL)


def test_io_priority(app: Init) -> None:
    assert app(Op("io-priority", 2, 7)).failure is None
    assert app(Op("io-priority", 5, 0)).failure == (FIRST, errno.EINVAL)
    assert app(Op("io-priority", 2, 8)).failure == (FIRST, errno.EINVAL)


def test_affinity(app: Init) -> None:
    assert "Cpus_allowed_list:\t0\n" in app(Op("affinity", b"\x01"), probe=("read", "/proc/self/status")).output
    assert app(Op("affinity", b"")).failure == (FIRST, errno.EINVAL)
    assert app(Op("affinity", bytes(2000))).failure == (FIRST, errno.EINVAL)
    assert app(Op("affinity", bytes(500) + b"\x01")).failure == (FIRST, errno.EINVAL)


def test_memory_policy(app: Init) -> None:
    expected = {None} if os.path.exists("/proc/self/numa_maps") else {(FIRST, errno.ENOSYS)}
    assert app(Op("memory-policy", 2, b"\x01")).failure in expected
    assert app(Op("memory-policy", 77, b"\x01")).failure is not None
    assert app(Op("memory-policy", 2, bytes(2000))).failure == (FIRST, errno.EINVAL)


def test_personality(app: Init) -> None:
    assert app(Op("personality", 8), probe=("read", "/proc/self/personality")).output.strip() == "00000008"


def test_clocks(binaries: Path, tree: Path) -> None:
    def perform(*lines: str) -> InitResult:
        before = [Op("unshare", CLONE_NEWNS), Op("clocks", lines), Op("propagation", MS_REC_PRIVATE)]
        track = [
            *before,
            Op("root-bind", str(tree), str(tree)),
            PROC,
            Op("pivot"),
            run_probe("read", "/proc/self/timens_offsets"),
        ]
        return run_init(binaries / "appc-init", track)

    if not os.path.exists("/proc/self/timens_offsets"):
        return
    assert perform("monotonic 3 4", "boottime 5 0").output.split() == ["monotonic", "3", "4", "boottime", "5", "0"]
    assert perform("whatever 1 1").failure == (1, errno.EINVAL)
    assert perform("monotonic -99999999999 0").failure is not None
    assert perform("x" * 5000).failure == (1, errno.E2BIG)


def test_clocks_after_the_root_are_refused(app: Init) -> None:
    assert app(Op("clocks", ())).failure == (FIRST, errno.EINVAL)


def test_start_hook(app: Init, tree: Path) -> None:
    hook = Op("start-hook", "/probe", ("probe", "cat"), ("A=b",), 0, ('{"pid":', "}"))
    result = app(hook)
    assert result.failure is None
    assert result.output.startswith('{"pid":')
    failing = Op("start-hook", "/probe", ("probe", "exit", "3"), (), 0, ("a", "b"))
    assert app(failing).failure == (FIRST, errno.ECHILD)
    assert app(Op("start-hook", "/missing", ("x",), (), 0, ())).failure == (FIRST, errno.ECHILD)
    slow = Op("start-hook", "/probe", ("probe", "sleep", "1000"), (), 100, ())
    assert app(slow).failure == (FIRST, errno.ETIMEDOUT)


def test_copy_up(binaries: Path, tree: Path) -> None:
    def perform(path: str, attributes: int = 0, options: tuple[str, ...] = ()) -> InitResult:
        track = [
            *private_root(tree),
            Op("copy-up", path, attributes, options),
            Op("pivot"),
            run_probe("read", "/data/f"),
        ]
        return run_init(binaries / "appc-init", track)

    (tree / "data").mkdir()
    (tree / "data/f").write_text("x" * 200_000)
    assert perform("/data", 1).output == "x" * 200_000
    assert perform("/missing").failure == (OPS_BEFORE, errno.ENOENT)
    assert perform("/data/f").failure == (OPS_BEFORE, errno.ENOTDIR)
    assert perform("/data", 0, ("size=4k",)).failure == (OPS_BEFORE, errno.ENOSPC)
    assert perform("/data", 0, ("nosuch",)).failure == (OPS_BEFORE, errno.EINVAL)
    deep = tree / "data"
    for _ in range(70):
        deep /= "d"
        deep.mkdir()
    assert perform("/data").failure == (OPS_BEFORE, errno.ELOOP)
    (tree / "up").symlink_to("/etc")
    (tree / "etc/passwd").write_text("root\n")
    assert perform("/up").failure is None  # resolved in the root, whose /etc it is


def test_mount_propagation(binaries: Path, tree: Path) -> None:
    bind = [Op("bind", "@/tmp", "/tmp", 0, 0), Op("mount-propagation", "/tmp", 1 << 20)]
    track = [*private_root(tree), *bind, PROC, Op("pivot"), run_probe("mounts")]
    result = run_init(binaries / "appc-init", track)
    (line,) = (line for line in result.output.splitlines() if " /tmp " in line)
    assert " shared:" in line
    track = [*private_root(tree), Op("mount-propagation", "/tmp", 1 << 20), Op("pivot"), run_probe("exit", "0")]
    # No mount is there.
    assert run_init(binaries / "appc-init", track).failure == (OPS_BEFORE, errno.EINVAL)


def test_move_root(binaries: Path, tree: Path) -> None:
    track = [*private_root(tree), PROC, Op("move-root"), run_probe("mounts")]
    result = run_init(binaries / "appc-init", track)
    assert result.failure is None
    assert len([line for line in result.output.splitlines() if " - proc " in line]) == 1
    assert run_init(binaries / "appc-init", [Op("move-root"), run_probe("exit", "0")]).failure == (0, errno.EBADF)


def test_carry_root(binaries: Path, tree: Path) -> None:
    """The root and what is mounted in it are seen by the process alone, in a mount namespace that has none of it."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    track = [*private_root(tree), PROC, Op("mount", "tmpfs", "t", "/tmp", 0, ()), Op("carry-root")]
    result = run_init(binaries / "appc-init", [*track, run_probe("link", "/proc/self/ns/mnt")], keep_fds={13: own})
    assert os.readlink("/proc/self/ns/mnt") in result.output
    result = run_init(binaries / "appc-init", [*track, run_probe("mounts")], keep_fds={13: own})
    assert result.failure is None
    assert " - " not in result.output
    os.close(own)
    assert run_init(binaries / "appc-init", [*track, run_probe("exit", "0")]).failure == (OPS_BEFORE + 2, errno.EBADF)
    assert run_init(binaries / "appc-init", [Op("carry-root"), run_probe("exit", "0")]).failure == (0, errno.EBADF)


def test_the_root_of_a_process_is_joined(binaries: Path, tree: Path) -> None:
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    result = run_init(binaries / "appc-init", [Op("join", 0), run_probe("list", "/")], keep_fds={18: root})
    assert sorted(result.output.split()) == sorted(os.listdir(tree))
    os.close(root)
    assert run_init(binaries / "appc-init", [Op("join", 0), run_probe("exit", "0")]).failure == (0, errno.EBADF)
