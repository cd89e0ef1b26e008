"""Building images: the same files give the same bytes, and everything that makes a file is kept."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appc.errors import ArchiveError
from appc.formats import tartree
from appc.formats.aci import read_aci
from appc.formats.acibuild import Built, Times, build_aci
from appc.formats.extract import Extractor

MANIFEST = b'{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/a"}'


def build(rootfs: Path, **options: object) -> tuple[bytes, Built]:
    out = io.BytesIO()
    fd = os.open(rootfs, os.O_RDONLY)
    try:
        built = build_aci(fd, MANIFEST, out, **{"compression": "none", **options})  # type: ignore[arg-type]
    finally:
        os.close(fd)
    return out.getvalue(), built


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive.getmembers()}


def stamp(root: Path, ns: int = 1_600_000_000_123_456_789) -> None:
    for path in [*root.rglob("*"), root]:
        os.utime(path, ns=(ns, ns), follow_symlinks=False)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "app").write_bytes(b"\x7fELF" + bytes(5000))
    (root / "bin" / "app").chmod(0o4755)
    os.link(root / "bin" / "app", root / "bin" / "hard")
    os.link(root / "bin" / "app", root / "also")
    (root / "bin" / "sh").symlink_to("app")
    (root / "etc").mkdir(mode=0o750)
    (root / "etc" / "ümlaut").write_text("x")
    os.mkfifo(root / "fifo", 0o600)
    stamp(root)
    return root


def test_entries_come_in_byte_order_with_the_manifest_first(rootfs: Path) -> None:
    data, built = build(rootfs)
    assert list(members(data)) == [
        "manifest",
        "rootfs",
        "rootfs/also",
        "rootfs/bin",
        "rootfs/bin/app",
        "rootfs/bin/hard",
        "rootfs/bin/sh",
        "rootfs/etc",
        "rootfs/etc/ümlaut",
        "rootfs/fifo",
    ]
    assert built.entries == 10
    assert built.size == len(data)


def test_what_is_kept(rootfs: Path) -> None:
    found = members(build(rootfs)[0])
    assert found["manifest"].mode == 0o644
    assert (found["manifest"].uid, found["manifest"].mtime, found["manifest"].uname) == (0, 0, "")
    assert found["rootfs/also"].mode == 0o4755
    assert found["rootfs/also"].pax_headers["mtime"] == "1600000000.123456789"
    assert (found["rootfs/bin/app"].linkname, found["rootfs/bin/app"].type) == ("rootfs/also", tarfile.LNKTYPE)
    assert found["rootfs/bin/hard"].linkname == "rootfs/also"
    assert found["rootfs/bin/sh"].linkname == "app"
    assert found["rootfs/etc"].mode == 0o750
    assert found["rootfs/fifo"].isfifo()
    assert found["rootfs/fifo"].uid == os.getuid()


def test_the_id_is_the_one_reading_finds(rootfs: Path) -> None:
    for compression in ("none", "gzip", "bzip2", "xz"):
        data, built = build(rootfs, compression=compression)
        assert read_aci(io.BytesIO(data)).image_id == built.image_id


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz"])
def test_the_same_files_elsewhere_and_later_give_the_same_bytes(rootfs: Path, compression: str) -> None:
    first, _ = build(rootfs, compression=compression)
    copy = rootfs.parent / "elsewhere" / "copy"
    copy.mkdir(parents=True)
    # Made in another order, on another day, with another umask.
    umask = os.umask(0o077)
    try:
        for path in sorted(rootfs.rglob("*"), key=lambda path: random.Random(str(path)).random()):
            target = copy / path.relative_to(rootfs)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                target.symlink_to(os.readlink(path))
            elif path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.is_fifo():
                os.mkfifo(target)
            elif path.name not in ("also", "hard"):
                target.write_bytes(path.read_bytes())
        os.link(copy / "bin" / "app", copy / "also")
        os.link(copy / "bin" / "app", copy / "bin" / "hard")
    finally:
        os.umask(umask)
    for path in [*rootfs.rglob("*"), rootfs]:
        if not path.is_symlink():
            (copy / path.relative_to(rootfs)).chmod(path.stat().st_mode & 0o7777)
    stamp(copy)
    time.sleep(0.01)
    assert build(copy, compression=compression)[0] == first


def test_the_order_of_the_file_system_does_not_matter(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = build(rootfs)
    listdir: Callable[..., list[str]] = os.listdir
    monkeypatch.setattr(tartree.os, "listdir", lambda fd: sorted(listdir(fd), reverse=True))
    assert build(rootfs)[0] == first


def test_sparse_files_are_written_in_full(rootfs: Path) -> None:
    for name in ("holes", "zeros"):
        (rootfs / name).mkdir()
    with open(rootfs / "holes" / "f", "wb") as file:
        file.truncate(100_000)
    (rootfs / "zeros" / "f").write_bytes(bytes(100_000))
    stamp(rootfs)
    for name in ("holes", "zeros"):
        shutil.move(rootfs / name, rootfs.parent / name)
    stamp(rootfs)
    images = []
    for name in ("holes", "zeros"):
        shutil.move(rootfs.parent / name / "f", rootfs / "f")
        stamp(rootfs)
        images.append(build(rootfs)[0])
    assert images[0] == images[1]


def test_times_can_be_set(rootfs: Path) -> None:
    data, _ = build(rootfs, times=Times(fixed=1000))
    assert {info.mtime for info in members(data).values()} == {1000}


def test_times_can_be_bounded(rootfs: Path) -> None:
    os.utime(rootfs / "etc" / "ümlaut", ns=(5, 1_500_000_000_000_000_000))
    found = members(build(rootfs, times=Times(latest=1_550_000_000))[0])
    assert found["rootfs/etc/ümlaut"].mtime == 1_500_000_000
    assert found["rootfs/bin"].mtime == 1_550_000_000
    assert found["manifest"].mtime == 1_550_000_000
    both = members(build(rootfs, times=Times(fixed=7, latest=5))[0])
    assert {info.mtime for info in both.values()} == {7}


def test_all_can_belong_to_root(rootfs: Path) -> None:
    data, _ = build(rootfs, owner_root=True)
    assert {(info.uid, info.gid) for info in members(data).values()} == {(0, 0)}


def test_sockets_are_left_out_and_said(rootfs: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(rootfs)
        try:
            listener.bind("sock")
        finally:
            os.chdir(here)
    data, built = build(rootfs, where="tree")
    assert "rootfs/sock" not in members(data)
    assert built.warnings == ["tree/sock: is a socket and was left out"]


def test_a_hard_link_to_outside_is_a_file_of_its_own(rootfs: Path) -> None:
    (rootfs.parent / "outside").write_bytes(b"o")
    os.link(rootfs.parent / "outside", rootfs / "inside")
    assert members(build(rootfs)[0])["rootfs/inside"].isreg()


def test_user_attributes_are_kept_and_those_of_the_host_are_not(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["user.b", "user.a", "security.selinux", "security.capability", "trusted.overlay.opaque", "security.ima"]
    monkeypatch.setattr(tartree.os, "listxattr", lambda *_, **__: names, raising=False)
    monkeypatch.setattr(tartree.os, "getxattr", lambda _, name, **__: name.encode() + b"\0\n", raising=False)
    keys = [key for key in members(build(rootfs)[0])["rootfs/bin"].pax_headers if key.startswith("SCHILY.")]
    assert keys == ["SCHILY.xattr.security.capability", "SCHILY.xattr.user.a", "SCHILY.xattr.user.b"]


def test_a_file_that_changes_while_it_is_read_is_an_error(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.read

    def shrink(fd: int, count: int) -> bytes:
        os.truncate(rootfs / "also", 10)
        return real(fd, count)

    monkeypatch.setattr(tartree.os, "read", shrink)
    with pytest.raises(ArchiveError, match="changed while it was read"):
        build(rootfs)


def test_a_file_that_cannot_be_read_is_named(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: object, *rest: object, **more: object) -> int:
        if path == b"app":
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)  # type: ignore[arg-type]

    os.unlink(rootfs / "also")
    monkeypatch.setattr(tartree.os, "open", refuse)
    with pytest.raises(ArchiveError) as caught:
        build(rootfs, where="tree")
    assert str(caught.value) == "tree/bin/app: cannot be read: Permission denied"


def test_nothing_is_packed_that_could_not_be_unpacked(rootfs: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(rootfs)
        for _ in range(300):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    with pytest.raises(ArchiveError, match="more than 256 directories deep"):
        build(rootfs)


def test_unpacked_and_packed_again_it_is_the_same_image(rootfs: Path) -> None:
    data, _ = build(rootfs)
    copy = rootfs.parent / "copy"
    copy.mkdir()
    fd = os.open(copy, os.O_RDONLY)
    with Extractor(fd, prefix="rootfs", owners=os.geteuid() == 0) as extractor:
        read_aci(io.BytesIO(data), extractor)
        extractor.finish()
    os.close(fd)
    assert build(copy)[0] == data
