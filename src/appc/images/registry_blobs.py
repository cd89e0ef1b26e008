"""The blobs of an image in a registry, as conversion reads them: while they arrive.

Layers are fetched by a few threads, and who reads one waits for what is not there yet (registry_arrival.py). Small
things are kept in memory.
"""

from __future__ import annotations

import queue
import threading

from appc.errors import AppcError, ArchiveError, NetworkError
from appc.formats.oci_image import MAX_DOCUMENT, blob_path, shown
from appc.images.registry_arrival import Arrival, ArrivingBlob
from appc.schema.oci_image import INDEX_TYPES, MANIFEST_TYPES, Index
from appc.schema.oci_image import Manifest as Document
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appc.formats.oci_image import Blob
    from appc.net.registry import Manifest, Registry
    from appc.schema.oci_image import Descriptor

THREADS = 4
_FAREWELL = 2.0  # seconds


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
