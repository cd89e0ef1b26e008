"""Archives made by others are understood as they understand them."""

from __future__ import annotations

import io
import tarfile

import pytest

from appc.errors import ArchiveError
from appc.formats.limits import Limits
from appc.formats.tar import Entry, Reader, safe_name
from hostile.tarbuild import directory, extended, file, header, long_name, pax, record, sparse, tar

LONG = "d/" * 60 + "n" * 120


def entries(data: bytes) -> dict[str, tuple[Entry, bytes]]:
    """Every entry by name, with its content."""
    return {entry.name: (entry, b"".join(entry.chunks())) for entry in Reader(io.BytesIO(data))}


def only(data: bytes) -> tuple[Entry, bytes]:
    (found,) = entries(data).values()
    return found


def made_by_tarfile(format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:

        def add(name: str, kind: bytes, content: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))

        add(
            "file",
            tarfile.REGTYPE,
            b"hello",
            mode=0o4755,
            uid=1000,
            gid=1001,
            mtime=1234567890,
            uname="joe",
            gname="users",
        )
        add("empty", tarfile.REGTYPE)
        add("dir", tarfile.DIRTYPE, mode=0o1777)
        add("symlink", tarfile.SYMTYPE, linkname="../else where")
        add("hard", tarfile.LNKTYPE, linkname="file")
        add("char", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("block", tarfile.BLKTYPE, devmajor=8, devminor=1)
        add("fifo", tarfile.FIFOTYPE)
        if format != tarfile.USTAR_FORMAT:
            add(LONG, tarfile.REGTYPE, b"long")
            add("big", tarfile.REGTYPE, uid=3_000_000_000, gid=3_000_000_001)
            add("link", tarfile.SYMTYPE, linkname=LONG)
        if format == tarfile.PAX_FORMAT:
            add("ns", tarfile.REGTYPE, pax_headers={"mtime": "1.000000001", "SCHILY.xattr.user.a": "b", "comment": "c"})
            add("ümlaut", tarfile.REGTYPE, b"u")
    return out.getvalue()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_formats_of_tarfile(format: int) -> None:
    data = made_by_tarfile(format)
    found = entries(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = archive.getmembers()
        assert list(found) == [info.name + "/" * (info.type == tarfile.DIRTYPE) for info in expected]
        for info in expected:
            entry, content = found[info.name + "/" * (info.type == tarfile.DIRTYPE)]
            assert (entry.mode, entry.uid, entry.gid, entry.size) == (info.mode, info.uid, info.gid, info.size)
            assert (entry.uname, entry.gname, entry.linkname) == (info.uname, info.gname, info.linkname)
            assert (entry.devmajor, entry.devminor) == (info.devmajor, info.devminor)
            if info.isreg():
                taken = archive.extractfile(info)
                assert taken is not None
                assert content == taken.read()
    kinds = {name: entry.type for name, (entry, _) in found.items()}
    assert kinds["file"] == "file"
    assert [kinds[name] for name in ("symlink", "hard", "char", "block", "fifo", "dir/")] == [
        "symlink",
        "hardlink",
        "char",
        "block",
        "fifo",
        "dir",
    ]


def test_pax_records() -> None:
    entry, _ = entries(made_by_tarfile(tarfile.PAX_FORMAT))["ns"]
    assert entry.mtime_ns == 1_000_000_001
    assert entry.xattrs == {"user.a": b"b"}
    assert entry.pax == {"comment": b"c"}


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("1.0000000019", 1_000_000_001),
        ("-1", -1_000_000_000),
        ("-1.25", -1_250_000_000),
        ("-0.5", -500_000_000),
    ],
)
def test_times_of_pax(text: str, nanoseconds: int) -> None:
    assert only(tar(pax(mtime=text), file(b"a")))[0].mtime_ns == nanoseconds


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000017\0", 15),
        (b"    17 \0", 15),
        (b"17\0", 15),
        (b"17 ", 15),
        (b"\0", 0),
        (b"       \0", 0),
        (b"\x80\0\0\0\x01\0\0\0", 1 << 24),
    ],
)
def test_numbers_in_headers(field: bytes, value: int) -> None:
    assert only(tar(header(b"a", uid=field)))[0].uid == value


def test_a_time_before_1970() -> None:
    assert only(tar(header(b"a", mtime=b"\xff" * 12)))[0].mtime_ns == -1_000_000_000


