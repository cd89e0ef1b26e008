"""Reading tar archives as a stream: V7, ustar, pax and GNU, sparse files and extended attributes included.

The reader understands and bounds; whether a name may be used is for `safe_name`, and whether an entry may
be where it is for the caller (`formats.aci`) and for `formats.extract`, which trusts neither.
"""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats import tarheader, tarpax
from appc.formats.limits import DEFAULT, Limits
from appc.formats.tarheader import BLOCK, EXTENSIONS, ZERO_BLOCK, HeaderError, RawHeader, decode, extension
from appc.formats.tarnames import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, printable, safe_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from appc.formats.compress import Source

    class Log(Protocol):
        """Learns everything of a stream but the files' contents; see `formats.tarlog.TarLog`."""

        def raw(self, data: bytes, /) -> None: ...
        def content(self, entry: Entry, /) -> None: ...
        def close(self, size: int, sha512: bytes, /) -> None: ...


__all__ = (
    "BLOCK_DEVICE",
    "CHAR",
    "DIRECTORY",
    "FIFO",
    "FILE",
    "HARDLINK",
    "SYMLINK",
    "Entry",
    "Reader",
    "printable",
    "safe_name",
    "zeros",
)

_TYPES = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,
    b"S": FILE,
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHAR,
    b"4": BLOCK_DEVICE,
    b"5": DIRECTORY,
    b"6": FIFO,
}
_READ_SIZE = 1 << 20
_MAX_ID = (1 << 32) - 2
_MAX_TIME_NS = (1 << 63) - 1
_MAX_XATTR = 1 << 16


class Entry:
    """One member of an archive.

    `name` and `linkname` are as the archive has them; `path` and `link_path` are their safe forms once a
    reader of a particular format has set them. `size` is the file's length, 0 for all other types.
    `sparse` lists a sparse file's (offset, length) areas of data, else None. `pax` holds the extended
    records that none of the other attributes came from. The content can be read once, before the next entry.
    """

    __slots__ = (
        "_reader",
        "devmajor",
        "devminor",
        "gid",
        "gname",
        "link_path",
        "linkname",
        "mode",
        "mtime_ns",
        "name",
        "path",
        "pax",
        "size",
        "sparse",
        "type",
        "uid",
        "uname",
        "xattrs",
    )

    def __init__(self, reader: Reader, header: RawHeader, kind: str) -> None:
        self._reader = reader
        self.type = kind
        self.name = decode(header.name)
        self.linkname = decode(header.linkname) if kind in (SYMLINK, HARDLINK) else ""
        self.path = ""
        self.link_path = ""
        self.mode = header.mode & 0o7777
        self.uid = header.uid
        self.gid = header.gid
        self.uname = decode(header.uname)
        self.gname = decode(header.gname)
        self.size = header.size if kind == FILE else 0
        self.mtime_ns = header.mtime * 1_000_000_000
        self.devmajor = header.devmajor
        self.devminor = header.devminor
        self.sparse: list[tuple[int, int]] | None = None
        self.xattrs: dict[str, bytes] = {}
        self.pax: dict[str, bytes] = {}

    def extents(self) -> Iterator[tuple[int, bytes]]:
        """The stored content as (offset in the file, bytes), in order; the rest of a sparse file is zeros."""
        return self._reader.extents(self)

    def chunks(self) -> Iterator[bytes]:
        """The whole content in order, holes filled with zeros."""
        at = 0
        for offset, data in self._reader.extents(self):
            if offset > at:
                yield from zeros(offset - at)
            yield data
            at = offset + len(data)
        yield from zeros(self.size - at)

    def read(self, limit: int) -> bytes:
        """The whole content; ArchiveError when it is longer than `limit` bytes."""
        if self.size > limit:
            raise self._reader.error(f"is {self.size} bytes long, more than the {limit} allowed", self.name)
        return b"".join(self.chunks())


def zeros(count: int) -> Iterator[bytes]:
    """`count` zero bytes in pieces of bounded size."""
    while count > 0:
        piece = min(count, _READ_SIZE)
        yield bytes(piece)
        count -= piece


