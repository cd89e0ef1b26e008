"""Writing OCI image layouts and docker archives: blobs first, then the documents that lead to them.

Where blobs go is for a `BlobSink` to know, a directory or an archive. The documents depend on nothing but the image.
"""

from __future__ import annotations

import hashlib

from appc.formats.ocilayout import INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION
from appc.schema.json import dumps, loads
from appc.schema.oci_image import MEDIA_CONFIG, MEDIA_INDEX, MEDIA_LAYER, MEDIA_MANIFEST, REF_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class BlobWriter(Protocol):
        """A blob being written. It is nowhere to be seen before `commit`."""

        def write(self, data: bytes, /) -> object: ...
        def commit(self) -> tuple[str, int]:
            """Make it a blob; return its digest (sha256) and size."""
            ...

        def __enter__(self) -> BlobWriter: ...
        def __exit__(self, *_: object) -> object: ...

    class BlobSink(Protocol):
        """Takes blobs, each complete before the next begins."""

        def blob(self) -> BlobWriter: ...


LAYER_TYPES = {"none": MEDIA_LAYER, "gzip": f"{MEDIA_LAYER}+gzip", "zstd": f"{MEDIA_LAYER}+zstd"}
_CONTAINERD_NAME = "io.containerd.image.name"


def descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    """A reference to a blob."""
    return {"mediaType": media_type, "digest": digest, "size": size}


def put(sink: BlobSink, media_type: str, data: bytes) -> dict[str, Any]:
    """Write a small blob; return its descriptor."""
    with sink.blob() as blob:
        blob.write(data)
        digest, size = blob.commit()
    return descriptor(media_type, digest, size)


def put_image(
    sink: BlobSink, config: bytes, layers: list[dict[str, Any]], annotations: dict[str, str]
) -> dict[str, Any]:
    """Write the configuration and the manifest of an image whose layers are there; return the manifest's descriptor."""
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": put(sink, MEDIA_CONFIG, config),
        "layers": layers,
    }
    if annotations:
        manifest["annotations"] = annotations
    return put(sink, MEDIA_MANIFEST, dumps(manifest).encode())


def platform(config: bytes) -> dict[str, str]:
    """The platform of an image for its entry in an index."""
    found = loads(config)
    named = {key: found.get(key) for key in ("architecture", "os", "variant")}
    return {key: value for key, value in named.items() if value}


def index(manifest: dict[str, Any], config: bytes, tag: str, reference: str = "") -> dict[str, Any]:
    """The index.json of a layout that holds one image."""
    return {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [entry(manifest, config, tag, reference)]}


def entry(manifest: dict[str, Any], config: bytes, tag: str, reference: str = "") -> dict[str, Any]:
    """The entry of an image in an index: called `tag`, for containerd also by its whole `reference`."""
    names = ({_CONTAINERD_NAME: reference} if reference else {}) | ({REF_NAME: tag} if tag else {})
    found = {**manifest, "platform": platform(config)}
    return {**found, "annotations": names} if names else found


def layout_file() -> bytes:
    """The content of oci-layout."""
    return dumps({"imageLayoutVersion": LAYOUT_VERSION}).encode()


def docker_documents(config: bytes, layers: list[str], reference: str) -> dict[str, bytes]:
    """manifest.json and repositories of a docker archive that holds one image, whose blobs lie as in a layout.

    `layers` are the digests of the uncompressed layers, `reference` is NAME:TAG.
    """
    name, _, tag = reference.rpartition(":")
    digest = hashlib.sha256(config).hexdigest()
    saved = {
        "Config": f"blobs/sha256/{digest}",
        "RepoTags": [reference],
        "Layers": [f"blobs/{layer.replace(':', '/')}" for layer in layers],
    }
    top = layers[-1].partition(":")[2] if layers else digest
    return {
        "manifest.json": dumps([saved]).encode(),
        "repositories": dumps({name: {tag: top}}).encode(),
    }


def docker_reference(name: str, version: str) -> str:
    """What docker may call an image: `name`, its characters replaced where docker allows fewer, and a tag."""
    parts = []
    for part in name.split("/"):
        kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in part.lower())
        while any(pair in kept for pair in ("..", ".-", "-.", "._", "_.", "-_", "_-")):
            for pair in ("..", ".-", "-.", "._", "_.", "-_", "_-"):
                kept = kept.replace(pair, "-")
        parts.append(kept.strip("._-") or "x")
    return f"{'/'.join(parts)}:{docker_tag(version)}"


def docker_tag(version: str) -> str:
    """A tag made of a version; `latest` of none."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in version)[:128].lstrip(".-")
    return kept or "latest"


__all__ = (
    "INDEX_FILE",
    "LAYER_TYPES",
    "LAYOUT_FILE",
    "BlobSink",
    "BlobWriter",
    "descriptor",
    "docker_documents",
    "docker_reference",
    "docker_tag",
    "entry",
    "index",
    "layout_file",
    "platform",
    "put",
    "put_image",
)
