"""Served images as OCI images: made of an image and those it depends on when first asked for, and kept in a cache."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from appc.build import convert_oci
from appc.build.convert import How
from appc.errors import AppcError
from appc.formats.convert_image_oci import record_in
from appc.formats.ocilayout import INDEX_FILE
from appc.formats.ocilayout_write import platform as platform_in
from appc.images.convert_aci import Aci
from appc.images.fetch import host_labels
from appc.schema.oci_image import ImageConfig, Index, Manifest
from appc.serve.files import Content, Unservable, identity
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.schema.image import Dependency
    from appc.serve.catalog import Catalog
    from appc.serve.files import Directory
    from appc.serve.image import ServedImage

_MOST_LAYERS = 127
_MAX_DOCUMENT = 4 << 20


class Converted:
    """An image in its OCI form. `blobs` are the paths of its blobs (configuration, layers, headers) by digest.

    `headers` are digest and size of those that rebuilding the ACI takes and the manifest does not name.
    """

    __slots__ = ("blobs", "digest", "headers", "manifest", "platform")

    def __init__(
        self,
        manifest: bytes,
        digest: str,
        platform: dict[str, str],
        blobs: dict[str, str],
        headers: list[tuple[str, int]],
    ) -> None:
        self.manifest = manifest
        self.digest = digest
        self.platform = platform
        self.blobs = blobs
        self.headers = headers


class Conversions:
    """OCI forms of the images in `directory`, kept below `cache`."""

    def __init__(self, directory: Directory, cache: str) -> None:
        self._directory = directory
        self._cache = f"{cache}/oci-{hashlib.sha256(os.path.realpath(directory.path).encode()).hexdigest()[:16]}"
        labels = host_labels()
        self._how = How((labels.get("os") or "", labels.get("arch") or ""))
        self._made: dict[str, Converted] = {}
        self._making: dict[str, asyncio.Future[Converted]] = {}
        # One at a time: each uses all processors.
        self._workers = ThreadPoolExecutor(1, "appc-convert")

    def close(self) -> None:
        """Begin no more conversions."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def get(self, catalog: Catalog, image: ServedImage) -> Converted:
        """The OCI form of `image`; however many ask for it at once, it is made once.

        Raises Unservable, and AppcError when it cannot be written.
        """
        stack = parts(catalog, image)
        key = _key(stack)
        if key in self._made:
            return self._made[key]
        if key not in self._making:
            loop = asyncio.get_running_loop()
            making = loop.run_in_executor(self._workers, self._make, key, stack)
            self._making[key] = making
            making.add_done_callback(lambda done: self._forget(key, done))
        # Whoever hangs up does not stop it for the others.
        converted = await asyncio.shield(self._making[key])
        self._made[key] = converted
        return converted

    def _forget(self, key: str, done: asyncio.Future[Converted]) -> None:
        del self._making[key]
        if not done.cancelled():
            # Perhaps nobody waits for it any more; a failure is not to be complained of then.
            done.exception()

    def known(self, catalog: Catalog, image: ServedImage) -> Converted | None:
        """The OCI form of `image` if it was made before."""
        try:
            key = _key(parts(catalog, image))
        except Unservable:
            return None
        if key not in self._made and (converted := self._load(key)) is not None:
            self._made[key] = converted
        return self._made.get(key)

    async def sweep(self, catalog: Catalog) -> None:
        """Remove the OCI forms of images that are served no more."""
        # By the thread that makes them: so none of those it finds is being made.
        await asyncio.get_running_loop().run_in_executor(self._workers, self._sweep, catalog)

    def _sweep(self, catalog: Catalog) -> None:
        wanted = set()
        for image in catalog.images:
            try:
                wanted.add(_key(parts(catalog, image)))
            except Unservable:
                pass
        try:
            names = os.listdir(self._cache)
        except FileNotFoundError:
            return
        for name in names:
            if name not in wanted:
                self._made.pop(name, None)
                shutil.rmtree(f"{self._cache}/{name}", ignore_errors=True)

    def _make(self, key: str, stack: list[ServedImage]) -> Converted:
        converted = self._load(key)
        if converted is not None:
            return converted
        os.makedirs(self._cache, 0o700, exist_ok=True)
        with ExitStack() as files:
            acis = [self._aci(image, files) for image in stack]
            convert_oci.write(acis, None, f"oci:{self._cache}/{key}", self._how, [])
        converted = self._load(key)
        if converted is None:
            raise Unservable("was removed from the cache while it was made")
        return converted

    def _aci(self, image: ServedImage, files: ExitStack) -> Aci:
        file = files.enter_context(os.fdopen(self._directory.open(image.path), "rb", buffering=0))
        if identity(os.fstat(file.fileno())) != image.identity:
            raise Unservable(f"{image.path} has just been changed")
        return Aci(image.path, image.manifest_bytes, lambda: Content(self._directory, file))

    def _load(self, key: str) -> Converted | None:
        """What lies in the cache; None when nothing does, or nothing whole."""
        layout = f"{self._cache}/{key}"
        try:
            (entry,) = Index.parse(_read(f"{layout}/{INDEX_FILE}")).manifests
            data = _read(_blob(layout, entry.digest))
            manifest = Manifest.parse(data)
            config = _read(_blob(layout, manifest.config.digest))
        except (OSError, AppcError, ValueError):
            return None
        blobs = {str(one.digest): _blob(layout, one.digest) for one in (manifest.config, *manifest.layers)}
        headers = []
        record = record_in(ImageConfig.parse(config))
        for origin in record.origins if record is not None else ():
            path = _blob(layout, Digest(origin.log)) if origin.log else ""
            if path and os.path.exists(path):
                blobs[origin.log] = path
                headers.append((origin.log, os.path.getsize(path)))
        return Converted(data, str(entry.digest), platform_in(config), blobs, headers)


def parts(catalog: Catalog, image: ServedImage) -> list[ServedImage]:
    """`image` and all that it depends on, as far as that is served too, the lowest first (ace.md).

    Raises Unservable when something is missing, or the images cannot be laid one over the other.
    """
    found: list[ServedImage] = []

    def visit(one: ServedImage, chain: tuple[str, ...]) -> None:
        if one.image_id in chain:
            raise Unservable("depends on itself")
        if one in found:
            return
        if one.manifest.path_whitelist:
            raise Unservable(f"{one.name} has a path whitelist, which layers cannot express")
        found.append(one)
        if len(found) > _MOST_LAYERS:
            raise Unservable(f"would have more than {_MOST_LAYERS} layers")
        for dependency in reversed(one.manifest.dependencies):
            visit(_dependency(catalog, dependency), (*chain, one.image_id))

    visit(image, ())
    return found[::-1]


def _dependency(catalog: Catalog, wanted: Dependency) -> ServedImage:
    for image in catalog.by_name.get(wanted.image_name, ()):
        right = wanted.image_id is None or image.image_id == wanted.image_id
        fits = not wanted.size or wanted.size in (image.size, image.content_size)
        if right and fits and wanted.labels.matches(image.labels):
            return image
    labels = f",{wanted.labels}" if wanted.labels else ""
    raise Unservable(f"needs {wanted.image_name}{labels}, which is not served here")


def _key(stack: list[ServedImage]) -> str:
    return hashlib.sha256("\n".join(image.image_id for image in stack).encode()).hexdigest()


def _blob(layout: str, digest: Digest) -> str:
    return f"{layout}/blobs/{digest.algorithm}/{digest.hex}"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MAX_DOCUMENT + 1)
    if len(data) > _MAX_DOCUMENT:
        raise ValueError(path)
    return data