class Reader:
    """Iterates over the entries of a tar stream and consumes it to its very end.

    `where` names the archive in errors. A `log` receives every byte that is not file content. After the last
    entry `trailing` says how many bytes that are not zero followed the end marker.
    """

    def __init__(self, source: Source, limits: Limits = DEFAULT, where: str = "", log: Log | None = None) -> None:
        self._source = source
        self._limits = limits
        self._where = where
        self._log = log
        self._buffer = b""
        self._at = 0
        self._stream = 0
        self._content = 0
        self._entry: Entry | None = None
        self._left = 0
        self._padding = 0
        self._count = 0
        self._globals: list[tuple[str, bytes]] = []
        self.trailing = 0
        self.ended = False

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> Entry:
        if self._entry is not None:
            self._finish_entry(self._entry)
        if self.ended:
            raise StopIteration
        name = ""
        try:
            entry = self._next()
            if entry is None:
                self._drain()
                raise StopIteration
            name = entry.name
            self._check(entry)
        except HeaderError as error:
            place = f"byte {self._stream - len(self._buffer) + self._at - BLOCK}"
            raise self.error(str(error), name or place) from None
        return entry

    # -- content ----------------------------------------------------------------------------------

    def extents(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See `Entry.extents`."""
        if entry is not self._entry:
            return
        if entry.sparse is None:
            offset = 0
            while self._left:
                data = self._piece(self._left)
                self._left -= len(data)
                yield offset, data
                offset += len(data)
            return
        for offset, length in entry.sparse:
            while length:
                data = self._piece(length)
                self._left -= len(data)
                yield offset, data
                offset += len(data)
                length -= len(data)

    def _finish_entry(self, entry: Entry) -> None:
        while self._left:
            self._left -= len(self._piece(self._left))
        self._entry = None
        if self._log is not None:
            self._log.content(entry)
        if self._padding:
            self._meta(self._padding)

    # -- headers ----------------------------------------------------------------------------------

    def _next(self) -> Entry | None:
        """The next entry, its extended headers applied; None at the end marker."""
        records: list[tuple[str, bytes]] | None = None
        long_name: bytes | None = None
        long_link: bytes | None = None
        while True:
            if not self._more():
                raise self.error("ends without an end-of-archive marker (truncated?)")
            block = self._meta(BLOCK)
            if block == ZERO_BLOCK:
                if records is not None or long_name is not None or long_link is not None:
                    raise self.error("ends after an extended header that belongs to no entry")
                return None
            header = extension(block) if block[156] in EXTENSIONS else RawHeader(block)
            flag = header.typeflag
            if flag in (b"x", b"X"):
                if records is not None:
                    raise HeaderError("two extended headers for one entry")
                records = tarheader.pax_records(self._extension(header.size))
            elif flag == b"g":
                self._add_globals(tarheader.pax_records(self._extension(header.size)))
            elif flag == b"L":
                if long_name is not None:
                    raise HeaderError("two long names for one entry")
                long_name = tarheader.cut(self._extension(header.size))
            elif flag == b"K":
                if long_link is not None:
                    raise HeaderError("two long link names for one entry")
                long_link = tarheader.cut(self._extension(header.size))
            else:
                break
        if long_name is not None:
            header.name = long_name
        if long_link is not None:
            header.linkname = long_link
        return self._entry_from(header, records)

    def _entry_from(self, header: RawHeader, records: list[tuple[str, bytes]] | None) -> Entry:
        flag = header.typeflag
        kind = _TYPES.get(flag)
        if kind is None:
            shown = flag.decode("latin-1")
            raise self.error(f"has type {shown!r}, which is no file type", printable(decode(header.name)))
        if flag == b"\0" and header.name[-1:] == b"/":
            kind = DIRECTORY
        entry = Entry(self, header, kind)
        sparse = None
        if self._globals or records:
            sparse = tarpax.apply(entry, self._globals + (records or []))
        # Only files have content: readers agree to ignore the size of every other type.
        stored = entry.size
        if stored < 0:
            raise HeaderError("entry has a negative size")
        if flag == b"S":
            entry.sparse, entry.size = self._read_gnu_sparse(header)
            tarheader.check_sparse(entry.sparse, stored, entry.size)
        elif sparse is not None:
            stored = self._pax_sparse(entry, sparse)
        self._left = stored
        self._padding = -stored % BLOCK
        self._entry = entry
        return entry

    def _add_globals(self, records: list[tuple[str, bytes]]) -> None:
        tarpax.check_global(records)
        self._globals += records
        if sum(len(key) + len(value) for key, value in self._globals) > self._limits.pax:
            raise HeaderError(f"global extended headers are longer than {self._limits.pax} bytes")

    def _read_gnu_sparse(self, header: RawHeader) -> tuple[list[tuple[int, int]], int]:
        extents, more, size = tarheader.gnu_sparse(header.block)
        while more:
            further, more = tarheader.gnu_sparse_extension(self._meta(BLOCK))
            extents += further
            if len(extents) > self._limits.extents:
                raise HeaderError(f"sparse map has more than {self._limits.extents} extents")
        return extents, size

    def _pax_sparse(self, entry: Entry, sparse: tarpax.Sparse) -> int:
        """Apply a sparse map of pax format 0.0, 0.1 or 1.0; returns how many bytes of content are stored."""
        stored = entry.size
        extents = sparse.extents
        if extents is None:
            extents, used = self._read_sparse_map(stored)
            stored -= used
        if len(extents) > self._limits.extents:
            raise HeaderError(f"sparse map has more than {self._limits.extents} extents")
        tarheader.check_sparse(extents, stored, sparse.size)
        entry.name = sparse.name or entry.name
        entry.sparse = extents
        entry.size = sparse.size
        return stored

    def _read_sparse_map(self, stored: int) -> tuple[list[tuple[int, int]], int]:
        """The map that pax format 1.0 keeps before the content: extents, and the bytes it took."""
        text = b""
        used = 0
        wanted = 1
        while text.count(b"\n") < wanted:
            if used + BLOCK > stored or used > self._limits.pax:
                raise HeaderError("sparse map is not complete")
            text += self._meta(BLOCK)
            used += BLOCK
            if wanted == 1 and b"\n" in text:
                wanted = 1 + 2 * tarheader.decimal(text[: text.index(b"\n")], "sparse map")
        values = [tarheader.decimal(line, "sparse map") for line in text.split(b"\n")[1:wanted]]
        return list(zip(values[::2], values[1::2], strict=True)), used

    def _check(self, entry: Entry) -> None:
        """Refuse what no file could be, and what is over a limit."""
        limits = self._limits
        self._count += 1
        if self._count > limits.entries:
            raise self.error(f"has more than {limits.entries} entries")
        self._content += entry.size
        if self._content > limits.size:
            raise self.error(f"holds files of more than {limits.size} bytes together")
        if not entry.name:
            raise HeaderError("entry has no name")
        if len(entry.name) > limits.name or len(entry.linkname) > limits.name:
            raise HeaderError(f"name is longer than {limits.name} bytes")
        if "\0" in entry.name or "\0" in entry.linkname:
            raise HeaderError("name contains a NUL byte")
        if entry.type == FILE and entry.name.endswith("/"):
            raise HeaderError('regular file has a name that ends with "/"')
        if entry.type in (SYMLINK, HARDLINK) and not entry.linkname:
            raise HeaderError("link has no target")
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise HeaderError(f"owner {entry.uid}:{entry.gid} is out of range")
        if not -_MAX_TIME_NS <= entry.mtime_ns <= _MAX_TIME_NS:
            raise HeaderError("modification time is out of range")
        if not (0 <= entry.devmajor < 1 << 32 and 0 <= entry.devminor < 1 << 32):
            raise HeaderError(f"device number {entry.devmajor}:{entry.devminor} is out of range")
        for name, value in entry.xattrs.items():
            if not name or "\0" in name or len(name) > 255:
                raise HeaderError(f"extended attribute has an impossible name {printable(name)!r}")
            if len(value) > _MAX_XATTR:
                raise HeaderError(f"extended attribute {printable(name)} is longer than {_MAX_XATTR} bytes")

    # -- the stream -------------------------------------------------------------------------------

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= self._limits.pax:
            raise HeaderError(f"extended header of {size} bytes, more than the {self._limits.pax} allowed")
        return self._meta(size + -size % BLOCK)[:size]

    def _meta(self, size: int) -> bytes:
        """Exactly `size` bytes that are no file content."""
        end = self._at + size
        if end <= len(self._buffer):
            data = self._buffer[self._at : end]
            self._at = end
        else:
            pieces = []
            left = size
            while left:
                piece = self._piece(left)
                pieces.append(piece)
                left -= len(piece)
            data = b"".join(pieces)
        if self._log is not None:
            self._log.raw(data)
        return data

    def _piece(self, most: int) -> bytes:
        """At least one and at most `most` of the next bytes; ArchiveError at the stream's end."""
        if not self._more():
            raise self.error("ends in the middle of an entry (truncated?)", self._entry.name if self._entry else "")
        at = self._at
        buffer = self._buffer
        if at == 0 and len(buffer) <= most:
            self._at = len(buffer)
            return buffer
        data = buffer[at : at + most]
        self._at = at + len(data)
        return data

    def _more(self) -> bool:
        """Whether a byte is left, after reading on if need be."""
        if self._at < len(self._buffer):
            return True
        self._buffer = self._source.read(_READ_SIZE)
        self._at = 0
        self._stream += len(self._buffer)
        if self._stream > self._limits.size:
            raise self.error(f"is longer than {self._limits.size} bytes uncompressed")
        return bool(self._buffer)

    def _drain(self) -> None:
        """Read what follows the end marker: it is part of the image ID and of an exact export."""
        self.ended = True
        while self._more():
            data = self._piece(_READ_SIZE)
            if self._log is not None:
                self._log.raw(data)
            self.trailing += len(data) - data.count(0)
            if self.trailing > self._limits.trailing:
                raise self.error(f"has more than {self._limits.trailing} bytes of other data behind its end")

    def error(self, what: str, name: str = "") -> ArchiveError:
        """An error that says which archive and which entry it is about."""
        name = printable(name)
        return ArchiveError(what, f"{self._where}: {name}" if self._where and name else self._where or name)
