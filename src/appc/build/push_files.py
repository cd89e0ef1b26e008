"""ACIs that are pushed as they are: the file, its signature, its manifest."""

from __future__ import annotations

import hashlib
import os

from appc.errors import ArchiveError
from appc.formats.aci import read_manifest
from appc.formats.oci_image import blob_path
from appc.images.convert_source import FileBlob
from appc.images.fetch import classify, open_file
from appc.images.registry_blobs import MemoryBlob
from appc.images.use import find_stored
from appc.schema.image import ImageManifest
from appc.store.staging import Staging
from appc.trust.keystore import read_file
from appc.trust.packets import MAX_SIGNATURE
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack
    from typing import Any

    from appc.formats.oci_image import Blob
    from appc.store.images import ImageStore

_CHUNK = 1 << 20


class FileBlobs:
    """Files and bytes as the blobs of a layout that is nowhere. `where` names what they are of."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._bytes: dict[str, bytes] = {}
        self._files: dict[str, str] = {}

    def add_bytes(self, data: bytes) -> dict[str, Any]:
        """Take in a small blob; return its digest and size."""
        digest = Digest.of(data)
        self._bytes[blob_path(digest)] = data
        return {"digest": str(digest), "size": len(data)}

    def add_file(self, path: str) -> dict[str, Any]:
        """Take in a file; return its digest and size."""
        found = hashlib.sha256()
        size = 0
        with open_file(path) as stream:
            while data := stream.read(_CHUNK):
                found.update(data)
                size += len(data)
        digest = Digest(f"sha256:{found.hexdigest()}")
        self._files[blob_path(digest)] = path
        return {"digest": str(digest), "size": size}

    def has(self, path: str) -> bool:
        """Whether there is such a blob."""
        return path in self._bytes or path in self._files

    def open(self, path: str) -> Blob:
        """Open a blob."""
        if path in self._bytes:
            return MemoryBlob(self._bytes[path])
        if path not in self._files:
            raise ArchiveError("is missing", f"{self.where}: {path}")
        return FileBlob(open_file(self._files[path]), self.where)


def aci_file(store: ImageStore, source: str, stack: ExitStack) -> tuple[str, bytes, bytes]:
    """The path of an ACI's file, its signature (b"" without one) and its manifest.

    An image of the store is exported into a file that ends with `stack`.
    """
    if classify(source) == "path":
        path = source.removeprefix("file://")
        try:
            signature = read_file(f"{path}.asc", MAX_SIGNATURE)
        except FileNotFoundError:
            signature = b""
        with open_file(path) as stream:
            return path, signature, _checked(read_manifest(stream, where=path), path)
    image = find_stored(store, source)
    stack.enter_context(store.hold(image))
    directory = stack.enter_context(Staging(store.root)).path
    path = os.path.join(directory, "image.aci")
    with open(path, "xb") as out:
        signature = store.export(image, out)
    return path, signature, image.manifest_bytes


def _checked(manifest: bytes, where: str) -> bytes:
    ImageManifest.parse(manifest, where=where)
    return manifest
