"""Extracting: every entry becomes what it was, and is recorded; nothing leaves the root. (Owners: tests/root.)"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appc.errors import ArchiveError, HostError
from appc.formats import extract
from appc.formats.aci import read_aci
from appc.formats.extract import Extractor, Record
from appc.formats.tar import Entry
from hostile.tarbuild import directory, extended, file, hardlink, header, image, pax, record, sparse, symlink

Extract = Callable[..., tuple[dict[str, Record], Extractor]]


class Recorded:
    """A sink that keeps the records, as a store does."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self.records: dict[str, Record] = {}

    def entry(self, entry: Entry) -> None:
        found = self._extractor.entry(entry)
        self.records[found.path] = found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def extracted(root: Path) -> Iterator[Extract]:
    fd = os.open(root, os.O_RDONLY)
    # Nothing may be reached by a path that the process resolves itself.
    here = os.getcwd()
    os.chdir("/")

    def run(*members: bytes, owners: bool = os.geteuid() == 0) -> tuple[dict[str, Record], Extractor]:
        with Extractor(fd, prefix="rootfs", owners=owners, where="x.aci") as extractor:
            sink = Recorded(extractor)
            read_aci(io.BytesIO(image(*members)), sink)
            extractor.finish()
        return sink.records, extractor

    yield run
    os.chdir(here)
    os.close(fd)


def test_a_file(root: Path, extracted: Extract) -> None:
    records, _ = extracted(pax(mtime="1500000000.123456789"), file(b"rootfs/a", b"hello", mode=0o640))
    status = (root / "a").stat()
    assert (root / "a").read_bytes() == b"hello"
    assert status.st_mode & 0o7777 == 0o640
    assert status.st_mtime_ns == 1_500_000_000_123_456_789
    found = records["a"]
    assert (found.type, found.mode, found.size, found.mtime_ns) == ("file", 0o640, 5, 1_500_000_000_123_456_789)
    assert found.sha256 == hashlib.sha256(b"hello").hexdigest()


def test_modes_do_not_depend_on_the_umask(root: Path, extracted: Extract) -> None:
    umask = os.umask(0o777)
    try:
        extracted(file(b"rootfs/a", mode=0o4777), directory(b"rootfs/d"), header(b"rootfs/f", b"6", mode=0o666))
    finally:
        os.umask(umask)
    assert [(root / name).stat().st_mode & 0o7777 for name in "adf"] == [0o4777, 0o755, 0o666]


def test_directories_get_their_times_and_modes_last(root: Path, extracted: Extract) -> None:
    records, _ = extracted(
        header(b"rootfs/d", b"5", mode=0o555, mtime=1000),
        header(b"rootfs/d/e", b"5", mode=0o500, mtime=2000),
        file(b"rootfs/d/e/f"),
        file(b"rootfs/d/g"),
    )
    assert (root / "d").stat().st_mtime == 1000
    assert (root / "d" / "e").stat().st_mtime == 2000
    assert (root / "d" / "e").stat().st_mode & 0o7777 == 0o500
    assert root.stat().st_mtime == 0
    assert records[""].type == "dir"


def test_links(root: Path, extracted: Extract) -> None:
    records, _ = extracted(
        file(b"rootfs/a"),
        hardlink(b"rootfs/d/b", b"./rootfs/a"),
        symlink(b"rootfs/s", b"/etc/passwd"),
        hardlink(b"rootfs/t", b"rootfs/s"),
    )
    assert (root / "a").stat().st_ino == (root / "d" / "b").stat().st_ino
    assert os.readlink(root / "s") == os.readlink(root / "t") == "/etc/passwd"
    assert (root / "s").lstat().st_mtime == 0
    assert (records["d/b"].type, records["d/b"].linkname) == ("hardlink", "a")
    assert (records["s"].type, records["s"].linkname) == ("symlink", "/etc/passwd")


def test_directories_without_an_entry_are_told(root: Path, extracted: Extract) -> None:
    _, extractor = extracted(file(b"rootfs/a/b/c"), directory(b"rootfs/a"), file(b"rootfs/x/y"))
    assert extractor.implied == {"a/b", "x"}
    assert (root / "x").stat().st_mode & 0o7777 == 0o755


def test_holes_stay_holes_and_count_as_zeros(root: Path, extracted: Extract) -> None:
    stored = b"x" * 512 + b"y" * 10
    records, _ = extracted(sparse(b"rootfs/s", [(1 << 20, 512), (8 << 20, 10)], 16 << 20, stored))
    content = bytes(1 << 20) + b"x" * 512 + bytes((7 << 20) - 512) + b"y" * 10 + bytes((8 << 20) - 10)
    assert (root / "s").read_bytes() == content
    assert (root / "s").stat().st_blocks * 512 < 1 << 20
    assert records["s"].sha256 == hashlib.sha256(content).hexdigest()


