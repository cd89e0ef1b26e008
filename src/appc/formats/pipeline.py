"""Reading ahead in a thread, so that decompression and hashing do not wait for parsing and writing."""

from __future__ import annotations

import queue
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Source(Protocol):
        """A stream of bytes; short reads are fine, an empty one is its end."""

        def read(self, size: int, /) -> bytes: ...

    class Digest(Protocol):
        """A hash from hashlib."""

        def update(self, data: bytes, /) -> None: ...


_CHUNK = 1 << 20
_AHEAD = 8


class ReadAhead:
    """Reads `source` to its end in a thread of its own, hashes every byte, and hands the chunks on.

    At most 8 MiB wait. An exception of the source is raised by `read` in its turn. `close` ends the
    thread; it has read all of the source only if `read` has returned b"".
    """

    def __init__(self, source: Source, digest: Digest) -> None:
        self._source = source
        self._digest = digest
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="appc-read", daemon=True)
        self._thread.start()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = _CHUNK, /) -> bytes:
        """The next chunk, of the size it was read in; b"" at the end."""
        if self._ended:
            return b""
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        self._ended = not item
        return item

    def close(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopped = True
        while not self._ended and self._thread.is_alive():
            # It may be waiting for room to hand on a chunk.
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped:
                data = self._source.read(_CHUNK)
                self._digest.update(data)
                self._queue.put(data)
                if not data:
                    return
        except BaseException as error:
            self._queue.put(error)
