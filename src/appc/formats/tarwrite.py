"""Writing tar archives whose bytes depend on nothing but what is put in.

Headers are ustar; a pax extended header comes before those entries only that ustar cannot say (long or
non-ASCII names, fractions of seconds, large numbers, extended attributes). User and group names, access and
change times are left out, and sparse files are written in full: all of these belong to the machine and not
to the file.
"""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats.tarheader import BLOCK
from appc.formats.tarnames import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.formats.compress import Sink
    from appc.formats.extract import Record


_FLAGS = {FILE: b"0", HARDLINK: b"1", SYMLINK: b"2", CHAR: b"3", BLOCK_DEVICE: b"4", DIRECTORY: b"5", FIFO: b"6"}
_PAX_NAME = b"././@PaxHeader"
_END = bytes(2 * BLOCK)
_NS = 1_000_000_000
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777


class Writer:
    """Writes entries to `out` in the order they are added; `close` ends the archive and leaves `out` open."""

    def __init__(self, out: Sink) -> None:
        self._out = out

    def add(self, name: str, record: Record, content: Iterable[bytes] = ()) -> None:
        """Write the entry `record` describes under `name`, with a file's content in pieces.

        `record.linkname` is written as it is: for hard links it must be the target's name in the archive.
        Raises ArchiveError when the content is not `record.size` bytes long.
        """
        head = header(name, record)
        if record.type != FILE:
            self._out.write(head)
            return
        written = 0
        for piece in content:
            written += len(piece)
            # Most files are small: one write then takes the header along.
            self._out.write(head + piece if head else piece)
            head = b""
        if written != record.size:
            raise ArchiveError(f"changed while it was read: {written} bytes instead of {record.size}", printable(name))
        padding = bytes(-written % BLOCK)
        if head or padding:
            self._out.write(head + padding)

    def close(self) -> None:
        """Write the end marker."""
        self._out.write(_END)


def header(name: str, record: Record) -> bytes:
    """The header block of one entry, after the extended header it may need."""
    raw = _raw(name) + (b"/" if record.type == DIRECTORY and not name.endswith("/") else b"")
    link = _raw(record.linkname) if record.type in (SYMLINK, HARDLINK) else b""
    size = record.size if record.type == FILE else 0
    pax: dict[bytes, bytes] = {}
    prefix, short = _split(raw)
    if short is None:
        pax[b"path"] = raw
        prefix, short = b"", _ascii(raw)
    if len(link) > 100 or not link.isascii():
        pax[b"linkpath"] = link
        link = _ascii(link)
    if not (_is_utf8(raw) and _is_utf8(_raw(record.linkname))):
        pax[b"hdrcharset"] = b"BINARY"
    uid, gid = record.uid, record.gid
    if uid > _MAX_ID:
        pax[b"uid"] = b"%d" % uid
        uid = 0
    if gid > _MAX_ID:
        pax[b"gid"] = b"%d" % gid
        gid = 0
    if size > _MAX_SIZE:
        pax[b"size"] = b"%d" % size
        size = 0
    seconds, fraction = divmod(record.mtime_ns, _NS)
    if fraction or not 0 <= seconds <= _MAX_SIZE:
        pax[b"mtime"] = _decimal_time(record.mtime_ns)
        seconds = min(max(seconds, 0), _MAX_SIZE)
    for key, value in record.xattrs.items():
        pax[b"SCHILY.xattr." + _raw(key)] = value
    block = _block(short, record.mode, uid, gid, size, seconds, _FLAGS[record.type], link, prefix, record)
    return extended(pax) + block if pax else block


def _block(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    flag: bytes,
    link: bytes,
    prefix: bytes,
    record: Record | None = None,
) -> bytes:
    major, minor = (record.devmajor, record.devminor) if record and record.type in (CHAR, BLOCK_DEVICE) else (0, 0)
    before = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, uid, gid, size, mtime)
    after = b"%b%bustar\x0000%b%07o\0%07o\0%b" % (
        flag,
        link.ljust(100, b"\0"),
        bytes(64),
        major,
        minor,
        prefix.ljust(167, b"\0"),
    )
    # The checksum field itself counts as eight spaces.
    return b"%b%06o\0 %b" % (before, sum(before) + 256 + sum(after), after)


def extended(records: dict[bytes, bytes]) -> bytes:
    """An extended header with these records, all its blocks."""
    data = b"".join(_record(key, records[key]) for key in sorted(records, key=_record_order))
    block = _block(_PAX_NAME, 0o644, 0, 0, len(data), 0, b"x", b"", b"")
    return block + data + bytes(-len(data) % BLOCK)


def _record_order(key: bytes) -> tuple[bool, bytes]:
    """hdrcharset says how to read the records after it."""
    return key != b"hdrcharset", key


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _decimal_time(ns: int) -> bytes:
    seconds, fraction = divmod(abs(ns), _NS)
    text = b"%d.%09d" % (seconds, fraction) if fraction else b"%d" % seconds
    return (b"-" if ns < 0 else b"") + text.rstrip(b"0") if fraction else (b"-" if ns < 0 else b"") + text


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """`name` as ustar's prefix and name; (b"", None) when it does not fit."""
    if not name.isascii():
        return b"", None
    if len(name) <= 100:
        return b"", name
    # The first slash that leaves at most 100 bytes; a directory's own last one is no place to cut.
    slash = name.find(b"/", len(name) - 101, len(name) - 1)
    if slash < 1 or slash > 155:
        return b"", None
    return name[:slash], name[slash + 1 :]


def _ascii(name: bytes) -> bytes:
    """What readers that know no extended headers are shown."""
    return bytes(byte if byte < 128 else 63 for byte in name[:100])


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
