"""Each op that makes files, alone; and what a hostile image can do to it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from planlib import OPS_BEFORE, InitResult

from appc.plan.ops import Op

pytestmark = pytest.mark.root

Inside = Callable[..., InitResult]


def test_mkdir_makes_all_missing_directories_with_mode_and_owner(inside: Inside, tree: Path) -> None:
    result = inside(Op("mkdir", "/var/lib/data", 0o1770, 12, 34))
    assert result.exit_status == 0
    for path in ("var", "var/lib", "var/lib/data"):
        found = (tree / path).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1770, 12, 34)


def test_mkdir_leaves_existing_directories_alone(inside: Inside, tree: Path) -> None:
    (tree / "data").mkdir(mode=0o711)
    assert inside(Op("mkdir", "/data", 0o777, 5, 5), Op("mkdir", "/data/x", 0o750, 0, 0)).exit_status == 0
    assert stat.S_IMODE((tree / "data").stat().st_mode) == 0o711
    assert (tree / "data").stat().st_uid == 0
    assert stat.S_IMODE((tree / "data/x").stat().st_mode) == 0o750


def test_mkdir_follows_links_inside_the_root_only(inside: Inside, tree: Path, sandbox: Path) -> None:
    (sandbox / "host").mkdir()
    (tree / "run").mkdir()
    (tree / "link").symlink_to("/run")
    (tree / "escape").symlink_to("../../../../../.." + str(sandbox / "host"))
    assert inside(Op("mkdir", "/link/a/b", 0o755, 0, 0)).exit_status == 0
    assert (tree / "run/a/b").is_dir()
    assert inside(Op("mkdir", "/escape/c", 0o755, 0, 0)).failure is not None
    assert list((sandbox / "host").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/file", errno.ENOTDIR),
        ("/file/below", errno.ENOTDIR),
        ("/dangling", errno.ENOTDIR),
        ("/dangling/below", errno.ENOTDIR),
        ("/loop/below", errno.ELOOP),
        ("/new/../etc/x", errno.EINVAL),
    ],
)
def test_mkdir_refuses(inside: Inside, tree: Path, path: str, error: int) -> None:
    (tree / "file").touch()
    (tree / "dangling").symlink_to("/nowhere")
    (tree / "loop").symlink_to("loop")
    assert inside(Op("mkdir", path, 0o755, 0, 0)).failure == (OPS_BEFORE, error)
    assert not (tree / "nowhere").exists()


def test_file_has_exact_mode_and_content(inside: Inside, tree: Path) -> None:
    content = bytes(range(256)) * 300
    assert inside(Op("file", "/etc/hosts", 0o4666, content)).exit_status == 0
    assert (tree / "etc/hosts").read_bytes() == content
    assert stat.S_IMODE((tree / "etc/hosts").stat().st_mode) == 0o4666


def test_file_never_replaces_or_follows(inside: Inside, tree: Path, sandbox: Path) -> None:
    (tree / "etc/hosts").write_text("mine")
    (tree / "etc/resolv.conf").symlink_to("../../victim")
    assert inside(Op("file", "/etc/hosts", 0o644, b"x")).failure == (OPS_BEFORE, errno.EEXIST)
    assert inside(Op("file", "/etc/resolv.conf", 0o644, b"x")).failure == (OPS_BEFORE, errno.EEXIST)
    assert inside(Op("file", "/none/hosts", 0o644, b"x")).failure == (OPS_BEFORE, errno.ENOENT)
    assert (tree / "etc/hosts").read_text() == "mine"
    assert not (sandbox / "victim").exists()


def test_file_below_a_link_out_of_the_root_stays_inside(inside: Inside, tree: Path, sandbox: Path) -> None:
    (sandbox / "host").mkdir()
    (tree / "etc").rmdir()
    (tree / "etc").symlink_to(sandbox / "host")
    assert inside(Op("file", "/etc/hostname", 0o644, b"x")).failure == (OPS_BEFORE, errno.ENOENT)
    assert list((sandbox / "host").iterdir()) == []


@pytest.mark.parametrize("path", ["/", "/etc/", "/etc/.", "/etc/..", ""])
def test_file_needs_a_plain_last_name(inside: Inside, path: str) -> None:
    assert inside(Op("file", path, 0o644, b"")).failure == (OPS_BEFORE, errno.EINVAL)


def test_remove_takes_links_not_their_targets(inside: Inside, tree: Path) -> None:
    (tree / "etc/real").write_text("kept")
    (tree / "etc/link").symlink_to("real")
    assert inside(Op("remove", "/etc/link")).exit_status == 0
    assert (tree / "etc/real").read_text() == "kept"
    assert not (tree / "etc/link").is_symlink()
    assert inside(Op("remove", "/etc")).failure == (OPS_BEFORE, errno.EISDIR)


def test_symlink_keeps_its_text_and_never_replaces(inside: Inside, tree: Path) -> None:
    assert inside(Op("symlink", "../any where/x", "/dev/fd")).exit_status == 0
    assert os.readlink(tree / "dev/fd") == "../any where/x"
    assert inside(Op("symlink", "y", "/dev/fd")).failure == (OPS_BEFORE, errno.EEXIST)


def test_mknod_makes_devices_with_exact_mode_and_owner(inside: Inside, tree: Path) -> None:
    node = Op("mknod", "/dev/zero", stat.S_IFCHR | 0o666, 1, 5, 7, 8)
    assert inside(node, Op("mknod", "/dev/pipe", stat.S_IFIFO | 0o600, 0, 0, 0, 0)).exit_status == 0
    found = (tree / "dev/zero").stat()
    assert stat.S_ISCHR(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o666
    assert (found.st_rdev, found.st_uid, found.st_gid) == (os.makedev(1, 5), 7, 8)
    assert stat.S_ISFIFO((tree / "dev/pipe").stat().st_mode)
    assert inside(node).failure == (OPS_BEFORE, errno.EEXIST)


def test_mknod_makes_nothing_but_nodes(inside: Inside, tree: Path) -> None:
    for kind in (stat.S_IFREG, stat.S_IFSOCK, stat.S_IFDIR):
        assert inside(Op("mknod", "/dev/x", kind | 0o600, 0, 0, 0, 0)).failure == (OPS_BEFORE, errno.EINVAL)
    assert not (tree / "dev/x").exists()


def test_nodes_in_a_dev_that_is_a_link_are_refused(inside: Inside, tree: Path, sandbox: Path) -> None:
    (tree / "dev").rmdir()
    (tree / "dev").symlink_to("/tmp")
    node = Op("mknod", "/dev/sda", stat.S_IFBLK | 0o600, 8, 0, 0, 0)
    assert inside(node).failure == (OPS_BEFORE, errno.ELOOP)


def test_ops_in_the_root_need_a_root(binaries: Path, sandbox: Path) -> None:
    from planlib import run_init

    marker = sandbox / "made"
    for op in (Op("mkdir", str(marker), 0o755, 0, 0), Op("file", str(marker), 0o644, b""), Op("pivot")):
        assert run_init(binaries / "appc-init", [op]).failure == (0, errno.EBADF)
    assert not marker.exists()


def test_tolerated_errors_go_on_and_others_are_told(inside: Inside, tree: Path) -> None:
    (tree / "etc/hosts").touch()
    result = inside(
        Op("file", "/etc/hosts", 0o644, b"", tolerate=(errno.EEXIST,)),
        Op("remove", "/etc", tolerate=(errno.ENOENT, errno.EISDIR)),
    )
    assert result.exit_status == 0
    assert result.reports == [(5, OPS_BEFORE + 1, errno.EISDIR)]


def test_a_node_s_owner_is_given_to_nothing_else(inside: Inside, tree: Path) -> None:
    """Who may write to the directory of a device puts another file in the node's place before it changes hands."""
    victim, spare, node = tree / "tmp/victim", tree / "dev/spare", tree / "dev/node"
    victim.write_text("root's")
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            try:
                os.link(victim, spare)
                os.rename(spare, node)
                spare.unlink(missing_ok=True)  # which both were
            except FileExistsError:
                spare.unlink(missing_ok=True)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    lost = (errno.EEXIST, errno.ENOENT, errno.ESTALE)
    rounds = [
        Op("remove", "/dev/node", tolerate=lost),
        Op("mknod", "/dev/node", stat.S_IFCHR | 0o666, 1, 3, 7, 8, tolerate=lost),
    ] * 1500
    try:
        assert inside(*rounds).exit_status == 0
    finally:
        over.set()
        attacker.join()
    assert (victim.stat().st_uid, victim.stat().st_gid) == (0, 0)
