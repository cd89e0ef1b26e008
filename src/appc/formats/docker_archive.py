"""Choosing an image in what `docker save` writes: the form with manifest.json, and the older one with repositories."""

from __future__ import annotations

from appc.errors import ArchiveError, ImageNotFound, ManifestError
from appc.formats.oci_image import Layer, SourceImage, document, platform_of, read_document
from appc.formats.ocilayout import MAX_LAYERS
from appc.formats.tarnames import printable, safe_name
from appc.schema.json import loads
from appc.schema.oci_image import ImageConfig, SavedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.formats.oci_image import Blobs

MANIFEST_FILE = "manifest.json"
REPOSITORIES_FILE = "repositories"
_HEX = "0123456789abcdef"
_MAX_IMAGES = 10_000


def select(blobs: Blobs, tag: str, wanted: tuple[str, str], strict_platform: bool) -> SourceImage:
    """Return the image called `tag` ("" = the only one); "latest" is what a name without a version means.

    Such archives hold one platform, which must be `wanted`, the labels (os, arch), if `strict_platform`. Raises
    ImageNotFound, which lists what there is, and ArchiveError.
    """
    if blobs.has(MANIFEST_FILE):
        image = _current(blobs, tag)
    elif blobs.has(REPOSITORIES_FILE):
        image = _old(blobs, tag)
    else:
        what = f"is no docker archive: there is neither {MANIFEST_FILE} nor {REPOSITORIES_FILE}"
        raise ArchiveError(what, blobs.where)
    config = image.config
    if strict_platform and platform_of(config.os, config.architecture, config.variant) != wanted:
        raise ImageNotFound(
            f"has no image for {'/'.join(wanted)}", blobs.where, f"it is for {config.os}/{config.architecture}"
        )
    return image


def _json(blobs: Blobs, path: str) -> Any:
    try:
        return loads(read_document(blobs, path))
    except ManifestError as error:
        raise ArchiveError(error.faults[0][1], f"{blobs.where}: {path}") from None


def _pick(blobs: Blobs, tags: list[str], tag: str) -> str:
    """The one of `tags` that `tag` means."""
    if tag:
        names = (tag, f"{tag}:latest", f"docker.io/library/{tag}", f"docker.io/library/{tag}:latest")
        found = next((name for name in names if name in tags), None)
        if found is None:
            raise ImageNotFound(f"has no image {printable(tag)}", blobs.where, f"the tags are {_listed(tags)}")
        return found
    if len(tags) != 1:
        hint = f"name one of them after a colon: {_listed(tags)}" if tags else ""
        raise ImageNotFound(f"holds {len(tags) or 'no'} images", blobs.where, hint)
    return tags[0]


def every(blobs: Blobs) -> list[str]:
    """The tags of all images in a docker archive, "" for the only one if it has none. Raises ArchiveError."""
    if blobs.has(MANIFEST_FILE):
        saved = _saved(blobs)
        tags = [tag for one in saved for tag in one.tags[:1]]
        return tags or [""] * (len(saved) == 1)
    return sorted(_repositories(blobs)) if blobs.has(REPOSITORIES_FILE) else [""]


def _saved(blobs: Blobs) -> list[SavedImage]:
    where = f"{blobs.where}: {MANIFEST_FILE}"
    listed = _json(blobs, MANIFEST_FILE)
    if not isinstance(listed, list) or len(listed) > _MAX_IMAGES or not all(isinstance(one, dict) for one in listed):
        raise ArchiveError("should be a list of images", where)
    try:
        return [SavedImage.parse(one) for one in listed]
    except ManifestError as error:
        raise ArchiveError(": ".join(filter(None, error.faults[0])), where) from None


def _repositories(blobs: Blobs) -> dict[str, Any]:
    """The layers by NAME:TAG."""
    repositories = _json(blobs, REPOSITORIES_FILE)
    if not isinstance(repositories, dict) or not all(isinstance(tags, dict) for tags in repositories.values()):
        raise ArchiveError("should map names to tags and those to layers", f"{blobs.where}: {REPOSITORIES_FILE}")
    return {f"{name}:{own}": layer for name, tags in repositories.items() for own, layer in tags.items()}


def _current(blobs: Blobs, tag: str) -> SourceImage:
    where = f"{blobs.where}: {MANIFEST_FILE}"
    saved = _saved(blobs)
    if len(saved) == 1 and not tag:
        chosen, reference = saved[0], saved[0].tags[0] if saved[0].tags else ""
    else:
        by_tag = {name: one for one in saved for name in one.tags}
        reference = _pick(blobs, sorted(by_tag), tag)
        chosen = by_tag[reference]
    config_path = _path(chosen.config, where)
    config_bytes = read_document(blobs, config_path)
    image = SourceImage(blobs, config_bytes, _layers(blobs, chosen, config_bytes, where), reference=reference)
    claimed = config_path.rpartition("/")[2].removesuffix(".json")
    if _is_digest(claimed) and f"sha256:{claimed}" != image.config_digest:
        raise ArchiveError(f"has the digest {image.config_digest}", f"{blobs.where}: {printable(config_path)}")
    return image


def _layers(blobs: Blobs, saved: SavedImage, config_bytes: bytes, where: str) -> tuple[Layer, ...]:
    config = document(ImageConfig, config_bytes, f"{blobs.where}: {printable(saved.config)}")
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(saved.layers):
        raise ArchiveError(f"has {len(saved.layers)} layers, but its configuration names {len(diff_ids)}", where)
    if len(diff_ids) > MAX_LAYERS:
        raise ArchiveError(f"has more than {MAX_LAYERS} layers", where)
    return tuple(
        Layer(_path(path, where), None, -1, diff_id) for path, diff_id in zip(saved.layers, diff_ids, strict=True)
    )


def _old(blobs: Blobs, tag: str) -> SourceImage:
    """Follow the chain of parents from the layer that `repositories` names (docker before 1.10)."""
    where = f"{blobs.where}: {REPOSITORIES_FILE}"
    by_tag = _repositories(blobs)
    reference = _pick(blobs, sorted(by_tag), tag)
    layers: list[Layer] = []
    seen: set[str] = set()
    top = b""
    layer_id = by_tag[reference]
    while layer_id:
        if not isinstance(layer_id, str) or not _is_digest(layer_id):
            raise ArchiveError(f"{printable(str(layer_id))!r} is no ID of a layer", where)
        if layer_id in seen:
            raise ArchiveError(f"layer {layer_id[:12]} is its own ancestor", blobs.where)
        if len(seen) >= MAX_LAYERS:
            raise ArchiveError(f"has more than {MAX_LAYERS} layers", blobs.where)
        seen.add(layer_id)
        data = read_document(blobs, f"{layer_id}/json")
        config = document(ImageConfig, data, f"{blobs.where}: {layer_id[:12]}/json")
        if config.id not in ("", layer_id):
            raise ArchiveError(f"says that it is layer {printable(config.id)[:12]}", f"{blobs.where}: {layer_id}/json")
        layers.append(Layer(f"{layer_id}/layer.tar", None, -1, None))
        top = top or data
        layer_id = config.parent.removeprefix("sha256:")
    if not layers:
        raise ArchiveError(f"{printable(reference)} names no layer", where)
    return SourceImage(blobs, top, tuple(reversed(layers)), reference=reference)


def _path(path: str, where: str) -> str:
    try:
        return safe_name(path)
    except ArchiveError as error:
        raise ArchiveError(f"path {printable(path)!r}: {error.what}", where) from None


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not text.strip(_HEX)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(printable(name) for name in names[:20]) + more
