"""What the records of extended headers (pax, with the additions of star, GNU tar and libarchive) do to an entry."""

from __future__ import annotations

from appc.formats.tarheader import HeaderError, decimal, decode, pax_time
from appc.formats.tarnames import FILE, HARDLINK, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.tar import Entry

_LOCAL_KEYS = ("path", "linkpath", "size")
_STAR_XATTR = "SCHILY.xattr."
_LIBARCHIVE_XATTR = "LIBARCHIVE.xattr."
_SPARSE = "GNU.sparse."


class Sparse:
    """A sparse file as extended records describe it; `extents` is None when the map stands before the content."""

    __slots__ = ("extents", "name", "size")

    def __init__(self, size: int, name: str, extents: list[tuple[int, int]] | None) -> None:
        self.size = size
        self.name = name
        self.extents = extents


def check_global(records: list[tuple[str, bytes]]) -> None:
    """Refuse what makes sense for one entry only in a header that is for all that follow."""
    for key, _ in records:
        if key in _LOCAL_KEYS or key.startswith((_SPARSE, _STAR_XATTR, _LIBARCHIVE_XATTR)):
            raise HeaderError(f"global extended header sets {key!r} for every entry")


def apply(entry: Entry, records: list[tuple[str, bytes]]) -> Sparse | None:
    """Let `records`, later ones first, override what the header said; returns the sparse map if there is one.

    An empty value takes an earlier record back, except that an extended attribute may be empty.
    """
    effective = dict(records)
    for key, value in effective.items():
        if key.startswith(_STAR_XATTR):
            entry.xattrs[key[len(_STAR_XATTR) :]] = value
        elif key.startswith(_LIBARCHIVE_XATTR):
            name, data = _libarchive_xattr(key[len(_LIBARCHIVE_XATTR) :], value)
            if _STAR_XATTR + name not in effective:
                entry.xattrs[name] = data
        elif not value or key.startswith(_SPARSE):
            continue
        elif key == "path":
            entry.name = decode(value)
        elif key == "linkpath":
            if entry.type in (SYMLINK, HARDLINK):
                entry.linkname = decode(value)
        elif key == "size":
            if entry.type == FILE:
                entry.size = decimal(value, key)
        elif key == "mtime":
            entry.mtime_ns = pax_time(value)
        elif key == "uid":
            entry.uid = decimal(value, key)
        elif key == "gid":
            entry.gid = decimal(value, key)
        elif key == "uname":
            entry.uname = decode(value)
        elif key == "gname":
            entry.gname = decode(value)
        else:
            entry.pax[key] = value
    return _sparse(entry, effective, records) if any(key.startswith(_SPARSE) for key in effective) else None


def _sparse(entry: Entry, effective: dict[str, bytes], records: list[tuple[str, bytes]]) -> Sparse:
    if entry.type != FILE:
        raise HeaderError(f"sparse map on a {entry.type}")
    size = effective.get(_SPARSE + "realsize") or effective.get(_SPARSE + "size")
    if not size:
        raise HeaderError("sparse file without its size")
    name = decode(effective.get(_SPARSE + "name", b""))
    major = effective.get(_SPARSE + "major", b"0")
    if major == b"1":
        return Sparse(decimal(size, "sparse size"), name, None)
    if major != b"0":
        raise HeaderError("sparse file in an unknown version of the format")
    return Sparse(decimal(size, "sparse size"), name, _extents(records))


def _extents(records: list[tuple[str, bytes]]) -> list[tuple[int, int]]:
    """The map of formats 0.0, which repeats two keys in turn, and 0.1, which lists all numbers in one value."""
    numbers: list[bytes] = []
    for key, value in records:
        if key == _SPARSE + "map":
            numbers = value.split(b",") if value else []
        elif key in (_SPARSE + "offset", _SPARSE + "numbytes"):
            if (len(numbers) % 2 == 0) != (key == _SPARSE + "offset"):
                raise HeaderError("sparse map has an offset without a length")
            numbers.append(value)
    if len(numbers) % 2:
        raise HeaderError("sparse map has an offset without a length")
    values = [decimal(value, "sparse map") for value in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def _libarchive_xattr(name: str, value: bytes) -> tuple[str, bytes]:
    """libarchive's own form: a URL-encoded name and a base64 value without padding."""
    import binascii

    first, *rest = name.encode("utf-8", "surrogateescape").split(b"%")
    try:
        plain = first + b"".join(bytes.fromhex(part[:2].decode("ascii")) + part[2:] for part in rest)
        return decode(plain), binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    except ValueError:
        raise HeaderError("extended attribute is not of libarchive's form") from None
