"""Reading images: in one pass, whatever they are compressed with, with the ID of the whole stream."""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import threading
import time

import pytest

from appc.errors import AppcError, ArchiveError
from appc.formats.aci import read_aci, read_image_id, read_manifest
from appc.formats.limits import Limits
from appc.formats.tar import Entry
from hostile.tarbuild import END, MANIFEST, directory, file, gz, image, symlink, tar

GOOD = image(file(b"rootfs/a", b"x" * 3000), directory(b"rootfs/d"), symlink(b"rootfs/l", b"a"))
ID = "sha512-" + hashlib.sha512(GOOD).hexdigest()


class Collected:
    """A sink that remembers paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def entry(self, entry: Entry) -> None:
        self.paths.append(entry.path)


@pytest.mark.parametrize(
    ("data", "compression"),
    [(GOOD, "none"), (gz(GOOD), "gzip"), (bz2.compress(GOOD), "bzip2"), (lzma.compress(GOOD), "xz")],
)
def test_what_is_found(data: bytes, compression: str) -> None:
    sink = Collected()
    found = read_aci(io.BytesIO(data), sink)
    assert found.image_id == ID
    assert found.manifest_bytes == MANIFEST
    assert (found.size, found.compression, found.entries) == (len(GOOD), compression, 5)
    assert found.warnings == []
    assert sink.paths == ["rootfs", "rootfs/a", "rootfs/d", "rootfs/l"]
    assert read_image_id(io.BytesIO(data)) == ID
    assert read_manifest(io.BytesIO(data)) == MANIFEST


def test_the_id_is_of_all_bytes_also_behind_the_end() -> None:
    long = GOOD + bytes(9000) + b"tail"
    found = read_aci(io.BytesIO(gz(long) + b"junk"), where="x.aci")
    assert found.image_id == "sha512-" + hashlib.sha512(long).hexdigest()
    assert found.warnings == [
        "x.aci: 4 bytes of other data follow the end of the archive",
        "x.aci: 4 bytes of other data follow the gzip stream",
    ]


def test_the_manifest_is_announced_as_soon_as_it_is_read() -> None:
    for members, before in (
        ((file(b"manifest", MANIFEST), directory(b"rootfs"), file(b"rootfs/a")), []),
        ((directory(b"rootfs"), file(b"rootfs/a"), file(b"manifest", MANIFEST)), ["rootfs", "rootfs/a"]),
    ):
        sink = Collected()
        seen: list[tuple[bytes, list[str]]] = []
        read_aci(
            io.BytesIO(tar(*members)), sink, on_manifest=lambda data, s=sink, to=seen: to.append((data, list(s.paths)))
        )  # type: ignore[misc]
        assert seen == [(MANIFEST, before)]


def test_who_is_told_of_the_manifest_may_refuse_the_image() -> None:
    def refuse(_: bytes) -> None:
        raise ArchiveError("not this one")

    sink = Collected()
    with pytest.raises(ArchiveError, match="not this one"):
        read_aci(io.BytesIO(GOOD), sink, on_manifest=refuse)
    assert sink.paths == []


def test_the_manifest_can_be_had_without_the_rest() -> None:
    assert read_manifest(io.BytesIO(GOOD[:1536])) == MANIFEST
    with pytest.raises(ArchiveError, match='has no "manifest"'):
        read_manifest(io.BytesIO(tar(directory(b"rootfs"))))


def test_all_faults_are_collected_when_asked() -> None:
    data = tar(file(b"evil"), file(b"rootfs/../a"), file(b"rootfs/b"), file(b"rootfs/b"), file(b"/c"))
    faults: list[ArchiveError] = []
    sink = Collected()
    read_aci(io.BytesIO(data), sink, where="x.aci", faults=faults)
    assert [str(fault) for fault in faults] == [
        'x.aci: evil: is neither "manifest" nor below "rootfs"',
        'x.aci: rootfs/../a: name contains ".."',
        "x.aci: rootfs/b: is in the archive twice",
        "x.aci: /c: name is absolute",
        'x.aci: has no "manifest"',
        'x.aci: has no entry for the directory "rootfs"',
    ]
    assert sink.paths == ["rootfs/b"]


def test_not_without_end() -> None:
    faults: list[ArchiveError] = []
    with pytest.raises(ArchiveError, match="too many faults"):
        read_aci(io.BytesIO(tar(*(file(b"evil%d" % n) for n in range(200)))), faults=faults)
    assert len(faults) == 100


def _readers() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name == "appc-read")


@pytest.mark.parametrize("size", [0, 50_000_000])
def test_a_refusal_ends_the_thread_that_reads_ahead(size: int) -> None:
    with pytest.raises(ArchiveError):
        read_aci(io.BytesIO(file(b"evil") + bytes(size)))
    assert _readers() == 0


def test_memory_is_bounded_however_far_the_source_is_ahead() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.given += size or 0
            return bytes(size or 0) if self.given > 600 else GOOD[:600].ljust(size or 0, b"\0")

    source = Endless()

    class Slow:
        def entry(self, entry: Entry) -> None:
            time.sleep(0.2)
            raise ArchiveError("enough")

    with pytest.raises(AppcError):
        read_aci(source, Slow())
    assert source.given < 20_000_000
    assert _readers() == 0


def test_an_error_of_the_source_comes_through() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(1000)
            if not data:
                raise OSError(5, "Input/output error")
            return data

    with pytest.raises(OSError, match="Input/output"):
        read_aci(Broken(GOOD[:-1024]))
    assert _readers() == 0


def test_limits_are_the_callers() -> None:
    with pytest.raises(ArchiveError, match="more than 4 entries"):
        read_aci(io.BytesIO(GOOD), limits=Limits(entries=4))


def test_no_image() -> None:
    for function in (read_aci, read_manifest, read_image_id):
        with pytest.raises(ArchiveError, match=r"^x: is no image"):
            function(io.BytesIO(b"hello"), where="x")  # type: ignore[operator]
    assert read_image_id(io.BytesIO(gz(END))) == "sha512-" + hashlib.sha512(END).hexdigest()