def test_binary_attributes_of_both_kinds() -> None:
    value = bytes(range(256))
    star = extended(record(b"SCHILY.xattr.security.capability", value))
    assert only(tar(star, file(b"a")))[0].xattrs == {"security.capability": value}
    libarchive = extended(record(b"LIBARCHIVE.xattr.user.a%3db", b"AQID") + record(b"LIBARCHIVE.xattr.user.c", b"/w"))
    assert only(tar(libarchive, file(b"a")))[0].xattrs == {"user.a=b": b"\1\2\3", "user.c": b"\xff"}


def test_an_attribute_in_both_forms_is_taken_from_the_plain_one() -> None:
    both = extended(record(b"LIBARCHIVE.xattr.user.a", b"AQID") + record(b"SCHILY.xattr.user.a", b"plain"))
    assert only(tar(both, file(b"a")))[0].xattrs == {"user.a": b"plain"}


def test_global_headers_hold_for_all_that_follow_unless_overridden() -> None:
    data = tar(
        extended(record(b"uid", b"5") + record(b"comment", b"x"), b"g"),
        file(b"a"),
        pax(uid="6"),
        file(b"b"),
        pax(uid=""),
        file(b"c", uid=7),
    )
    assert [entry.uid for entry, _ in entries(data).values()] == [5, 6, 7]


def test_long_names_of_gnu() -> None:
    name, target = b"n" * 200, b"t" * 300
    entry, _ = only(tar(long_name(target, b"K"), long_name(name), header(b"short", b"2", 0, b"x", magic=b"ustar  \0")))
    assert (entry.name, entry.linkname) == (name.decode(), target.decode())


def test_what_gnu_headers_keep_in_the_place_of_the_prefix_is_no_name() -> None:
    entry, _ = only(tar(header(b"a", magic=b"ustar  \0", tail=b"00000000001\0")))
    assert entry.name == "a"


def test_ustar_prefix_and_stars_shorter_one() -> None:
    assert only(tar(header(b"b", prefix=b"a")))[0].name == "a/b"
    assert only(tar(header(b"b", prefix=b"a" + bytes(130) + b"00000000001\0", tail=b"")))[0].name == "a/b"


def test_directories_of_before_there_were_types() -> None:
    assert only(tar(header(b"a/", b"\0", magic=bytes(8))))[0].type == "dir"


def test_sparse_extents_are_given_without_the_holes() -> None:
    stored = b"x" * 512 + b"y" * 10
    for entry in Reader(io.BytesIO(tar(sparse(b"a", [(1024, 512), (4096, 10)], 5000, stored)))):
        assert entry.size == 5000
        assert list(entry.extents()) == [(1024, b"x" * 512), (4096, b"y" * 10)]


def test_content_that_is_not_read_is_skipped() -> None:
    data = tar(file(b"a", b"x" * 5000), file(b"b", b"y"), directory(b"c"))
    assert [entry.name for entry in Reader(io.BytesIO(data))] == ["a", "b", "c"]
    first, *_ = list(Reader(io.BytesIO(data)))
    assert list(first.chunks()) in ([], [bytes(5000)])


def test_read_refuses_what_is_longer() -> None:
    for entry in Reader(io.BytesIO(tar(file(b"a", b"x" * 5000))), where="x.tar"):
        with pytest.raises(ArchiveError, match=r"^x\.tar: a: is 5000 bytes long, more than the 4999 allowed$"):
            entry.read(4999)


def test_the_stream_is_read_to_its_end() -> None:
    source = io.BytesIO(tar(file(b"a")) + bytes(20_000) + b"tail")
    reader = Reader(source)
    assert [entry.name for entry in reader] == ["a"]
    assert reader.trailing == 4
    assert source.read() == b""


def test_sources_that_give_little_at_a_time() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 7, 7))

    found = [(entry.name, entry.read(10_000)) for entry in Reader(Trickle(tar(file(b"a", b"x" * 1000), file(b"b"))))]
    assert found == [("a", b"x" * 1000), ("b", b"content\n")]


@pytest.mark.parametrize(
    ("name", "path"),
    [("a/b", "a/b"), ("./a//b/.", "a/b"), (".", ""), ("./", ""), ("a/", "a"), ("..a/b..", "..a/b.."), ("ä", "ä")],
)
def test_safe_names(name: str, path: str) -> None:
    assert safe_name(name) == path


@pytest.mark.parametrize(
    "name", ["/", "/a", "..", "a/..", "../a", "a/../b", "a\0b", "a" * 256, "ä" * 128, "a/" * 300 + "b"]
)
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(ArchiveError):
        safe_name(name)


def test_limits_are_the_callers() -> None:
    assert safe_name("a" * 300, Limits(component=300)) == "a" * 300
