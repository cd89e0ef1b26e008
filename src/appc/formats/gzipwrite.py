"""Compressing with gzip on all processors, into bytes that do not depend on how many there are.

The input is cut into blocks of one size, whoever writes it in what pieces, and every block becomes a gzip member of
its own, as in eStargz and BGZF files; to readers they are one stream (RFC 1952, 2.2). Neither name nor time
is recorded.

Levels 1 to 3 are made by ISA-L and levels 4 to 9 by libdeflate, which take a fraction of zlib's time at its size
because they have all of a block at once. Where they are not installed zlib does it. ISA-L alone does not promise the
same bytes for the same block.
"""

from __future__ import annotations

import os
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from appc.formats.compress import Sink

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_BLOCK = 1 << 20
_FAST = 3
_MAX_THREADS = 16
_AHEAD = 16


class GzipWriter:
    """Compresses what is written, as the writers of `formats.compress` do, at a `level` from 1 to 9."""

    def __init__(self, sink: Sink, level: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        count = threads()
        self._sink = sink
        self._pack = _packer(level)
        self._pool = ThreadPoolExecutor(count, "appc-gzip")
        # Enough wait for no thread to run dry while one block takes its time, and memory stays bounded.
        self._most = count + _AHEAD
        self._jobs: deque[Future[bytes]] = deque()
        self._pieces: list[bytes | memoryview] = []
        self._waiting = 0
        self._empty = True

    def write(self, data: bytes) -> None:
        """Compress `data`."""
        self._pieces.append(data)
        self._waiting += len(data)
        while self._waiting >= _BLOCK:
            # Every byte is copied once, into its block; only the last piece can reach beyond it.
            self._waiting -= _BLOCK
            last = memoryview(self._pieces.pop())
            cut = len(last) - self._waiting
            self._submit(b"".join((*self._pieces, last[:cut])))
            self._pieces = [last[cut:]]

    def close(self) -> None:
        """Complete the stream."""
        if self._waiting or self._empty:
            self._submit(b"".join(self._pieces))
        while self._jobs:
            self._take()
        self._pool.shutdown()

    def abort(self) -> None:
        """Give up what is not compressed yet."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, block: bytes) -> None:
        self._empty = False
        while len(self._jobs) >= self._most:
            self._take()
        self._jobs.append(self._pool.submit(self._pack, block))

    def _take(self) -> None:
        self._sink.write(self._jobs.popleft().result())


def threads() -> int:
    """How many threads to work with: one for each processor this process may use, up to 16."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _MAX_THREADS)


def _packer(level: int) -> Callable[[bytes], bytes]:
    """What makes a gzip member of a block, with the best library there is for that level."""
    try:
        if level <= _FAST:
            from isal import isal_zlib

            return lambda block: _member(block, isal_zlib.compress(block, level, -15), isal_zlib.crc32(block))
        import deflate

        return lambda block: _member(block, deflate.deflate_compress(block, level), deflate.crc32(block))
    except ImportError:
        import zlib

        return lambda block: _member(block, zlib.compress(block, level, -15), zlib.crc32(block))


def _member(block: bytes, deflated: bytes | bytearray, crc: int) -> bytes:
    return b"".join((_HEADER, deflated, crc.to_bytes(4, "little"), len(block).to_bytes(4, "little")))
