"""Compressed streams: told apart by content, read back whole, written the same every time."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys

import pytest

from appc.errors import ArchiveError, UsageError
from appc.formats import compress, gzipwrite
from appc.formats.limits import Limits

KINDS = ("gzip", "bzip2", "xz", "none")
TEXT = bytes(random.Random(7).choices(b"abcdefgh \n", k=1_200_000))


def written(data: bytes, kind: str, level: int | None = None, piece: int = 100_000) -> bytes:
    out = io.BytesIO()
    writer = compress.writer(out, kind, level)
    for at in range(0, len(data), piece):
        writer.write(data[at : at + piece])
    writer.close()
    return out.getvalue()


def read(data: bytes, limits: Limits | None = None, step: int = 1 << 20) -> bytes:
    reader = compress.reader(io.BytesIO(data), limits or Limits(), "x")
    return b"".join(iter(lambda: reader.read(step), b""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 511, 512 * 1024, 512 * 1024 + 1, 1_200_000])
def test_what_is_written_is_read_back(kind: str, size: int) -> None:
    assert read(written(TEXT[:size], kind)) == TEXT[:size]


def test_other_tools_read_what_is_written() -> None:
    assert gzip.decompress(written(TEXT, "gzip")) == TEXT
    assert bz2.decompress(written(TEXT, "bzip2", 1)) == TEXT
    assert lzma.decompress(written(TEXT, "xz", 0)) == TEXT
    assert written(TEXT, "none") == TEXT


@pytest.mark.parametrize("kind", ["gzip", "bzip2"])
def test_the_bytes_do_not_depend_on_how_they_were_handed_over(kind: str) -> None:
    assert written(TEXT, kind, piece=7777) == written(TEXT, kind, piece=len(TEXT))


def test_the_gzip_bytes_do_not_depend_on_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    several = written(TEXT, "gzip")
    monkeypatch.setattr(gzipwrite, "threads", lambda: 1)
    assert written(TEXT, "gzip") == several


def test_a_gzip_header_holds_neither_name_nor_time() -> None:
    assert written(b"x", "gzip")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@pytest.mark.parametrize("level", [1, 6])
@pytest.mark.parametrize("hidden", [(), ("isal", "deflate")])
def test_gzip_is_written_with_whatever_is_installed(
    hidden: tuple[str, ...], level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in hidden:
        monkeypatch.setitem(sys.modules, name, None)
    assert gzip.decompress(written(TEXT, "gzip", level)) == TEXT


def test_levels_matter() -> None:
    assert len(written(TEXT, "gzip", 9)) < len(written(TEXT, "gzip", 1))


@pytest.mark.parametrize(
    ("kind", "level"), [("gzip", 0), ("gzip", 10), ("bzip2", 0), ("xz", 10), ("none", 1), ("lzo", 1)]
)
def test_kinds_and_levels_there_are_not(kind: str, level: int) -> None:
    with pytest.raises(UsageError):
        compress.writer(io.BytesIO(), kind, level)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (gzip.compress(b"x"), "gzip"),
        (bz2.compress(b"x"), "bzip2"),
        (lzma.compress(b"x"), "xz"),
        (b"\x28\xb5\x2f\xfd....", "zstd"),
        (bytes(257) + b"ustar\x0000", "tar"),
        (bytes(257) + b"ustar  \0", "tar"),
        (b"{}", "none"),
        (b"", "none"),
        (b"\x1f", "none"),
    ],
)
def test_detection_goes_by_content(data: bytes, kind: str) -> None:
    assert compress.detect(data) == kind
    if kind != "zstd":
        assert compress.reader(io.BytesIO(data)).kind == kind


@pytest.mark.parametrize("hidden", [(), ("isal",), ("isal", "zlib_ng")])
def test_gzip_is_read_with_whatever_is_installed(hidden: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in hidden:
        monkeypatch.setitem(sys.modules, name, None)
    data = gzip.compress(TEXT)
    assert read(data) == TEXT
    assert read(gzip.compress(TEXT[:10]) + gzip.compress(TEXT[10:20])) == TEXT[:20]
    # All of the input is taken long before all of the output was.
    assert read(gzip.compress(bytes(200_000)), step=1000) == bytes(200_000)
    for broken in (data[:-1], data[:1000]):
        with pytest.raises(ArchiveError, match="truncated"):
            read(broken)
    for broken in (data[:-8] + bytes(8), data[:100] + bytes(100) + data[200:]):
        with pytest.raises(ArchiveError, match="corrupt"):
            read(broken)


def test_zstd_is_read() -> None:
    if sys.version_info < (3, 14):
        from backports import zstd
    else:
        from compression import zstd
    assert read(zstd.compress(TEXT)) == TEXT


def test_small_reads_give_the_same() -> None:
    assert read(gzip.compress(TEXT[:50_000]), step=13) == TEXT[:50_000]


def test_sources_that_give_one_byte_at_a_time() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 1, 1))

    reader = compress.reader(Trickle(gzip.compress(b"one") + gzip.compress(b"two") + b"\0\0junk"))
    assert b"".join(iter(reader.read, b"")) == b"onetwo"
    assert reader.ignored == 4


def test_what_is_behind_the_end_is_counted_and_zeros_are_not() -> None:
    for tail, ignored in ((bytes(100_000), 0), (b"\0\0junk\0", 5), (b"\x1f", 1)):
        reader = compress.reader(io.BytesIO(gzip.compress(b"x") + tail))
        assert b"".join(iter(reader.read, b"")) == b"x"
        assert reader.ignored == ignored


def test_the_ratio_counts_only_beyond_a_floor() -> None:
    data = gzip.compress(bytes(4 << 20), 9)
    assert len(read(data, Limits(ratio=100, ratio_floor=4 << 20))) == 4 << 20
    with pytest.raises(ArchiveError, match="expands to more than 100 times its size") as caught:
        read(data, Limits(ratio=100, ratio_floor=1 << 20))
    assert "gzip" in caught.value.hint


def test_an_error_of_the_source_comes_through() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        compress.reader(Broken())
