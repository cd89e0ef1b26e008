"""Choosing an image in an OCI image layout (image-layout.md, image-index.md): by tag and platform, digests verified."""

from __future__ import annotations

from appc.errors import ArchiveError, ImageNotFound, ManifestError
from appc.formats.oci_image import (
    Layer,
    SourceImage,
    blob_path,
    document,
    platform_of,
    read_blob,
    read_document,
    shown,
)
from appc.formats.ociartifact import ACI_TYPE
from appc.formats.tarnames import printable
from appc.schema.json import loads
from appc.schema.oci_image import (
    CONFIG_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    REF_NAME,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    is_layer,
)
from appc.schema.platforms import runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.oci_image import Blobs

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
LAYOUT_VERSION = "1.0.0"
MAX_LAYERS = 1000
_MAX_DEPTH = 8
_MAX_INDEXES = 100


def select(blobs: Blobs, tag: str, wanted: tuple[str, str], strict_platform: bool) -> SourceImage:
    """Return the image called `tag` ("" = the only one) that is made for `wanted`, the labels (os, arch).

    Of an index with several platforms the wanted one is taken. An image that stands alone may be for another platform
    unless `strict_platform`. Raises ImageNotFound, which lists what there is, and ArchiveError.
    """
    _check_layout(blobs)
    where = blobs.where
    index = document(Index, read_document(blobs, INDEX_FILE), f"{where}: {INDEX_FILE}")
    named = [(one.annotations.get(REF_NAME, ""), one) for one in index.manifests if _is_image(one)]
    if tag:
        named = [pair for pair in named if pair[0] == tag]
    tags = sorted({name for name, _ in named})
    if not named:
        known = sorted({one.annotations.get(REF_NAME, "") for one in index.manifests if _is_image(one)} - {""})
        listed = f"the tags are {_listed(known)}" if known else "its images have no tags"
        raise ImageNotFound(f"has no image {printable(tag)}" if tag else "holds no image", where, listed if tag else "")
    if len(tags) > 1:
        raise ImageNotFound(f"holds {len(tags)} images", where, f"name one of them after a colon: {_listed(tags)}")
    found = choose(blobs, [one for _, one in named], wanted, strict_platform)
    return image_of(blobs, found, tags[0])


def every(blobs: Blobs) -> list[tuple[str, Descriptor]]:
    """The (tag, manifest) of every image in a layout, whatever its platform. Raises ArchiveError."""
    _check_layout(blobs)
    index = document(Index, read_document(blobs, INDEX_FILE), f"{blobs.where}: {INDEX_FILE}")
    found = []
    walk = _Walk(blobs, ("", ""), False)
    for one in filter(_is_image, index.manifests):
        tag = one.annotations.get(REF_NAME, "")
        # ACIs as artifacts, and attestations, are no images of the kind that is meant.
        found += [
            (tag, manifest)
            for manifest in walk.manifests([one], 0)
            if manifest.artifact_type != ACI_TYPE and (manifest.platform is None or manifest.platform.os != "unknown")
        ]
    return found


def choose(blobs: Blobs, descriptors: list[Descriptor], wanted: tuple[str, str], strict_platform: bool) -> Descriptor:
    """Return the manifest for `wanted` of those that `descriptors` lead to, through indexes; see `select`."""
    return _Walk(blobs, wanted, strict_platform).choose(descriptors, 0)


def artifacts(blobs: Blobs, artifact_type: str) -> list[Descriptor]:
    """The manifests of this type that the index of a layout leads to directly. Raises ArchiveError."""
    index = document(Index, read_document(blobs, INDEX_FILE), f"{blobs.where}: {INDEX_FILE}")
    return [one for one in index.manifests if one.artifact_type == artifact_type]


def _is_image(one: Descriptor) -> bool:
    """Whether a descriptor may lead to an image: signatures and the like stand in the same lists."""
    return one.artifact_type in ("", *CONFIG_TYPES, ACI_TYPE)


def _check_layout(blobs: Blobs) -> None:
    where = f"{blobs.where}: {LAYOUT_FILE}"
    if not blobs.has(LAYOUT_FILE):
        raise ArchiveError(f"is no OCI image layout: there is no {LAYOUT_FILE}", blobs.where)
    try:
        layout = loads(read_document(blobs, LAYOUT_FILE))
    except ManifestError as error:
        raise ArchiveError(error.faults[0][1], where) from None
    version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
    if not isinstance(version, str) or version.split(".")[0] != LAYOUT_VERSION.split(".")[0]:
        raise ArchiveError(f"imageLayoutVersion is not {LAYOUT_VERSION}", where)


