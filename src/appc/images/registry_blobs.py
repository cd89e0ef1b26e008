"""The blobs of an image in a registry, as conversion reads them: while they arrive.

Layers are fetched by a few threads into files of the store that outlive this process, each checked against its
digest before its end is handed on; who reads one waits for what is not there yet. Small things are kept in memory.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time

from appc.errors import AppcError, ArchiveError, NetworkError
from appc.formats.oci_image import MAX_DOCUMENT, blob_path, shown
from appc.schema.oci_image import INDEX_TYPES, MANIFEST_TYPES, Index
from appc.schema.oci_image import Manifest as Document
from appc.store.downloads import download
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appc.formats.oci_image import Blob
    from appc.net.registry import Manifest, Registry
    from appc.schema.oci_image import Descriptor
    from appc.store.downloads import Download

THREADS = 4
_ATTEMPTS = 4  # of going on with one blob, without a byte in between
_PAUSE = 0.5
_FAREWELL = 2.0  # seconds
_CHUNK = 1 << 20


class MemoryBlob:
    """A small blob."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def __enter__(self) -> MemoryBlob:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int, /) -> bytes:
        """Up to `size` of the next bytes, b"" at the end."""
        data, self._data = bytes(self._data[:size]), self._data[size:]
        return data


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
                os.pwrite(self._fd, data, self._there)
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


class StreamedBlob:
    """A blob that is read once as it comes; who reads it checks its digest."""

    def __init__(self, registry: Registry, digest: Digest, size: int = -1) -> None:
        self._answer, _ = registry.blob(digest, 0, size)
        self._stream = self._answer.stream()
        if self._answer.length is None:
            self._answer.close()
            raise NetworkError(f"blob {shown(digest)} comes without its length", registry.where)
        self.size = self._answer.length

    def __enter__(self) -> StreamedBlob:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def read(self, size: int, /) -> bytes:
        """Up to `size` of the next bytes, b"" at the end."""
        return self._stream.read(size)


class RegistryBlobs:
    """What a registry has of one repository, under the paths of a layout. `where` names it in messages."""

    def __init__(self, registry: Registry, root: str) -> None:
        self.where = registry.where
        self.registry = registry
        self._root = root
        self._documents: dict[str, bytes] = {}
        self._blobs: dict[str, Descriptor] = {}
        self._arrivals: dict[str, Arrival] = {}
        self._waiting: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, manifest: Manifest) -> Descriptor:
        """Take in a manifest or index that was read already; return its descriptor."""
        media_type = _kind(manifest.media_type, manifest.data, self.where)
        self._keep(manifest.digest, manifest.data)
        descriptor = {"mediaType": media_type, "digest": manifest.digest, "size": len(manifest.data)}
        index = Index.parse({"schemaVersion": 2, "manifests": [descriptor]})
        return index.manifests[0]

    def data(self, digest: Digest) -> bytes:
        """A manifest or index that was read before."""
        return self._documents[blob_path(digest)]

    def has(self, path: str) -> bool:
        """Whether the registry has a blob that no manifest names."""
        if path in self._documents or path in self._blobs:
            return True
        digest = _digest(path)
        if digest is None:
            return False
        with self.registry.request("HEAD", self.registry.path("blobs", digest)) as answer:
            return answer.status == 200

    def open(self, path: str) -> Blob:
        """Open a manifest, configuration or layer by its digest."""
        if path in self._arrivals:
            return ArrivingBlob(self._arrivals[path])
        if path not in self._documents:
            digest = _digest(path)
            if digest is None:
                raise ArchiveError("is missing", f"{self.where}: {path}")
            if path in self._blobs and self._blobs[path].size > MAX_DOCUMENT:
                return StreamedBlob(self.registry, digest, self._blobs[path].size)
            if path in self._blobs:
                self._documents[path] = self.registry.small(digest, self._blobs[path].size, MAX_DOCUMENT)
            elif self._blobs and self.has(path):
                return StreamedBlob(self.registry, digest)
            else:
                self._keep(digest, self.registry.manifest(digest).data)
        return MemoryBlob(self._documents[path])

    def fetch(self, layers: Iterable[Descriptor], progress: Callable[[int], None] | None = None) -> None:
        """Begin to fetch these, in their order and a few at a time; `progress` is told of bytes by other threads."""
        for one in layers:
            path = blob_path(one.digest)
            if path not in self._arrivals:
                self._arrivals[path] = Arrival(self.registry, self._root, one, progress)
                self._waiting.put(self._arrivals[path])
        for _ in range(min(THREADS, len(self._arrivals))):
            self._waiting.put(None)
            thread = threading.Thread(target=self._work, name="appc-fetch", daemon=True)
            thread.start()
            self._threads.append(thread)

    def discard(self) -> None:
        """Remove what was fetched: the image is in the store."""
        for arrival in self._arrivals.values():
            arrival.discard()

    def close(self) -> None:
        """Stop fetching. What has arrived stays, for the next time."""
        for arrival in self._arrivals.values():
            arrival.stopped = True
        for thread in self._threads:
            thread.join(_FAREWELL)
        # A thread that a server keeps waiting ends with the process; until then its files are in use.
        if not any(thread.is_alive() for thread in self._threads):
            for arrival in self._arrivals.values():
                arrival.close()

    def _work(self) -> None:
        while (arrival := self._waiting.get()) is not None:
            arrival.fetch()

    def _keep(self, digest: Digest, data: bytes) -> None:
        """Keep a manifest, and which blobs it names: those are not to be asked for as manifests."""
        self._documents[blob_path(digest)] = data
        try:
            document = Document.parse(data)
        except AppcError:
            return
        for one in (document.config, *document.layers):
            self._blobs[blob_path(one.digest)] = one


def _digest(path: str) -> Digest | None:
    parts = path.split("/")
    return Digest.parse(":".join(parts[1:])) if len(parts) == 3 and parts[0] == "blobs" else None


def _kind(media_type: str, data: bytes, where: str) -> str:
    """The media type of a document, by its own word if it has one: what the server says must not differ from that."""
    from appc.schema.json import loads

    try:
        own = loads(data).get("mediaType", "")
    except (AppcError, AttributeError):
        own = ""
    known = (*MANIFEST_TYPES, *INDEX_TYPES)
    if "manifest.v1+" in media_type and "docker" in media_type:
        hint = "push it again with a tool of this decade"
        raise ArchiveError("is an image of docker's first format (schema 1), which is not supported", where, hint)
    if own and media_type in known and own != media_type:
        raise ArchiveError(f"the registry calls {media_type} what calls itself {str(own)[:100]!r}", where)
    return media_type if media_type in known else str(own)
