"""Mount helpers against the kernel's own mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.host import libc, mounts
from appc.host.probe import facts
from capabilities import need


def test_facts_agree_with_the_kernel() -> None:
    """What facts() reports is what the kernel says by other means."""
    found = facts()
    assert found.last_cap == int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert found.caps & ~((1 << (found.last_cap + 1)) - 1) == 0
    for capability in range(found.last_cap + 1):
        assert bool(found.bounding >> capability & 1) == bool(libc.prctl(libc.PR_CAPBSET_READ, capability))
    for place in found.bases.values():
        assert os.access(place, os.W_OK)
    for controller, place in found.controllers.items():
        assert os.path.isdir(place), controller


def test_a_mount_is_found_under_its_escaped_name_and_detached(sandbox: Path) -> None:
    """Mount points with spaces, tabs and backslashes are named rightly; unmount_below takes nested ones too."""
    need("mount")
    outer = sandbox / "a b\tc\\d"
    outer.mkdir()
    libc.mount("tmpfs", str(outer), "tmpfs")
    inner = outer / "inner"
    inner.mkdir()
    libc.mount("tmpfs", str(inner), "tmpfs")
    found = [mount.path for mount in mounts.below(str(outer), mounts.mounts())]
    assert found == [str(inner), str(outer)]
    lies_on = mounts.of(str(inner), mounts.mounts())
    assert lies_on is not None
    assert lies_on.path == str(inner)
    assert mounts.unmount_below(str(outer)) == [str(inner), str(outer)]
    assert mounts.unmount_below(str(outer)) == []


def test_a_mount_that_another_covers_is_not_a_cgroup_hierarchy(sandbox: Path) -> None:
    """A private mount namespace with cgroup2 over /sys/fs/cgroup counts as pure v2, whatever lies beneath."""
    need("cgroup2-mountable")
    pid = os.fork()
    if pid == 0:
        try:
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
            libc.mount("tmpfs", "/sys/fs/cgroup", "tmpfs")  # cgroup2 is not mounted over itself
            libc.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
            found = facts()
            right = found.cgroup == "v2" and found.unified == "/sys/fs/cgroup"
            os._exit(0 if right and set(found.controllers.values()) <= {"/sys/fs/cgroup"} else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_overlay_cannot_have_its_upper_on_an_overlay(sandbox: Path) -> None:
    """overlay_obstacle says what the kernel would: tmpfs yes, overlay no."""
    need("overlay")
    base = sandbox / "base"
    base.mkdir()
    libc.mount("tmpfs", str(base), "tmpfs")
    try:
        assert mounts.overlay_obstacle(str(base)) == ""
        assert mounts._tells_types(str(base))
        assert list(base.iterdir()) == []
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        libc.mount("overlay", f"{base}/merged", "overlay", 0, options)
        assert "overlay" in mounts.overlay_obstacle(f"{base}/merged")
        for name in ("upper", "work"):
            (base / "merged" / name).mkdir()
        nested = f"lowerdir={base}/lower,upperdir={base}/merged/upper,workdir={base}/merged/work"
        with pytest.raises(OSError, match="merged"):
            libc.mount("overlay", f"{base}/merged", "overlay", 0, nested)
    finally:
        mounts.unmount_below(str(base))


def test_openat2_stays_in_its_root(sandbox: Path) -> None:
    """An absolute symbolic link inside the root leads inside the root."""
    (sandbox / "etc").mkdir()
    (sandbox / "etc" / "name").write_text("inside")
    (sandbox / "link").symlink_to("/etc")
    root = os.open(sandbox, os.O_PATH)
    try:
        fd = libc.openat2(root, "link/name", os.O_RDONLY, resolve=libc.RESOLVE_IN_ROOT)
        assert os.read(fd, 100) == b"inside"
        os.close(fd)
        with pytest.raises(OSError, match="link"):
            libc.openat2(root, "link/name", os.O_RDONLY, resolve=libc.RESOLVE_BENEATH)
    finally:
        os.close(root)


def test_a_detached_copy_of_a_mount_is_attached_read_only(sandbox: Path) -> None:
    """open_tree, mount_setattr and move_mount together, as an idmapped or read-only tree is made."""
    need("mount")
    source, target = sandbox / "source", sandbox / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("x")
    libc.mount("tmpfs", str(source), "tmpfs")
    (source / "file").write_text("y")
    try:
        tree = libc.open_tree(-100, str(source), libc.OPEN_TREE_CLONE | libc.OPEN_TREE_CLOEXEC)
        try:
            flags = libc.AT_EMPTY_PATH | libc.AT_RECURSIVE
            libc.mount_setattr(tree, "", flags, attr_set=libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NOSUID)
            libc.move_mount(tree, "", -100, str(target), libc.MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            os.close(tree)
        assert (target / "file").read_text() == "y"
        with pytest.raises(OSError, match="Read-only"):
            (target / "file").write_text("z")
        (source / "file").write_text("z")
        attached = mounts.of(str(target), mounts.mounts())
        assert attached is not None
        assert {"ro", "nosuid"} <= set(attached.options)
    finally:
        mounts.unmount_below(str(sandbox))


def test_failures_are_oserrors_that_name_the_file(sandbox: Path) -> None:
    missing = str(sandbox / "missing")
    for call in (
        lambda: libc.mount("tmpfs", missing, "tmpfs"),
        lambda: libc.umount2(missing),
        lambda: libc.open_tree(-100, missing, 0),
        lambda: libc.openat2(-100, missing, os.O_RDONLY),
        lambda: libc.move_mount(-100, missing, -100, missing, 0),
        lambda: libc.mount_setattr(-100, missing, 0, attr_set=libc.MOUNT_ATTR_RDONLY),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert caught.value.filename == missing
    with pytest.raises(OSError, match="Bad file descriptor"):
        libc.setns(1 << 20)
