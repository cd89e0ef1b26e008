"""Exact export: everything of a tar stream except its files' contents, so that the same bytes can be made again.

A `TarLog` listens while `formats.tar.Reader` reads. What it writes is small (headers and padding, deflated)
and refers to file contents by their path in the archive; `replay` puts both together and checks the
SHA-512 of the result.

Format, version 1: the magic, then one zlib stream of records
    R  u32 length, bytes                               bytes as they stood in the archive
    F  u32 path length, path, u64 offset, u64 length   that part of that file's content
    E  u64 stream length, 64 bytes SHA-512             the end, always last
all numbers little-endian. Paths are those of the archive ("manifest", "rootfs/etc/passwd"), UTF-8 with
surrogate escapes.
"""

from __future__ import annotations

import struct
import zlib

from appc.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import BinaryIO

    from appc.formats.tar import Entry

MAGIC = b"appc tar log 1\n"
_RAW, _FILE, _END = b"R", b"F", b"E"
_LENGTH = struct.Struct("<I")
_PLACE = struct.Struct("<QQ")
_FLUSH_SIZE = 1 << 18
# What one record may hold: all headers of one entry come together (formats.limits), and pieces of 1 MiB of the rest.
_MOST_RAW = 16 << 20
_MOST_PATH = 16 << 10
_CHUNK = 1 << 20


class TarLog:
    """Writes the log of one stream to `out`, deflated at `level` in a thread; `close` completes it."""

    def __init__(self, out: BinaryIO, level: int = 1) -> None:
        self._out = out
        self._deflate = zlib.compressobj(level)
        self._pool: ThreadPoolExecutor | None = None
        self._job: Future[bytes] | None = None
        self._raw = bytearray()
        self._records = bytearray()
        out.write(MAGIC)

    def raw(self, data: bytes) -> None:
        """Bytes that are no file content came by."""
        self._raw += data
        if len(self._raw) >= _FLUSH_SIZE:
            self._flush()
            self._hand_on()

    def content(self, entry: Entry) -> None:
        """The content of `entry`, whose `path` is set, came by."""
        for offset, length in entry.sparse if entry.sparse is not None else ((0, entry.size),):
            if length:
                self._flush()
                path = entry.path.encode("utf-8", "surrogateescape")
                self._records += _FILE + _LENGTH.pack(len(path)) + path + _PLACE.pack(offset, length)
                if len(self._records) >= _FLUSH_SIZE:
                    self._hand_on()

    def close(self, size: int, sha512: bytes) -> None:
        """The stream ended after `size` bytes with that SHA-512 (64 bytes)."""
        self._flush()
        self._wait()
        if self._pool is not None:
            self._pool.shutdown()
        self._records += _END + struct.pack("<Q", size) + sha512
        self._out.write(self._deflate.compress(self._records) + self._deflate.flush())

    def _flush(self) -> None:
        if self._raw:
            self._records += _RAW + _LENGTH.pack(len(self._raw)) + self._raw
            self._raw.clear()

    def _hand_on(self) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, "appc-log")
        self._wait()
        self._job = self._pool.submit(self._deflate.compress, bytes(self._records))
        self._records.clear()

    def _wait(self) -> None:
        if self._job is not None:
            self._out.write(self._job.result())
            self._job = None


def replay(log: BinaryIO, open_file: Callable[[str], BinaryIO]) -> Iterator[bytes]:
    """The tar stream that `log` was made from, in chunks.

    `open_file(path)` gives a seekable file with the content of that path in the archive. Raises ArchiveError
    when the log is damaged or when what came out is not what the log was made from (after the last chunk,
    so write to a temporary name).
    """
    import hashlib

    source = _Inflater(log)
    digest = hashlib.sha512()
    size = 0
    while True:
        kind = source.take(1)
        if kind == _END:
            break
        if kind == _RAW:
            chunk = source.take(_length(source, _MOST_RAW))
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        elif kind == _FILE:
            path = source.take(_length(source, _MOST_PATH)).decode("utf-8", "surrogateescape")
            offset, length = struct.unpack("<QQ", source.take(16))
            with open_file(path) as content:
                content.seek(offset)
                while length:
                    chunk = content.read(min(length, _CHUNK))
                    if not chunk:
                        raise ArchiveError("file is shorter than it was in the archive", path)
                    digest.update(chunk)
                    length -= len(chunk)
                    size += len(chunk)
                    yield chunk
        else:
            raise _damaged()
    (expected,) = struct.unpack("<Q", source.take(8))
    sha512 = source.take(64)
    source.finish()
    if size != expected or digest.digest() != sha512:
        raise ArchiveError("files are not those of the archive any more (contents changed)")


class _Inflater:
    """Exact reads from the deflated part of a log."""

    def __init__(self, log: BinaryIO) -> None:
        if log.read(len(MAGIC)) != MAGIC:
            raise ArchiveError("record of tar headers is of an unknown version")
        self._log = log
        self._inflate = zlib.decompressobj()
        self._buffer = bytearray()

    def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def finish(self) -> None:
        """Refuse a log that does not end here."""
        while not self._inflate.eof:
            self._more()
        if self._buffer:
            raise _damaged()

    def _more(self) -> None:
        data = self._inflate.unconsumed_tail or self._log.read(_FLUSH_SIZE)
        if not data:
            raise ArchiveError("record of tar headers is truncated")
        try:
            self._buffer += self._inflate.decompress(data, _CHUNK)
        except zlib.error:
            raise _damaged() from None


def _length(source: _Inflater, most: int) -> int:
    (length,) = struct.unpack("<I", source.take(4))
    if length > most:
        raise _damaged()
    return int(length)


def _damaged() -> ArchiveError:
    return ArchiveError("record of tar headers is damaged")
