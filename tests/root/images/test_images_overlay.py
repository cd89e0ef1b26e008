"""Overlay lowers against the copy that extraction would make: an app must not be able to tell them apart."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import image_kit
from appc.images.render import Rootfs, copy_rootfs, rootfs_for
from appc.store.images import ImageStore, StoredImage
from capabilities import need


class Images:
    """A store that images are added to by short names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = ImageStore(str(directory / "data"))

    def add(self, name: str, files: dict[str, image_kit.Entry], *needs: str, **how: Any) -> StoredImage:
        path = self.directory / f"{name}.aci"
        if needs:
            how["dependencies"] = [{"imageName": one} for one in needs]
        image_kit.aci(path, files, name, **how)
        with path.open("rb") as stream:
            return self.store.import_file(stream, where=str(path))


@pytest.fixture
def images(sandbox: Path) -> Images:
    need("overlay")
    return Images(sandbox)


@contextmanager
def overlay(root: Rootfs, directory: Path) -> Iterator[Path]:
    """The root as pods see it: an overlay with an upper directory."""
    for name in ("upper", "work", "merged"):
        (directory / name).mkdir()
    links = directory / "lowers"
    links.mkdir()
    for number, lower in enumerate(root.lowers):
        (links / str(number)).symlink_to(lower)
    lowers = ":".join(str(number) for number in range(len(root.lowers)))
    options = f"lowerdir={lowers},upperdir={directory}/upper,workdir={directory}/work"
    merged = directory / "merged"
    top = os.stat(root.lowers[0])
    os.chmod(directory / "upper", stat.S_IMODE(top.st_mode))
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=True, cwd=links)
    try:
        yield merged
    finally:
        subprocess.run(["umount", str(merged)], check=True)


def described(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything an app could see of a tree, but for inode numbers and the times of directories."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = ""
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        time = 0 if kind == stat.S_IFDIR else status.st_mtime_ns
        owner = (status.st_uid, status.st_gid)
        found[str(path.relative_to(directory))] = (status.st_mode, owner, status.st_rdev, time, content, xattrs)
    return found


def compare(images: Images, image: StoredImage, directory: Path, trees: int) -> dict[str, tuple[object, ...]]:
    """Check that overlay and copy are the same, and that so many trees were laid over each other."""
    copy = directory / "copy"
    copy.mkdir()
    assert copy_rootfs(images.store, image, str(copy)) == []
    root = rootfs_for(images.store, image)
    assert (len(root.lowers), root.overlay) == (trees, True)
    with overlay(root, directory) as merged:
        seen = described(merged)
    assert seen == described(copy)
    return seen


def files(mark: str) -> dict[str, image_kit.Entry]:
    """Some of everything."""
    return {
        "etc": ("dir", 0o750),
        f"etc/{mark}": mark,
        "etc/shared": ("file", mark, {"uid": 3, "gid": 4, "mode": 0o600}),
        "dev/null": ("char", 1, 3),
        "run/fifo": ("file", b"", {"type": b"6"}),
        "link": ("link", mark),
        "bin/su": ("file", mark, {"mode": 0o4755, "pax_headers": {"SCHILY.xattr.user.note": mark}}),
        "bin/other": ("hard", "bin/su"),
    }


def test_one_image(images: Images, sandbox: Path) -> None:
    seen = compare(images, images.add("a", files("a")), sandbox, 1)
    assert seen["bin/su"][5] == {"user.note": b"a"}


def test_a_graph_of_images(images: Images, sandbox: Path) -> None:
    images.add("d", files("d"))
    images.add("b", {**files("b"), "x/below": "b", "y": "file"}, "d")
    images.add("c", {"x": "file", "y/above": "c", "etc": ("dir", 0o700)}, "d")
    seen = compare(images, images.add("a", {"x": ("dir", 0o711), "x/own": "a"}, "b", "c"), sandbox, 4)
    assert {"x/own", "y/above"} <= seen.keys()
    assert "x/below" not in seen
    assert seen["etc/shared"][4] == b"d"


def test_a_whitelist(images: Images, sandbox: Path) -> None:
    images.add("b", files("b"))
    listed = ["/etc/shared", "/bin/other", "/dev/null", "/run/fifo", "/link"]
    seen = compare(images, images.add("a", files("a"), "b", pathWhitelist=listed), sandbox, 1)
    assert set(seen) == {".", "etc", "bin", "dev", "run", *(path[1:] for path in listed)}


def test_directories_that_an_upper_image_leaves_out(images: Images, sandbox: Path) -> None:
    images.add("b", {"tmp": ("dir", 0o1777), "srv": ("file", "", {"type": b"5", "mode": 0o2775, "uid": 9})})
    upper = {"tmp/a": "a", "srv/a": "a"}
    seen = compare(images, images.add("a", upper, "b", parents=False), sandbox, 1)
    assert stat.S_IMODE(int(str(seen["tmp"][0]))) == 0o1777
    assert seen["srv"][1] == (9, 0)


def test_many_images(images: Images, sandbox: Path) -> None:
    images.add("n0", {"n0": "0", "shared": "0"})
    for number in range(1, 60):
        image = images.add(f"n{number}", {f"n{number}": "x", "shared": str(number)}, f"n{number - 1}")
    seen = compare(images, image, sandbox, 60)
    assert seen["shared"][4] == b"59"


@pytest.mark.parametrize(
    "special",
    [
        ("char", 0, 0),
        ("file", "x", {"pax_headers": {"SCHILY.xattr.trusted.overlay.opaque": "y"}}),
    ],
    ids=["device 0:0", "overlay attribute"],
)
@pytest.mark.parametrize("where", ["alone", "below"])
def test_what_overlayfs_would_swallow_is_a_copy(
    images: Images, sandbox: Path, special: image_kit.Entry, where: str
) -> None:
    image = images.add("b", {"etc/special": special})
    if where == "below":
        image = images.add("a", {"a": "a"}, "b")
    root = rootfs_for(images.store, image)
    assert not root.overlay
    assert "/etc/special" in root.reason
    assert len(root.lowers) == 1
    assert os.path.lexists(f"{root.lowers[0]}/etc/special")
    (sandbox / "copy").mkdir()
    copy_rootfs(images.store, image, str(sandbox / "copy"))
    kept = described(sandbox / "copy")["etc/special"]
    assert kept == described(Path(root.lowers[0]))["etc/special"]
    assert stat.S_ISCHR(int(str(kept[0]))) or kept[5] == {"trusted.overlay.opaque": b"y"}


def test_an_app_cannot_change_what_is_in_the_store(images: Images, sandbox: Path) -> None:
    image = images.add("a", files("a"), pathWhitelist=["/etc/shared", "/bin/su"])
    with overlay(rootfs_for(images.store, image), sandbox) as merged:
        (merged / "etc/shared").write_text("changed")
        (merged / "bin/su").chmod(0o777)
        (merged / "bin/su").unlink()
    assert images.store.check(image) == []
