"""Reading ahead in a thread, and hashing in another, so that neither waits for parsing and writing."""

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
    """Reads `source` to its end in a thread of its own, has every byte hashed in another, and hands the chunks on.

    At most 8 MiB wait to be handed on, and as much to be hashed. An exception of the source is raised by `read` in its
    turn; when that returns b"", the digest is complete. `close` ends the threads; all of the source has been read only
    if `read` has returned b"".
    """

    def __init__(self, source: Source, digest: Digest) -> None:
        self._source = source
        self._digest = digest
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._unhashed: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._stopped = False
        self._ended = False
        self._hasher = threading.Thread(target=self._hash, name="appc-hash", daemon=True)
        self._thread = threading.Thread(target=self._run, name="appc-read", daemon=True)
        self._hasher.start()
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
        if not item:
            self._ended = True
            self._hasher.join()
        return item

    def close(self) -> None:
        """Stop reading and wait for the threads."""
        self._stopped = True
        while not self._ended and self._thread.is_alive():
            # It may be waiting for room to hand on a chunk.
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)
        self._thread.join()
        self._hasher.join()

    def _run(self) -> None:
        try:
            while not self._stopped:
                data = self._source.read(_CHUNK)
                # The end is for the hasher to know first: who reads it waits for the digest.
                self._unhashed.put(data)
                self._queue.put(data)
                if not data:
                    return
        except BaseException as error:
            self._queue.put(error)
        finally:
            self._unhashed.put(b"")

    def _hash(self) -> None:
        while data := self._unhashed.get():
            self._digest.update(data)
