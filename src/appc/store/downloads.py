"""Files on their way from elsewhere. What came of one is kept when its process dies, so that the next goes on there.

A file belongs to whoever holds a flock on it. It is not an image, and nothing of it is believed before it is complete
and its digest was checked.
"""

from __future__ import annotations

import fcntl
import os
import time

from appc.errors import StoreError
from appc.store.intake import Space
from appc.store.layout import make_directory, store_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds after which what nobody went on with is thrown away.
KEEP = 24 * 3600.0

_CHUNK = 1 << 20


class Download:
    """One file that is arriving, called `key` (a digest, say); whoever else wants it waits until this is closed.

    Raises StoreError where it cannot be written.
    """

    def __init__(self, root: str, key: str) -> None:
        directory = make_directory(store_path(root, "downloads"))
        self._path = f"{directory}/{key.replace(':', '-')}"
        self._where = key
        try:
            self._fd = _locked(self._path)
            self.size = os.fstat(self._fd).st_size
        except OSError as error:
            raise self._failed(error) from error
        self._space = Space(directory, key)

    def append(self, data: bytes) -> None:
        """Write what arrived next."""
        self._space.take(len(data))
        try:
            view = memoryview(data)
            while view:
                count = os.pwrite(self._fd, view, self.size)
                self.size += count
                view = view[count:]
        except OSError as error:
            raise self._failed(error) from error

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes of what is there, from `offset` on."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise self._failed(error) from error

    def chunks(self) -> Iterator[bytes]:
        """All that is there, from the beginning."""
        offset = 0
        while data := self.read(_CHUNK, offset):
            yield data
            offset += len(data)

    def truncate(self) -> None:
        """Begin again: what is there turned out to be of no use."""
        os.ftruncate(self._fd, 0)
        self.size = 0

    def reopened(self) -> int:
        """A new descriptor of the file, for reading from its beginning; the caller's to close."""
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def discard(self) -> None:
        """Remove the file: it has been made use of, or never will be."""
        if self._fd >= 0:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
            self.close()

    def close(self) -> None:
        """Let others go on; what is there stays. More than once does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(f"cannot be stored: {error.strerror}", self._where)


def _locked(path: str) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            # Whoever had it may have removed it before we got the lock.
            if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd)):
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def abandoned(root: str, before: float | None = None) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes on disk) of files that nobody works on and that have not grown since `before`, a day ago."""
    directory = store_path(root, "downloads")
    oldest = time.time() - KEEP if before is None else before
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        path = f"{directory}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(fd)
            if status.st_mtime < oldest:
                # Removed by the caller while the lock is held.
                yield path, status.st_blocks * 512
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
