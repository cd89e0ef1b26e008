"""Hashing what is written, in a thread of its own, so that neither reading nor writing waits for it."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.formats.compress import Sink

_BATCH = 1 << 20
_FEW = 8
# Batches that may wait: enough for the writer to go on while the processors are busy with something else.
_AHEAD = 16


class Hashed:
    """Passes what is written on to `out`, counts it in `size` and hashes it. `hexdigest` ends the hashing.

    `progress` is called with the number of bytes that went by, every MiB or so.
    """

    def __init__(self, out: Sink, algorithm: str, progress: Callable[[int], None] | None = None) -> None:
        self._progress = progress
        self._out = out
        self._hash = hashlib.new(algorithm)
        self._pool = ThreadPoolExecutor(1, "appc-hash")
        self._jobs: deque[Future[None]] = deque()
        self._pieces: list[bytes] = []
        self._waiting = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        """Pass `data` on."""
        self._pieces.append(data)
        self._waiting += len(data)
        self.size += len(data)
        if self._waiting >= _BATCH:
            self._flush()
        self._out.write(data)

    def hexdigest(self) -> str:
        """The digest of everything; nothing can be written any more."""
        self._flush()
        self.abort()
        return self._hash.hexdigest()

    def abort(self) -> None:
        """End the hashing; nothing can be written any more."""
        self._pool.shutdown()

    def _flush(self) -> None:
        # Joined, many small pieces let go of the interpreter once; a few large ones are not worth a copy.
        batch = self._pieces if len(self._pieces) <= _FEW else [b"".join(self._pieces)]
        self._pieces = []
        if self._progress is not None:
            self._progress(self._waiting)
        self._waiting = 0
        while len(self._jobs) >= _AHEAD:
            self._jobs.popleft().result()
        self._jobs.append(self._pool.submit(self._update, batch))

    def _update(self, batch: list[bytes]) -> None:
        for data in batch:
            self._hash.update(data)
