"""The documents of OCI images and `docker save` archives (image-spec 1.1: descriptor, image-index, manifest, config).

Only what conversion needs is named; everything else is kept as unknown fields. Documents that could be taken for two
kinds at once are refused, as considerations in manifest.md and image-index.md ask (`mediaType`, CVE-2021-41190).
"""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema.kinds import Faults, anything, frozen_dict, integer, list_of, map_of, string
from appc.schema.record import Record, field
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MEDIA_INDEX = "application/vnd.oci.image.index.v1+json"
MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar"

INDEX_TYPES = (MEDIA_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = (MEDIA_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
CONFIG_TYPES = (MEDIA_CONFIG, "application/vnd.docker.container.image.v1+json")
LAYER_TYPES = (
    MEDIA_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)

REF_NAME = "org.opencontainers.image.ref.name"

_MOST = (1 << 63) - 1
_STRINGS = list_of(string)
_TEXTS = map_of(string)
_SET = map_of(anything)
_EMPTY: Any = frozen_dict({})


def digest(value: Any, faults: Faults) -> Digest:
    """A content digest."""
    return Digest.parse(string(value, faults))


def is_layer(media_type: str) -> bool:
    """Whether descriptors of this media type lead to a layer that can be read: a tar, compressed or not."""
    return media_type.removesuffix("+gzip").removesuffix("+zstd").removesuffix(".gzip") in LAYER_TYPES


class Platform(Record):
    """What an image of an index is made for, in the words of Go."""

    os: str = field("os", string, default="")
    architecture: str = field("architecture", string, default="")
    variant: str = field("variant", string, default="")


class Descriptor(Record):
    """A reference to a blob: what it is, its digest, its size in bytes."""

    media_type: str = field("mediaType", string, default="")
    digest: Digest = field("digest", digest)
    size: int = field("size", integer(0, _MOST))
    annotations: Mapping[str, str] = field("annotations", _TEXTS, default=_EMPTY)
    artifact_type: str = field("artifactType", string, default="")
    urls: tuple[str, ...] = field("urls", _STRINGS, default=())
    platform: Platform | None = field("platform", Platform.decode, default=None)


class Index(Record):
    """A list of manifests and further indexes, also the entry of a layout (index.json)."""

    schema_version: int = field("schemaVersion", integer(2, 2), default=2)
    media_type: str = field("mediaType", string, default="")
    manifests: tuple[Descriptor, ...] = field("manifests", list_of(Descriptor.decode))
    annotations: Mapping[str, str] = field("annotations", _TEXTS, default=_EMPTY)

    def _check(self, faults: Faults) -> None:
        _only(self, self.media_type, INDEX_TYPES, ("config", "layers", "fsLayers"), faults)


class Manifest(Record):
    """One image: its configuration and its layers, the lowest first. `subject` is what an artifact is about."""

    schema_version: int = field("schemaVersion", integer(2, 2), default=2)
    media_type: str = field("mediaType", string, default="")
    artifact_type: str = field("artifactType", string, default="")
    subject: Descriptor | None = field("subject", Descriptor.decode, default=None)
    config: Descriptor = field("config", Descriptor.decode)
    layers: tuple[Descriptor, ...] = field("layers", list_of(Descriptor.decode))
    annotations: Mapping[str, str] = field("annotations", _TEXTS, default=_EMPTY)

    def _check(self, faults: Faults) -> None:
        _only(self, self.media_type, MANIFEST_TYPES, ("manifests", "fsLayers"), faults)


def _only(record: Record, media_type: str, expected: tuple[str, ...], foreign: tuple[str, ...], faults: Faults) -> None:
    if media_type and media_type not in expected:
        faults.add(f"is {media_type!r}, which this document is not", "mediaType")
    for key in foreign:
        if record.given(key):
            faults.add("belongs to another kind of document: it could be read in two ways", key)


class Process(Record):
    """How to execute an image (the field `config` of its configuration)."""

    user: str = field("User", string, default="")
    environment: tuple[str, ...] = field("Env", _STRINGS, default=())
    entrypoint: tuple[str, ...] = field("Entrypoint", _STRINGS, default=())
    cmd: tuple[str, ...] = field("Cmd", _STRINGS, default=())
    working_directory: str = field("WorkingDir", string, default="")
    ports: Mapping[str, Any] = field("ExposedPorts", _SET, default=_EMPTY)
    port_specs: tuple[str, ...] = field("PortSpecs", _STRINGS, default=())
    volumes: Mapping[str, Any] = field("Volumes", _SET, default=_EMPTY)
    labels: Mapping[str, str] = field("Labels", _TEXTS, default=_EMPTY)
    stop_signal: str = field("StopSignal", string, default="")


class RootFS(Record):
    """The digests of the uncompressed layers, the lowest first."""

    type: str = field("type", string, default="layers")
    diff_ids: tuple[Digest, ...] = field("diff_ids", list_of(digest), default=())

    def _check(self, faults: Faults) -> None:
        if self.type != "layers":
            raise InvalidValue(f'type must be "layers", not {self.type!r}')


class ImageConfig(Record):
    """The configuration of an image. `id`, `parent`, `comment` are of docker's old per-layer form of it."""

    os: str = field("os", string, default="")
    architecture: str = field("architecture", string, default="")
    variant: str = field("variant", string, default="")
    created: str = field("created", string, default="")
    author: str = field("author", string, default="")
    comment: str = field("comment", string, default="")
    config: Process = field("config", Process.decode, default=Process())
    rootfs: RootFS = field("rootfs", RootFS.decode, default=RootFS())
    id: str = field("id", string, default="")
    parent: str = field("parent", string, default="")


class SavedImage(Record):
    """One image in manifest.json of a `docker save` archive: paths within the archive."""

    config: str = field("Config", string)
    tags: tuple[str, ...] = field("RepoTags", _STRINGS, default=())
    layers: tuple[str, ...] = field("Layers", _STRINGS, default=())
