"""Tar archives byte by byte, independent of appc's own writer, so that they can be wrong in any way."""

from __future__ import annotations

import gzip

MANIFEST = b'{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/hostile"}'
END = bytes(1024)


def header(
    name: bytes,
    flag: bytes = b"0",
    size: int | bytes = 0,
    link: bytes = b"",
    *,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    major: int = 0,
    minor: int = 0,
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    tail: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block. Numbers given as bytes are put in as they are; `tail` overwrites bytes 345 and following."""
    block = bytearray(512)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = _number(mode, 8)
    block[108:116] = _number(uid, 8)
    block[116:124] = _number(gid, 8)
    block[124:136] = _number(size, 12)
    block[136:148] = _number(mtime, 12)
    block[156:157] = flag
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[329:337] = _number(major, 8)
    block[337:345] = _number(minor, 8)
    block[345:500] = prefix.ljust(155, b"\0")
    block[345 : 345 + len(tail)] = tail
    block[148:156] = b" " * 8
    block[148:156] = checksum if checksum is not None else b"%06o\0 " % sum(block)
    return bytes(block)


def _number(value: int | bytes, width: int) -> bytes:
    return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)


def padded(data: bytes) -> bytes:
    """Fill up to whole blocks."""
    return data + bytes(-len(data) % 512)


def file(name: bytes, data: bytes = b"content\n", **fields: object) -> bytes:
    """A regular file."""
    return header(name, b"0", len(data), **fields) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, **fields: object) -> bytes:
    """A directory."""
    return header(name, b"5", mode=0o755, **fields)  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes) -> bytes:
    """A symbolic link."""
    return header(name, b"2", 0, target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> bytes:
    """A hard link."""
    return header(name, b"1", 0, target)


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header."""
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def extended(data: bytes, flag: bytes = b"x") -> bytes:
    """An extended header with these records (or whatever the bytes are)."""
    return header(b"pax", flag, len(data)) + padded(data)


def pax(**records: bytes | str) -> bytes:
    """An extended header; underscores in keys stand for dots."""
    data = b""
    for key, value in records.items():
        data += record(key.replace("_", ".").encode(), value.encode() if isinstance(value, str) else value)
    return extended(data)


def long_name(name: bytes, flag: bytes = b"L") -> bytes:
    """GNU's way to give a long name, or a long link target with flag K."""
    return header(b"././@LongLink", flag, len(name) + 1, magic=b"ustar  \0") + padded(name + b"\0")


def sparse(name: bytes, extents: list[tuple[int, int]], real: int, data: bytes) -> bytes:
    """An old GNU sparse file with up to four extents in its header."""
    area = b"".join(b"%011o\0%011o\0" % extent for extent in extents).ljust(96, b"\0")
    tail = bytes(41) + area + b"\0" + b"%011o\0" % real
    return header(name, b"S", len(data), magic=b"ustar  \0", tail=tail) + padded(data)


def tar(*members: bytes) -> bytes:
    """Members and the end marker."""
    return b"".join(members) + END


def image(*members: bytes) -> bytes:
    """A valid image's beginning, these members, and the end marker."""
    return tar(file(b"manifest", MANIFEST), directory(b"rootfs"), *members)


def gz(data: bytes) -> bytes:
    """Compressed with gzip."""
    return gzip.compress(data, 1, mtime=0)
