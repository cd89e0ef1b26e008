"""Each op that mounts, alone; and what a hostile image can do to it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from planlib import (
    CLONE_NEWNS,
    MS_REC_PRIVATE,
    NODEV,
    NOEXEC,
    NOSUID,
    OPS_BEFORE,
    PROC,
    RDONLY,
    InitResult,
    probe_tree,
    run_init,
    run_probe,
)

from appc.plan.ops import ATTRIBUTES_RECURSIVE, BIND_NO_SYMLINKS, BIND_RECURSIVE, Op
from capabilities import need

pytestmark = pytest.mark.root

Inside = Callable[..., InitResult]
NULL = "020666 0:0 1:3"


def mounts(result: InitResult) -> dict[str, tuple[str, str, str]]:
    """Mount point → (attributes, type, options of the file system), the topmost of each."""
    found = {}
    for line in result.output.splitlines():
        if line.startswith("mount="):
            words = line.removeprefix("mount=").split()
            dash = words.index("-")
            found[words[4]] = (words[5], words[dash + 1], words[dash + 3])
    return found


def test_mount_takes_options_and_attributes(inside: Inside) -> None:
    result = inside(
        PROC,
        Op("mount", "tmpfs", "scratch", "/tmp", NOSUID | NODEV, ("size=64k", "mode=1777", "nr_inodes=7")),
        Op("mount", "devpts", "devpts", "/dev", 0, ("ptmxmode=0666", "mode=0620", "gid=5")),
        Op("mount", "sysfs", "sysfs", "/sys", RDONLY | NOSUID | NODEV | NOEXEC, ()),
        probe=("mounts",),
    )
    found = mounts(result)
    assert found["/tmp"][:2] == ("rw,nosuid,nodev,relatime", "tmpfs")
    assert {"size=64k", "nr_inodes=7"} <= set(found["/tmp"][2].split(","))
    assert "gid=5,mode=620,ptmxmode=666" in found["/dev"][2]
    assert found["/sys"][0] == "ro,nosuid,nodev,noexec,relatime"
    assert found["/proc"][:2] == ("rw,nosuid,nodev,noexec,relatime", "proc")


@pytest.mark.parametrize(
    ("op", "error"),
    [
        (Op("mount", "nosuchfs", "x", "/tmp", 0, ()), errno.ENODEV),
        (Op("mount", "tmpfs", "x", "/tmp", 0, ("nosuchoption",)), errno.EINVAL),
        (Op("mount", "tmpfs", "x", "/tmp", 0, ("size=many",)), errno.EINVAL),
        (Op("mount", "tmpfs", "x", "/tmp", 0, ("o" * 300,)), errno.E2BIG),
        (Op("mount", "tmpfs", "x", "/absent", 0, ()), errno.ENOENT),
        (Op("mount", "tmpfs", "x", "/probe", 0, ()), errno.ENOTDIR),
    ],
)
def test_mount_refuses(inside: Inside, op: Op, error: int) -> None:
    assert inside(op).failure == (OPS_BEFORE, error)


@pytest.mark.parametrize("directory", ["proc", "sys", "dev"])
def test_kernel_file_systems_need_real_directories(inside: Inside, tree: Path, directory: str) -> None:
    (tree / directory).rmdir()
    (tree / directory).symlink_to("/tmp")
    op = Op("mount", "tmpfs", "x", f"/{directory}", 0, ())
    assert inside(op).failure == (OPS_BEFORE, errno.ELOOP)
    assert inside(Op("mount", "tmpfs", "x", f"//{directory}/below", 0, ())).failure == (OPS_BEFORE, errno.ELOOP)


def test_mount_on_a_link_out_of_the_root_lands_inside(inside: Inside, tree: Path, sandbox: Path) -> None:
    (sandbox / "host").mkdir()
    (tree / "data").symlink_to(sandbox / "host")
    assert inside(Op("mount", "tmpfs", "x", "/data", 0, ())).failure == (OPS_BEFORE, errno.ENOENT)
    (tree / "up").symlink_to("../../../../tmp")
    result = inside(PROC, Op("mount", "tmpfs", "x", "/up", 0, ()), probe=("mounts",))
    assert "/tmp" in mounts(result)


def test_bind_directories_files_and_attributes(inside: Inside, tree: Path, sandbox: Path) -> None:
    source = sandbox / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("from the host\n")
    (tree / "data").mkdir()
    (tree / "etc/file").touch()
    result = inside(
        PROC,
        Op("bind", str(source), "/data", BIND_RECURSIVE | BIND_NO_SYMLINKS, RDONLY | NOSUID),
        Op("bind", str(source / "file"), "/etc/file", 0, NODEV | 0x10),
        probe=("read", "/etc/file", "list", "/data", "write", "/data/new", "x", "mounts"),
    )
    assert "from the host" in result.output
    assert "below\nfile\n" in result.output
    assert f"/data/new: errno {errno.EROFS}" in result.output
    assert mounts(result)["/data"][0] == "ro,nosuid,relatime"
    assert mounts(result)["/etc/file"][0] == "rw,nodev,noatime"


def test_bind_from_inside_the_root(inside: Inside, tree: Path) -> None:
    (tree / "dev/ptmx").touch()
    (tree / "dev/pts").mkdir()
    result = inside(
        Op("mount", "devpts", "devpts", "/dev/pts", 0, ("ptmxmode=0666",)),
        Op("bind", "@/dev/pts/ptmx", "/dev/ptmx", 0, 0),
        probe=("stat", "/dev/ptmx"),
    )
    assert "/dev/ptmx 020666 0:0 5:2" in result.output


def test_bind_takes_the_mounts_below_only_when_recursive(inside: Inside, tree: Path, sandbox: Path) -> None:
    (tree / "from/below").mkdir(parents=True)
    for name in ("to", "flat"):
        (tree / name).mkdir()
    result = inside(
        PROC,
        Op("mount", "tmpfs", "x", "/from/below", 0, ()),
        Op("bind", "@/from", "/to", BIND_RECURSIVE, RDONLY),
        Op("bind", "@/from", "/flat", 0, 0),
        probe=("mounts",),
    )
    found = mounts(result)
    assert found["/to/below"][0].startswith("ro")
    assert found["/from/below"][0].startswith("rw")
    assert "/flat/below" not in found


def test_bind_refuses_links_in_a_source_when_told(inside: Inside, tree: Path, sandbox: Path) -> None:
    (sandbox / "real/sub").mkdir(parents=True)
    (sandbox / "link").symlink_to("real")
    (tree / "data").mkdir()
    for source in (sandbox / "link", sandbox / "link/sub"):
        assert inside(Op("bind", str(source), "/data", BIND_NO_SYMLINKS, 0)).failure == (OPS_BEFORE, errno.ELOOP)
        assert inside(Op("bind", str(source), "/data", 0, 0)).exit_status == 0


def test_bind_says_which_kind_does_not_fit(inside: Inside, tree: Path) -> None:
    assert inside(Op("bind", "/etc", "/probe", 0, 0)).failure == (OPS_BEFORE, errno.ENOTDIR)
    assert inside(Op("bind", "/etc/passwd", "/etc", 0, 0)).failure == (OPS_BEFORE, errno.EISDIR)
    assert inside(Op("bind", "/no/such", "/etc", 0, 0)).failure == (OPS_BEFORE, errno.ENOENT)


def test_attributes_change_a_mount_and_those_below(inside: Inside, tree: Path) -> None:
    (tree / "a/b").mkdir(parents=True)
    ops = [Op("mount", "tmpfs", "x", "/a", NODEV, ("mode=755",)), Op("mkdir", "/a/b", 0o755, 0, 0)]
    ops += [Op("mount", "tmpfs", "x", "/a/b", 0, ())]
    flat = mounts(inside(PROC, *ops, Op("attributes", "/a", 0, RDONLY, NODEV), probe=("mounts",)))
    assert (flat["/a"][0], flat["/a/b"][0]) == ("ro,relatime", "rw,relatime")
    deep = mounts(inside(PROC, *ops, Op("attributes", "/a", ATTRIBUTES_RECURSIVE, RDONLY, 0), probe=("mounts",)))
    assert (deep["/a"][0], deep["/a/b"][0]) == ("ro,nodev,relatime", "ro,relatime")
    assert inside(Op("attributes", "/etc", 0, RDONLY, 0)).failure == (OPS_BEFORE, errno.EINVAL)


def test_attributes_make_the_root_read_only(inside: Inside) -> None:
    result = inside(Op("attributes", "/", 0, RDONLY, 0), probe=("write", "/new", "x"))
    assert f"errno {errno.EROFS}" in result.output


def test_mask_covers_files_and_directories(inside: Inside, tree: Path) -> None:
    for name in ("secrets", "others"):
        (tree / name).mkdir()
        (tree / name / "key").write_text("key")
    (tree / "etc/shadow").write_text("hash")
    result = inside(
        PROC,
        Op("mask", "/secrets"),
        Op("mask", "/others"),
        Op("mask", "/etc/shadow"),
        Op("mask", "/proc/meminfo"),
        Op("mask", "/absent", tolerate=(errno.ENOENT,)),
        probe=("list", "/secrets", "list", "/others", "stat", "/etc/shadow", "stat", "/proc/meminfo", "mounts"),
    )
    assert "key" not in result.output
    assert f"/etc/shadow {NULL}" in result.output
    assert f"/proc/meminfo {NULL}" in result.output
    found = mounts(result)
    assert found["/secrets"][:2] == found["/others"][:2] == ("ro,nosuid,nodev,noexec,relatime", "tmpfs")


def test_mask_uses_the_hosts_null_device(inside: Inside, tree: Path, binaries: Path) -> None:
    (tree / "dev/null").symlink_to("/etc/passwd")
    (tree / "etc/shadow").write_text("hash")
    assert f"/etc/shadow {NULL}" in inside(Op("mask", "/etc/shadow"), probe=("stat", "/etc/shadow")).output
    ops = [
        Op("unshare", CLONE_NEWNS),
        Op("propagation", MS_REC_PRIVATE),
        Op("root-bind", str(tree), str(tree)),
        Op("pivot"),
    ]
    assert run_init(binaries / "appc-init", [*ops, Op("mask", "/etc/shadow")]).failure == (4, errno.EBUSY)


def test_mask_follows_no_link_out(inside: Inside, tree: Path, sandbox: Path) -> None:
    (sandbox / "host").write_text("mine")
    (tree / "etc/shadow").symlink_to(sandbox / "host")
    assert inside(Op("mask", "/etc/shadow")).failure == (OPS_BEFORE, errno.ENOENT)


def _layers(sandbox: Path, release: Path, count: int) -> tuple[str, ...]:
    lowers = []
    for index in range(count):
        layer = sandbox / f"layer,{index}:with\\marks"
        (layer / "etc").mkdir(parents=True)
        (layer / "etc/which").write_text(f"layer {index}\n")
        (layer / f"only{index}").touch()
        lowers.append(str(layer))
    probe_tree(Path(lowers[-1]), release / "appc-probe")
    return tuple(lowers)


def _overlay(sandbox: Path, lowers: tuple[str, ...], writable: bool = True) -> list[Op]:
    for name in ("upper", "work", "merged"):
        (sandbox / name).mkdir(exist_ok=True)
    upper, work = (str(sandbox / "upper"), str(sandbox / "work")) if writable else ("", "")
    return [
        Op("unshare", CLONE_NEWNS),
        Op("propagation", MS_REC_PRIVATE),
        Op("root-overlay", str(sandbox / "merged"), lowers, upper, work, ("volatile", "index=off")),
        PROC,
        Op("pivot"),
    ]


LOOK = run_probe("read", "/etc/which", "write", "/new", "x", "list", "/", "mounts")


@pytest.mark.parametrize("inject", [False, True], ids=["by-descriptor", "by-mount"])
def test_root_overlay_stacks_layers_with_any_name(release: Path, sandbox: Path, inject: bool) -> None:
    need("overlay-tmp", *(("strace",) if inject else ()))
    lowers = _layers(sandbox, release, 40)
    # What a kernel before 6.13 answers to layers by descriptor.
    fault = ("strace", "-f", "-o", "/dev/null", "-e", "inject=fsconfig:error=EINVAL:when=1") if inject else ()
    result = run_init(release / "appc-init", [*_overlay(sandbox, lowers), LOOK], prefix=fault)
    assert result.failure is None
    assert "layer 0\n" in result.output
    assert "/new: written" in result.output
    assert {f"only{index}" for index in range(40)} <= set(result.output.splitlines())
    assert "volatile" in mounts(result)["/"][2]
    assert (sandbox / "upper/new").read_text() == "x"
    assert not (sandbox / "merged/new").exists()


def test_root_overlay_without_an_upper_is_read_only(binaries: Path, release: Path, sandbox: Path) -> None:
    need("overlay-tmp")
    lowers = _layers(sandbox, release, 2)
    result = run_init(binaries / "appc-init", [*_overlay(sandbox, lowers, writable=False), LOOK])
    assert f"/new: errno {errno.EROFS}" in result.output


def test_root_overlay_refuses_missing_layers(binaries: Path, release: Path, sandbox: Path) -> None:
    need("overlay-tmp")
    lowers = _layers(sandbox, release, 2)
    shutil.rmtree(lowers[0])
    assert run_init(binaries / "appc-init", [*_overlay(sandbox, lowers), LOOK]).failure == (2, errno.ENOENT)


def test_root_tmpfs_is_an_empty_root(binaries: Path, sandbox: Path) -> None:
    (sandbox / "target").mkdir()
    ops = [Op("unshare", CLONE_NEWNS), Op("propagation", MS_REC_PRIVATE)]
    ops += [Op("root-tmpfs", str(sandbox / "target"), ("mode=0555", "size=4k")), Op("pivot")]
    result = run_init(binaries / "appc-init", [*ops, Op("file", "/x", 0o644, b"y"), run_probe("exit", "0")])
    assert result.failure == (5, errno.ENOENT)
    assert list((sandbox / "target").iterdir()) == []


def test_pivot_leaves_nothing_of_the_host(inside: Inside) -> None:
    result = inside(PROC, probe=("mounts", "list", "/", "report"))
    assert set(mounts(result)) == {"/", "/proc"}
    assert result.values()["cwd"] == "/"
