"""The fields of tar headers, from bytes to values: numbers, names, pax records, sparse maps.

Covers V7, ustar, pax and GNU headers. Everything raises `HeaderError` with a reason and no position; the
reader adds which archive and which entry.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import adler32

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
EXTENSIONS = b"xXgLK"

# Mode and owner are one field, and so is everything from the magic to the device numbers: few archives have more than
# a handful of different ones, so they are decoded once each.
_FIELDS = struct.Struct("100s24s12s12s8s1s100s88s155s12s")
_IDENTITY = struct.Struct("8s32s32s8s8s")
_REMEMBERED = 256
_SPACES = b" " * 8
_MAX_DECIMAL_DIGITS = 20


class HeaderError(ValueError):
    """A header field is not what any tar format allows."""


class RawHeader:
    """One header block, decoded but not yet combined with the extended headers before it."""

    __slots__ = (
        "block",
        "devmajor",
        "devminor",
        "gid",
        "gname",
        "linkname",
        "mode",
        "mtime",
        "name",
        "size",
        "typeflag",
        "uid",
        "uname",
    )

    def __init__(self, block: bytes) -> None:
        """Decode `block` (512 bytes, not all zero); of an extension's header only type and size matter."""
        fields = _FIELDS.unpack(block)
        name, owner, size, mtime, checksum, typeflag, linkname, identity, prefix, end = fields
        if not _checksum_holds(block, checksum):
            raise HeaderError("header checksum does not match (corrupt, or not a tar archive)")
        self.block = block
        self.typeflag = typeflag
        self.size = number(size)
        if typeflag in EXTENSIONS:
            return
        magic, self.uname, self.gname, major, minor = _identity(identity)
        name = cut(name)
        # GNU headers keep other fields where ustar keeps the name's prefix.
        if magic == b"ustar\0":
            if end[-4:] == b"tar\0":
                prefix = prefix[:131]
            prefix = cut(prefix)
            if prefix:
                name = prefix + b"/" + name
        self.name = name
        self.linkname = cut(linkname)
        self.mode, self.uid, self.gid = _owner(owner)
        self.mtime = number(mtime)
        self.devmajor = self.devminor = 0
        if magic and typeflag in b"34":
            self.devmajor = number(major)
            self.devminor = number(minor)


@lru_cache(_REMEMBERED)
def extension(block: bytes) -> RawHeader:
    """The header block of an extended header; in most archives all of them are the same."""
    return RawHeader(block)


@lru_cache(_REMEMBERED)
def _owner(fields: bytes) -> tuple[int, int, int]:
    """Mode, user and group."""
    return number(fields[:8]), number(fields[8:16]), number(fields[16:])


@lru_cache(_REMEMBERED)
def _identity(fields: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """The magic, the names of user and group, and the fields of the device numbers; all b"" before ustar."""
    magic, uname, gname, major, minor = _IDENTITY.unpack(fields)
    if magic[:5] != b"ustar":
        return b"", b"", b"", b"", b""
    return magic[:6], cut(uname), cut(gname), major, minor


def _checksum_holds(block: bytes, field: bytes) -> bool:
    """Whether the bytes' sum is as `field`, part of them, says; the field itself counts as spaces."""
    try:
        stored = number(field)
    except HeaderError:
        return False
    # The low half of adler32 is 1 plus the sum of the bytes, modulo a number that 256 bytes do not reach.
    plain = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2 - sum(field) + 256
    if plain == stored:
        return True
    # Old writers on machines with signed characters summed those.
    return plain - 256 * sum(1 for byte in block[:148] + block[156:] if byte > 127) == stored


def cut(field: bytes) -> bytes:
    """A text field up to its first NUL."""
    return field.partition(b"\0")[0]


def decode(raw: bytes) -> str:
    """Names are bytes; those that are not UTF-8 survive as surrogates, whatever the locale says."""
    return raw.decode("utf-8", "surrogateescape")


def number(field: bytes) -> int:
    """A numeric header field: octal text, or base-256 (GNU, star) when its first bit is set."""
    digits = field.rstrip(b"\0 ")
    if not digits.isdigit():
        first = field[0]
        if first & 0x80:
            # Some writers use the low bits of the first byte too; the next one is the sign.
            value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
            return value - (1 << (8 * len(field) - 1)) if first & 0x40 else value
        digits = cut(field).strip(b" ")
        if not digits:
            return 0
    # int() would take signs, underscores and a 0o prefix.
    if digits.strip(b"01234567"):
        raise HeaderError(f"header holds {digits.decode('ascii', 'backslashreplace')!r} where a number belongs")
    return int(digits, 8)


def pax_records(data: bytes) -> list[tuple[str, bytes]]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header, in order, repeated keys included."""
    records = []
    at, total = 0, len(data)
    while at < total:
        space = data.find(b" ", at, at + 12)
        digits = data[at:space] if space > at else b""
        if not digits.isdigit():
            raise HeaderError("extended header has a record without a length")
        length = int(digits)
        end = at + length
        if end > total or end <= space + 1:
            raise HeaderError(f"extended header has a record of impossible length {length}")
        if data[end - 1] != 10:
            raise HeaderError("extended header has a record that does not end with a newline")
        equals = data.find(b"=", space + 1, end)
        if equals <= space + 1:
            raise HeaderError("extended header has a record without a key")
        records.append((decode(data[space + 1 : equals]), data[equals + 1 : end - 1]))
        at = end
    return records


def decimal(value: bytes, what: str) -> int:
    """A non-negative decimal number of a pax record."""
    if not value.isdigit() or len(value) > _MAX_DECIMAL_DIGITS:
        raise HeaderError(f"extended header holds no sensible {what}")
    return int(value)


def pax_time(value: bytes) -> int:
    """A pax time, decimal seconds with a fraction, in nanoseconds; finer digits are cut off."""
    sign = -1 if value[:1] == b"-" else 1
    whole, _, fraction = value[1 if sign < 0 else 0 :].partition(b".")
    if fraction and not fraction.isdigit():
        raise HeaderError("extended header holds no sensible time")
    return sign * (decimal(whole or b"0", "time") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def gnu_sparse(block: bytes) -> tuple[list[tuple[int, int]], bool, int]:
    """The sparse map in an old GNU header: extents (offset, length), whether more blocks follow, real size."""
    return _extents(block[386:482]), block[482] != 0, number(block[483:495])


def gnu_sparse_extension(block: bytes) -> tuple[list[tuple[int, int]], bool]:
    """One further block of an old GNU sparse map, and whether more follow."""
    return _extents(block[:504]), block[504] != 0


def _extents(area: bytes) -> list[tuple[int, int]]:
    extents = []
    for at in range(0, len(area), 24):
        if area[at] == 0:
            break
        extents.append((number(area[at : at + 12]), number(area[at + 12 : at + 24])))
    return extents


def check_sparse(extents: list[tuple[int, int]], stored: int, size: int) -> None:
    """Refuse a map whose extents overlap, run backwards, pass the end, or do not use the stored bytes up."""
    end = total = 0
    for offset, length in extents:
        if offset < end or length < 0:
            raise HeaderError("sparse map is not in ascending order")
        end = offset + length
        total += length
    if end > size:
        raise HeaderError("sparse map reaches beyond the end of the file")
    if total != stored:
        raise HeaderError(f"sparse map covers {total} bytes where {stored} are stored")
