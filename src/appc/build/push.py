"""`image push`: images into a registry, as OCI images or as the ACIs they are, several platforms under one tag."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from appc.build.convert import How, convert_image
from appc.errors import InvalidValue, UsageError
from appc.formats import ociartifact
from appc.formats.convert_image_oci import ANNOTATION_PREFIX, record_in
from appc.formats.oci_image import blob_path, document, read_blob
from appc.formats.ocilayout_write import platform as platform_in
from appc.images.convert_source import DOCKER_ARCHIVE, OCI, OCI_ARCHIVE, Source
from appc.images.referrers import sign_manifest, signatures
from appc.images.registry import RegistrySource
from appc.net.registry_push import Pusher
from appc.schema.image import ImageManifest
from appc.schema.json import dumps
from appc.schema.oci_image import MEDIA_INDEX, MEDIA_MANIFEST, Manifest
from appc.schema.platforms import to_go
from appc.schema.registry import SCHEME, RegistryReference
from appc.store.staging import Staging
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from appc.formats.oci_image import Blobs
    from appc.images.referrers import Key
    from appc.images.registry import Access
    from appc.schema.oci_image import Descriptor
    from appc.store.images import ImageStore

THREADS = 3


class PushHow:
    """How images are pushed: `artifact`: ACIs as they are; `key`: what signs them, None for nobody.

    `how` says how what has to be converted is, `mount` names repositories of the registry that may have blobs already.
    """

    __slots__ = ("artifact", "how", "key", "mount", "progress")

    def __init__(
        self,
        how: How,
        *,
        artifact: bool = False,
        key: Key | None = None,
        mount: Sequence[str] = (),
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.how = how
        self.artifact = artifact
        self.key = key
        self.mount = tuple(mount)
        self.progress = progress


class _Item:
    """One image to push: its manifest, byte for byte, the blobs it names, and what stands beside it."""

    def __init__(self, blobs: Blobs, manifest: bytes, media_type: str, platform: dict[str, str]) -> None:
        self.blobs = blobs
        self.manifest = manifest
        self.digest = Digest.of(manifest)
        self.platform = platform
        self.media_type = media_type
        self.headers: list[Digest] = []
        self.signatures: list[bytes] = []
        self.mount: tuple[str, ...] = ()

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.manifest)}


def push(
    store: ImageStore, sources: Sequence[str], target: str, access: Access, how: PushHow, warnings: list[str]
) -> str:
    """Push the images `sources` to `target` (docker://REGISTRY/REPOSITORY:TAG) and return the digest of what is there.

    Several become an index of their platforms. The tag is set last, so that what it leads to is complete. Raises
    AppcError; what was sent before stays in the registry, without a name.
    """
    reference = RegistryReference.parse(target)
    if reference.digest is not None:
        raise UsageError("an image is pushed to a tag: its digest follows from it", target)
    with ExitStack() as stack:
        items = [_item(store, source, access, how, warnings, stack, reference) for source in sources]
        _check_platforms(items, sources)
        also = {name for item in items for name in item.mount} | {*how.mount}
        registry = access.open(reference, ("pull", "push"), tuple(sorted(also - {reference.repository})))
        pusher = Pusher(registry, how.progress)
        for item in items:
            _send(pusher, item, (*how.mount, *item.mount))
        if len(items) == 1:
            top, data, media_type = items[0].descriptor, items[0].manifest, items[0].media_type
        else:
            entries = [{**item.descriptor, "platform": item.platform} for item in items]
            data = dumps({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": entries}).encode()
            media_type = MEDIA_INDEX
            top = {"mediaType": MEDIA_INDEX, "digest": Digest.of(data), "size": len(data)}
        pusher.manifest(data, media_type, top["digest"])
        if how.key is not None:
            # Before the tag: whoever sees it under its name finds it signed.
            sign_manifest(pusher, data, top, how.key.sign(data, registry.where))
        pusher.manifest(data, media_type, reference.tag)
        return str(top["digest"])


def _send(pusher: Pusher, item: _Item, mount: tuple[str, ...]) -> None:
    manifest = document(Manifest, item.manifest, item.blobs.where)
    wanted = {one.digest: one.size for one in (*manifest.layers, manifest.config)}

    def one(digest: Digest, size: int) -> None:
        pusher.blob(digest, size, lambda: item.blobs.open(blob_path(digest)), mount)

    with ThreadPoolExecutor(THREADS, "appc-push") as pool:
        for done in [pool.submit(one, digest, size) for digest, size in wanted.items()]:
            done.result()
    pusher.manifest(item.manifest, item.media_type, item.digest)
    if item.headers:
        layers = [_blob(item, digest) for digest in item.headers]
        for layer in layers:
            one(Digest(layer["digest"]), layer["size"])
        config = pusher.small(ociartifact.EMPTY, ociartifact.EMPTY_TYPE)
        data = ociartifact.about(ociartifact.HEADERS_TYPE, item.descriptor, config, layers)
        pusher.refer(data, ociartifact.entry(data, ociartifact.HEADERS_TYPE), item.digest)
    for signature in item.signatures:
        sign_manifest(pusher, item.manifest, item.descriptor, signature)


def _blob(item: _Item, digest: Digest) -> dict[str, Any]:
    with item.blobs.open(blob_path(digest)) as blob:
        return {"mediaType": "application/octet-stream", "digest": str(digest), "size": blob.size}


def _check_platforms(items: list[_Item], sources: Sequence[str]) -> None:
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for item, source in zip(items, sources, strict=True):
        key = tuple(sorted(item.platform.items()))
        if len(items) > 1 and (not key or key in seen):
            what = f"is for the same platform as {seen[key]}" if key else "does not say which platform it is for"
            raise UsageError(what, source, "an index holds one image for each platform")
        seen[key] = source


# -- what is pushed -----------------------------------------------------------------------------------


def _item(
    store: ImageStore,
    source: str,
    access: Access,
    how: PushHow,
    warnings: list[str],
    stack: ExitStack,
    reference: RegistryReference,
) -> _Item:
    if source.startswith((OCI, OCI_ARCHIVE)):
        opened = stack.enter_context(Source(source, how.how.platform, how.how.platform_given))
        return _verbatim_of(opened)
    if source.startswith(SCHEME):
        fetched = stack.enter_context(
            RegistrySource(access, source, store.root, how.how.platform, how.how.platform_given)
        )
        item = _verbatim(fetched.blobs, fetched.chosen)
        if fetched.reference.registry == reference.registry:
            item.mount = (fetched.reference.repository,)
        return item
    if how.artifact and not source.startswith(DOCKER_ARCHIVE):
        return _artifact(store, source, how, stack)
    directory = stack.enter_context(Staging(store.root)).path
    convert_image(store, source, f"{OCI}{directory}/layout:image", how.how, warnings)
    opened = stack.enter_context(Source(f"{OCI}{directory}/layout:image", how.how.platform))
    return _verbatim_of(opened)


def _verbatim_of(opened: Source) -> _Item:
    assert opened.image.descriptor is not None
    return _verbatim(opened.image.blobs, opened.image.descriptor)


def _verbatim(blobs: Blobs, chosen: Descriptor) -> _Item:
    """An image as it lies in a layout or registry, with the signatures beside it."""
    data = read_blob(blobs, chosen.digest, chosen.size, "manifest")
    manifest = document(Manifest, data, blobs.where)
    if manifest.artifact_type == ociartifact.ACI_TYPE:
        config = read_blob(blobs, manifest.config.digest, manifest.config.size, "configuration")
        return _Item(blobs, data, chosen.media_type, _platform_of(ImageManifest.parse(config)))
    config = read_blob(blobs, manifest.config.digest, manifest.config.size, "configuration")
    item = _Item(blobs, data, chosen.media_type or MEDIA_MANIFEST, platform_in(config))
    item.headers = _headers(blobs, config)
    item.signatures = list(signatures(blobs, item.digest))
    return item


def _headers(blobs: Blobs, config: bytes) -> list[Digest]:
    """What rebuilding the ACIs of an image needs besides its layers, as far as it came along."""
    from appc.schema.oci_image import ImageConfig

    record = record_in(document(ImageConfig, config, blobs.where))
    named = [Digest(origin.log) for origin in (record.origins if record else ()) if origin.log]
    return [digest for digest in named if blobs.has(blob_path(digest))]


def _platform_of(manifest: ImageManifest) -> dict[str, str]:
    try:
        os, architecture, variant = to_go(manifest.labels.get("os") or "", manifest.labels.get("arch") or "")
    except InvalidValue:
        return {}
    return {"architecture": architecture, "os": os} | ({"variant": f"v{variant}"} if variant else {})


def _artifact(store: ImageStore, source: str, how: PushHow, stack: ExitStack) -> _Item:
    """An ACI as it is: its file, and its own signature where there is one."""
    from appc.build.push_files import FileBlobs, aci_file

    path, signature, manifest = aci_file(store, source, stack)
    blobs = FileBlobs(source)
    config = {"mediaType": ociartifact.ACI_CONFIG, **blobs.add_bytes(manifest)}
    layers = [{"mediaType": ociartifact.ACI_LAYER, **blobs.add_file(path)}]
    if signature:
        layers.append({"mediaType": ociartifact.PGP_SIGNATURE, **blobs.add_bytes(signature)})
    parsed = ImageManifest.parse(manifest)
    annotations = {
        f"{ANNOTATION_PREFIX}name": str(parsed.name),
        "org.opencontainers.image.title": f"{os.path.basename(parsed.name)}.aci",
    }
    data = ociartifact.aci(config, layers, annotations)
    return _Item(blobs, data, MEDIA_MANIFEST, _platform_of(parsed))
