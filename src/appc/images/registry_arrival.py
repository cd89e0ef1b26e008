"""One blob on its way from a registry into the store, read while it arrives.

It goes into a file that outlives this process, from where an earlier one left it, and its end is handed on only when
its digest was checked. What was there before is not handed on at all until then.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time

from appc.errors import AppcError, ArchiveError, NetworkError
from appc.formats.oci_image import shown
from appc.store.downloads import download
from appc.store.intake import Space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.net.registry import Registry
    from appc.schema.oci_image import Descriptor
    from appc.store.downloads import Download

_ATTEMPTS = 4  # of going on, without a byte in between
_PAUSE = 0.5
_CHUNK = 1 << 20


class Arrival:
    """A blob that is arriving: `fetch` is what a thread does, `read` waits for it."""

    def __init__(self, registry: Registry, root: str, one: Descriptor, progress: Callable[[int], None] | None) -> None:
        self._registry = registry
        self._root = root
        self._digest = one.digest
        self._progress = progress
        self._there = 0
        self._resumed = True
        self._state = threading.Condition()
        self._complete = False
        self._failure: AppcError | None = None
        self._fd = -1
        self.size = one.size
        self.stopped = False
        # Whoever has the same digest of another size must not cut the file short.
        self._key = f"blob {one.digest} of {one.size} bytes"

    def fetch(self) -> None:
        """Bring the whole blob, from where an earlier attempt was left; what goes wrong is for the readers."""
        try:
            self._fetch()
        except AppcError as error:
            self._end(error)
        except OSError as error:
            self._end(AppcError(f"cannot be stored: {error.strerror}", f"blob {shown(self._digest)}"))
        except BaseException as error:
            self._end(AppcError(f"cannot be fetched: {error!r}", f"blob {shown(self._digest)}"))
            raise

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset` on, as soon as there are any; b"" at the end, which is a verified one."""
        with self._state:
            self._state.wait_for(lambda: self._visible() > offset or self._complete or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            count = min(size, self._visible() - offset)
        return os.pread(self._fd, count, offset) if count > 0 else b""

    def discard(self) -> None:
        """Remove the file: it was made use of."""
        with download(self._root, self._key) as kept:
            kept.forget()

    def close(self) -> None:
        """Let go of the file, once nobody fetches any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        with download(self._root, self._key) as kept, kept.open() as stream:
            self._fd = os.dup(stream.fileno())
            found = self._what_is_there()
            self._resumed = self._there > 0
            Space(os.path.dirname(kept.path), self._registry.where).take(self.size - self._there)
            self._fetch_rest(kept, found)
        self._end(None)

    def _fetch_rest(self, kept: Download, found: hashlib._Hash) -> None:
        attempts = 0
        while self._there < self.size and not self.stopped:
            before = self._there
            try:
                found = self._go_on(found)
            except NetworkError:
                attempts = 1 if self._there > before else attempts + 1
                if attempts >= _ATTEMPTS or self.stopped:
                    raise
                time.sleep(_PAUSE * attempts)
        if self.stopped:
            raise AppcError("was given up", f"blob {shown(self._digest)}")
        if found.hexdigest() == self._digest.hex:
            return
        os.ftruncate(self._fd, 0)
        if not self._resumed:
            kept.forget()
            what = f"blob {shown(self._digest)} has the digest {self._digest.algorithm}:{found.hexdigest()}"
            raise ArchiveError(what, self._registry.where)
        self._resumed = False
        self._back_to(0)
        self._fetch_rest(kept, self._new_hash())

    def _visible(self) -> int:
        """How much readers may have: of what was there before nothing, until it has turned out to be right."""
        return 0 if self._resumed and not self._complete else self._there

    def _what_is_there(self) -> hashlib._Hash:
        found = self._new_hash()
        if os.fstat(self._fd).st_size > self.size:
            os.ftruncate(self._fd, 0)
        while data := os.pread(self._fd, _CHUNK, self._there):
            found.update(data)
            self._arrived(len(data))
        return found

    def _go_on(self, found: hashlib._Hash) -> hashlib._Hash:
        answer, start = self._registry.blob(self._digest, self._there, self.size)
        with answer:
            if start != self._there:
                self._back_to(0)
                found = self._new_hash()
            stream = answer.stream()
            while not self.stopped and (data := stream.read()):
                if self._there + len(data) > self.size:
                    raise ArchiveError(
                        f"blob {shown(self._digest)} is longer than {self.size} bytes", self._registry.where
                    )
                if os.pwrite(self._fd, data, self._there) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                found.update(data)
                self._arrived(len(data))
        if self._there < self.size and not self.stopped:
            raise NetworkError(f"blob {shown(self._digest)} ended after {self._there} bytes", self._registry.where)
        return found

    def _new_hash(self) -> hashlib._Hash:
        return hashlib.new(self._digest.algorithm)

    def _back_to(self, offset: int) -> None:
        with self._state:
            self._there = offset

    def _arrived(self, count: int) -> None:
        with self._state:
            self._there += count
            self._state.notify_all()
        if self._progress is not None:
            self._progress(count)

    def _end(self, failure: AppcError | None) -> None:
        with self._state:
            self._failure = failure
            self._complete = failure is None
            self._state.notify_all()


class ArrivingBlob:
    """One reader of a blob that is arriving."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival
        self._at = 0
        self.size = arrival.size

    def __enter__(self) -> ArrivingBlob:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int, /) -> bytes:
        """Up to `size` of the next bytes, b"" at the end."""
        data = self._arrival.read(size, self._at)
        self._at += len(data)
        return data