class _Walk:
    """Looks through indexes for manifests, opening no more of them than a sane layout has."""

    def __init__(self, blobs: Blobs, wanted: tuple[str, str], strict: bool) -> None:
        self._blobs = blobs
        self._wanted = wanted
        self._strict = strict
        self._opened = 0

    def choose(self, descriptors: list[Descriptor], depth: int) -> Descriptor:
        """The manifest to take of those that `descriptors` lead to."""
        found = list(self.manifests(descriptors, depth))
        # Attestations and the like stand beside images, for a platform called "unknown".
        real = [one for one in found if one.platform is None or one.platform.os != "unknown"]
        for platform in runs(*self._wanted):
            for one in real:
                if self._platform(one) == platform:
                    return one
        if len(real) == 1 and not self._strict:
            return real[0]
        made_for = sorted({"/".join(self._names(one)) for one in real})
        raise ImageNotFound(
            f"has no image for {'/'.join(self._wanted)}", self._blobs.where, f"--platform: {_listed(made_for)}"
        )

    def manifests(self, descriptors: list[Descriptor], depth: int) -> list[Descriptor]:
        """All manifests that `descriptors` lead to; ArchiveError when there are none, or suspiciously many."""
        if depth > _MAX_DEPTH:
            raise ArchiveError(f"indexes are nested more than {_MAX_DEPTH} deep", self._blobs.where)
        found: list[Descriptor] = []
        for one in descriptors:
            if one.media_type in INDEX_TYPES:
                self._opened += 1
                if self._opened > _MAX_INDEXES:
                    raise ArchiveError(f"has more than {_MAX_INDEXES} indexes", self._blobs.where)
                data = read_blob(self._blobs, one.digest, one.size, "index")
                index = document(Index, data, f"{self._blobs.where}: index {shown(one.digest)}")
                found += self.manifests(list(index.manifests), depth + 1)
            elif one.media_type in MANIFEST_TYPES and _is_image(one):
                found.append(one)
        if depth == 0 and not found:
            kinds = _listed(sorted({one.media_type or "(none)" for one in descriptors}))
            raise ArchiveError(f"leads to no image manifest, only to {kinds}", self._blobs.where)
        if len(found) > 1000:
            raise ArchiveError("has more than 1000 manifests", self._blobs.where)
        return found

    def _names(self, one: Descriptor) -> tuple[str, ...]:
        if one.platform is not None and one.platform.os:
            return tuple(filter(None, (one.platform.os, one.platform.architecture, one.platform.variant)))
        manifest = _manifest(self._blobs, one)
        config = _config(self._blobs, manifest)[1]
        return tuple(filter(None, (config.os, config.architecture, config.variant)))

    def _platform(self, one: Descriptor) -> tuple[str, str] | None:
        os, architecture, variant = (*self._names(one), "", "", "")[:3]
        return platform_of(os, architecture, variant)


def _manifest(blobs: Blobs, one: Descriptor) -> Manifest:
    where = f"{blobs.where}: manifest {shown(one.digest)}"
    manifest = document(Manifest, read_blob(blobs, one.digest, one.size, "manifest"), where)
    if manifest.config.media_type not in CONFIG_TYPES:
        kind = printable(manifest.config.media_type)
        raise ArchiveError(f"is no container image: its configuration is of the type {kind!r}", where)
    if len(manifest.layers) > MAX_LAYERS:
        raise ArchiveError(f"has more than {MAX_LAYERS} layers", where)
    for layer in manifest.layers:
        if not is_layer(layer.media_type):
            kind = printable(layer.media_type)
            raise ArchiveError(f"layer {shown(layer.digest)} is of the type {kind!r}, which is no layer", where)
    return manifest


def _config(blobs: Blobs, manifest: Manifest) -> tuple[bytes, ImageConfig]:
    one = manifest.config
    data = read_blob(blobs, one.digest, one.size, "configuration")
    return data, document(ImageConfig, data, f"{blobs.where}: configuration {shown(one.digest)}")


def image_of(blobs: Blobs, found: Descriptor, reference: str) -> SourceImage:
    """Return the image whose manifest `found` describes; `reference` is what it is called. Raises ArchiveError."""
    manifest = _manifest(blobs, found)
    data, config = _config(blobs, manifest)
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ArchiveError(
            f"has {len(manifest.layers)} layers, but its configuration names {len(diff_ids)}",
            f"{blobs.where}: manifest {shown(found.digest)}",
        )
    layers = tuple(
        Layer(blob_path(one.digest), one.digest, one.size, diff_id)
        for one, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
    return SourceImage(
        blobs,
        data,
        layers,
        manifest_digest=str(found.digest),
        annotations=manifest.annotations,
        reference=reference,
        config=config,
        descriptor=found,
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(printable(name) or "(untagged)" for name in names[:20]) + more
