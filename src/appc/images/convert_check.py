"""Whether OCI layouts, docker archives and runtime bundles are what they should be, without converting them."""

from __future__ import annotations

import os

from appc.errors import AppcError, ArchiveError
from appc.formats import convert_image, docker_archive, layersquash, ocilayout
from appc.formats.bundle import CONFIG
from appc.formats.layout import read_small
from appc.images.convert_source import DOCKER_ARCHIVE, Opened, default_name
from appc.schema import oci_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from appc.formats.oci_image import SourceImage


def check_images(reference: str, fault: Callable[[AppcError], None], warnings: list[str]) -> None:
    """Check every image in the layout or archive that `reference` means, whatever its tag and platform.

    Every digest is verified, layers are read to their ends, and what cannot be an App Container Image is refused.
    `fault` is told the first thing that is wrong with each image; what is wrong with the whole is raised: ArchiveError,
    ImageNotFound, HostError. What would be lost by conversion is added to `warnings`.
    """
    with Opened(reference) as opened:
        for find in _each(opened):
            try:
                image = find()
                names = convert_image.naming(image.reference, default_name(opened.path))
                accounts = layersquash.plan(image, False).accounts
                convert_image.manifest_of(image, names, accounts, warnings, parent=None)
            except AppcError as error:
                fault(error)


def _each(opened: Opened) -> Iterator[Callable[[], SourceImage]]:
    blobs = opened.blobs
    if opened.scheme == DOCKER_ARCHIVE:
        tags = docker_archive.every(blobs)
        if not tags:
            raise ArchiveError("holds no images", opened.path)
        for tag in tags:
            yield lambda tag=tag: docker_archive.select(blobs, tag, ("", ""), False)  # type: ignore[misc]
        return
    found = ocilayout.every(blobs)
    if not found:
        raise ArchiveError("holds no image", opened.path)
    seen = set()
    for tag, one in found:
        if one.digest not in seen:
            seen.add(one.digest)
            yield lambda one=one, tag=tag: ocilayout.image_of(blobs, one, tag)  # type: ignore[misc]


def check_bundle(path: str) -> dict[str, Any]:
    """The configuration of the OCI runtime bundle in the directory `path`, checked.

    Raises ManifestError with all faults of config.json, ArchiveError when it or the root is missing (bundle.md).
    """
    where = f"{path}: {CONFIG}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", path) from None
    try:
        config = oci_runtime.parse(read_small(fd, CONFIG, where), where)
        root = (config.get("root") or {}).get("path") or ""
        if not root:
            raise ArchiveError("root is missing", where)
        # A root may lie anywhere; only what is made into an image has to be in the bundle.
        if not os.path.isdir(os.path.join(path, root)):
            raise ArchiveError(f"root.path {root!r} is not a directory", where)
        return config
    finally:
        os.close(fd)
