"""Archives written here: the same bytes for the same files, and every reader finds the files in them."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appc.errors import ArchiveError
from appc.formats.extract import Record
from appc.formats.tar import Reader
from appc.formats.tarwrite import Writer, header


def record(kind: str = "file", **fields: object) -> Record:
    values: dict[str, object] = {"mode": 0o644, "uid": 0, "gid": 0, **fields}
    return Record("", kind, **values)  # type: ignore[arg-type]


def archive(*members: tuple[str, Record, bytes]) -> bytes:
    out = io.BytesIO()
    writer = Writer(out)
    for name, member, content in members:
        member.size = len(content)
        writer.add(name, member, [content] if content else [])
    writer.close()
    return out.getvalue()


def test_the_bytes_of_a_plain_file() -> None:
    data = archive(("rootfs/a", record(mode=0o755, uid=1, gid=2, mtime_ns=3_000_000_000), b"hello"))
    assert len(data) == 4 * 512
    assert data[:8] == b"rootfs/a"
    assert data[100:157] == b"0000755\x000000001\x000000002\x0000000000005\x0000000000003\x00010670\x00 0"
    assert data[257:265] == b"ustar\x0000"
    assert data[265:329] == bytes(64), "no names of users and groups"
    assert data[512:1024] == b"hello".ljust(512, b"\0")
    assert data[1024:] == bytes(1024)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("a" * 100, record()),
        ("p" * 150 + "/" + "n" * 100, record()),
        ("d", record("dir", mode=0o1777)),
        ("l", record("symlink", linkname="x" * 100)),
        ("h", record("hardlink", linkname="a")),
        ("c", record("char", devmajor=4095, devminor=0o3777777)),
        ("f", record("fifo")),
        ("u", record(uid=0o7777777, mtime_ns=0o77777777777 * 10**9)),
    ],
)
def test_no_extended_header_where_ustar_suffices(name: str, member: Record) -> None:
    assert len(header(name, member)) == 512


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("a" * 101, record()),
        ("p" * 156 + "/n", record()),
        ("a/" * 128 + "b", record()),
        ("ä", record()),
        ("\udcff", record()),
        ("l", record("symlink", linkname="x" * 101)),
        ("l", record("symlink", linkname="ä")),
        ("u", record(uid=0o10000000)),
        ("g", record(gid=4294967294)),
        ("t", record(mtime_ns=1)),
        ("t", record(mtime_ns=-1_500_000_000)),
        ("t", record(mtime_ns=0o100000000000 * 10**9)),
        ("x", record(xattrs={"user.a": b"b"})),
    ],
)
def test_an_extended_header_where_it_does_not(name: str, member: Record) -> None:
    assert len(header(name, member)) > 512


def test_a_large_file_gets_its_size_in_an_extended_header() -> None:
    member = record()
    member.size = 1 << 33
    assert b" size=8589934592\n" in header("a", member)


def test_content_of_the_wrong_length_is_an_error() -> None:
    for wrong in (b"hell", b"hello!"):
        member = record()
        member.size = 5
        with pytest.raises(ArchiveError, match="changed while it was read"):
            Writer(io.BytesIO()).add("a", member, [wrong])


names = st.lists(
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=60).filter(
        lambda part: part not in (".", "..") and len(part.encode()) < 256
    ),
    min_size=1,
    max_size=8,
).map("/".join)
texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=200)
attributes = st.dictionaries(
    st.text("abcxyz.", min_size=1, max_size=20).map("user.".__add__), st.binary(max_size=300), max_size=3
)
records = st.one_of(
    st.builds(
        record,
        st.just("file"),
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, (1 << 32) - 2),
        gid=st.integers(0, (1 << 32) - 2),
        mtime_ns=st.integers(-(1 << 62), 1 << 62),
        xattrs=attributes,
    ),
    st.builds(record, st.sampled_from(["dir", "fifo"]), mtime_ns=st.integers(0, 1 << 62), xattrs=attributes),
    st.builds(record, st.just("symlink"), linkname=texts),
    st.builds(
        record, st.sampled_from(["char", "block"]), devmajor=st.integers(0, 4095), devminor=st.integers(0, 1 << 20)
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(names, records, st.binary(max_size=2000)), max_size=5))
def test_what_is_written_is_read_back_by_appc_and_by_tarfile(members: list[tuple[str, Record, bytes]]) -> None:
    members = [(name, member, content if member.type == "file" else b"") for name, member, content in members]
    data = archive(*members)
    assert data == archive(*members)
    read = [(entry, b"".join(entry.chunks())) for entry in Reader(io.BytesIO(data))]
    assert len(read) == len(members)
    for (entry, content), (name, member, expected) in zip(read, members, strict=True):
        assert entry.name == name + "/" * (member.type == "dir")
        assert content == expected
        for field in ("type", "mode", "uid", "gid", "mtime_ns", "linkname", "devmajor", "devminor", "xattrs"):
            assert getattr(entry, field) == getattr(member, field), field
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        for info, (name, member, expected) in zip(other.getmembers(), members, strict=True):
            assert info.name == name
            assert (info.mode, info.uid, info.gid, info.linkname) == (
                member.mode,
                member.uid,
                member.gid,
                member.linkname,
            )
            assert info.mtime == pytest.approx(member.mtime_ns / 1e9, abs=1e-3)
            taken = other.extractfile(info) if info.isreg() else None
            assert (taken.read() if taken else b"") == expected


def test_names_that_are_no_text_survive() -> None:
    name, target = "caf\udce9/" + "x" * 120, "\udcfe"
    data = archive((name, record("symlink", linkname=target), b""))
    assert b" hdrcharset=BINARY\n" in data
    (entry,) = Reader(io.BytesIO(data))
    assert (entry.name, entry.linkname) == (name, target)
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        assert other.getmembers()[0].name == name
