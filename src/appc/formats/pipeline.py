"""Reading ahead in a thread, and hashing in another, so that neither waits for parsing and writing.

Stages follow each other: one `ReadAhead` receives, another around what decompresses that.
"""

from __future__ import annotations

import queue
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from appc.formats.compress import Source

    class Digest(Protocol):
        """A hash from hashlib."""

        def update(self, data: bytes, /) -> None: ...


# Small enough to stay in a processor's cache until the next stage takes it.
_CHUNK = 256 << 10
# Enough for the stages before to go on while the last one makes many small files.
_AHEAD = 128


class ReadAhead:
    """Reads `source` to its end in a thread of its own, and hands the chunks on; with a `digest` every byte of them is
    hashed in another thread.

    At most `chunks` of 256 KiB wait to be handed on or hashed. An exception of the source is raised by `read` in its
    turn; when that returns b"", the digest is complete. `close` ends the threads; all of the source has been read only
    if `read` has returned b"".
    """

    def __init__(self, source: Source, digest: Digest | None = None, chunks: int = _AHEAD) -> None:
        self._source = source
        self._chunks = _Bounded(chunks)
        self._failure: BaseException | None = None
        self._hasher = _Hasher(digest, chunks) if digest is not None else None
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
        data = self._chunks.get()
        if not data:
            self._ended = True
            if self._failure is not None:
                raise self._failure
            if self._hasher is not None:
                self._hasher.join()
        return data

    def close(self) -> None:
        """Stop reading and wait for the threads."""
        self._stopped = True
        # It may be waiting for room to hand on a chunk.
        self._chunks.widen()
        self._thread.join()
        if self._hasher is not None:
            self._hasher.join()

    def _run(self) -> None:
        hasher = self._hasher
        try:
            while not self._stopped:
                data = self._source.read(_CHUNK)
                # The end is for the hasher to know first: who reads it waits for the digest.
                if hasher is not None:
                    hasher.put(data)
                self._chunks.put(data)
                if not data:
                    return
        except BaseException as error:
            self._failure = error
            self._chunks.put(b"")
        finally:
            if hasher is not None:
                hasher.put(b"")


class _Bounded:
    """A queue from one thread to another, in which at most `most` chunks wait.

    `queue.Queue` is that too, but written in Python, which only one thread at a time can run.
    """

    def __init__(self, most: int) -> None:
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(most):
            self._room.put(None)

    def put(self, data: bytes) -> None:
        """Hand on a chunk as soon as there is room."""
        self._room.get()
        self._chunks.put(data)

    def get(self) -> bytes:
        """Take the next chunk, as soon as there is one."""
        data = self._chunks.get()
        self._room.put(None)
        return data

    def widen(self) -> None:
        """Make room for one chunk more."""
        self._room.put(None)


class _Hasher:
    """Hashes what it is given in a thread, until that is b""."""

    def __init__(self, digest: Digest, chunks: int) -> None:
        self._digest = digest
        self._chunks = _Bounded(chunks)
        self._thread = threading.Thread(target=self._run, name="appc-hash", daemon=True)
        self._thread.start()
        self.put = self._chunks.put
        self.join = self._thread.join

    def _run(self) -> None:
        while data := self._chunks.get():
            self._digest.update(data)