def test_attributes(root: Path, extracted: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[str, bytes]] = []
    monkeypatch.setattr(
        extract.os, "setxattr", lambda _, name, value, **__: kept.append((name.decode(), value)), raising=False
    )
    attributes = record(b"SCHILY.xattr.user.a", b"\0\n=") + record(b"SCHILY.xattr.user.b", b"")
    records, extractor = extracted(
        extended(attributes), file(b"rootfs/a"), extended(attributes), symlink(b"rootfs/s", b"a")
    )
    assert kept == [("user.a", b"\0\n="), ("user.b", b"")] * 2
    assert records["a"].xattrs == {"user.a": b"\0\n=", "user.b": b""}
    assert extractor.skipped == {} or os.geteuid() != 0


def test_attributes_the_file_system_does_not_take_are_told(extracted: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(extract.os, "setxattr", refuse, raising=False)
    _, extractor = extracted(extended(record(b"SCHILY.xattr.user.a", b"1")), file(b"rootfs/a"))
    assert "extended attribute user.a of 1 entry could not be kept" in extractor.notes()


def test_without_privileges_owners_and_devices_are_left_out_and_told(root: Path, extracted: Extract) -> None:
    members = (file(b"rootfs/a", uid=12345), header(b"rootfs/c", b"3", major=1, minor=3), file(b"rootfs/b", gid=7))
    records, extractor = extracted(*members, owners=False)
    assert (root / "a").stat().st_uid == os.geteuid()
    assert not (root / "c").exists()
    assert (records["a"].uid, records["c"].devminor) == (12345, 3)
    assert extractor.skipped["device node"] == 1
    assert extractor.skipped["owner"] >= 2


def test_a_full_disk_is_an_error_of_the_host(extracted: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(extract.os, "write", full)
    with pytest.raises(HostError) as caught:
        extracted(file(b"rootfs/a"))
    assert str(caught.value) == "x.aci: rootfs/a: cannot be extracted: No space left on device"
    assert caught.value.exit_status == 125
    assert "free some space" in caught.value.hint


def test_short_writes_are_continued(root: Path, extracted: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(extract.os, "write", lambda fd, data: write(fd, data[:1000]))
    extracted(file(b"rootfs/a", b"0123456789" * 1000))
    assert (root / "a").read_bytes() == b"0123456789" * 1000


def test_many_directories_need_few_descriptors(root: Path, extracted: Extract) -> None:
    before = len(os.listdir("/dev/fd"))
    extracted(*(file(b"rootfs/%d/%d/f" % (n, n)) for n in range(2000)))
    assert len(list(root.iterdir())) == 2000
    assert len(os.listdir("/dev/fd")) - before < 100


class Loose:
    """Drives an extractor with entries nobody checked."""

    def __init__(self, root: Path) -> None:
        self.fd = os.open(root, os.O_RDONLY)
        self.extractor = Extractor(self.fd, owners=False)

    def add(self, member: bytes, path: str, link_path: str = "") -> None:
        from appc.formats.tar import Reader

        for entry in Reader(io.BytesIO(member + bytes(1024))):
            entry.path, entry.link_path = path, link_path
            self.extractor.entry(entry)


@pytest.fixture
def loose(root: Path) -> Iterator[Loose]:
    found = Loose(root)
    yield found
    found.extractor.close()
    os.close(found.fd)


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/tmp/evil", "a//b", "./a", "a/.", "a/", ".."])
def test_paths_that_are_not_plain(loose: Loose, root: Path, path: str) -> None:
    with pytest.raises(ArchiveError):
        loose.add(file(b"x"), path)
    assert list(root.parent.iterdir()) == [root]


def test_no_link_is_followed_whatever_it_replaced(loose: Loose, root: Path) -> None:
    (root.parent / "outside").mkdir()
    loose.add(file(b"x"), "d/f")
    with pytest.raises(ArchiveError, match="earlier entry made it a directory"):
        loose.add(symlink(b"x", b"../outside"), "d")
    loose.add(symlink(b"x", b"../outside"), "s")
    for target in ("s/f", "s/g/h"):
        with pytest.raises(ArchiveError, match="not a directory"):
            loose.add(file(b"x"), target)
    with pytest.raises(ArchiveError, match="not a directory"):
        loose.add(hardlink(b"x", b"x"), "h", "s/f")
    assert list((root.parent / "outside").iterdir()) == []


def test_a_later_entry_replaces_what_is_no_directory(loose: Loose, root: Path) -> None:
    (root.parent / "secret").write_text("secret")
    loose.add(symlink(b"x", b"../secret"), "a")
    loose.add(file(b"x", b"new"), "a")
    assert (root / "a").read_bytes() == b"new"
    assert (root.parent / "secret").read_text() == "secret"
    loose.add(hardlink(b"x", b"x"), "b", "a")
    loose.add(file(b"x", b"third"), "b")
    assert (root / "a").read_bytes() == b"new", "a hard link is cut, not written through"
    loose.add(directory(b"x"), "b")
    assert (root / "b").is_dir()


def test_a_hard_link_to_a_directory_or_itself(loose: Loose) -> None:
    loose.add(directory(b"x"), "d")
    with pytest.raises(ArchiveError, match="to a directory"):
        loose.add(hardlink(b"x", b"x"), "h", "d")
    with pytest.raises(ArchiveError, match="to itself"):
        loose.add(hardlink(b"x", b"x"), "h", "h")
    with pytest.raises(ArchiveError, match="not in the archive before it"):
        loose.add(hardlink(b"x", b"x"), "h", "none/there")
