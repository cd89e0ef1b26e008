"""Image files from directories: layouts, or root file systems with a manifest."""

from __future__ import annotations

import os

from appc.build.outfile import ImageFile
from appc.errors import ArchiveError, UsageError
from appc.formats.aci import ROOTFS
from appc.formats.acibuild import build_aci
from appc.formats.layout import check_layout, read_manifest
from appc.schema.image import ImageManifest
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.build.outfile import Output
    from appc.formats.acibuild import Built, Times

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def build_file(
    source: str,
    output: Output,
    *,
    manifest: str = "",
    owner_root: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """Build an image from the layout `source`, or from the root file system `source` and a `manifest` file.

    The manifest is checked first. `progress` is called with the number of bytes just packed. Raises ManifestError with
    all faults, ArchiveError for what cannot be packed, UsageError when the file exists or would be part of itself,
    HostError when it cannot be written. After an error there is no trace of the new image, and an old one is as it was.
    """
    root = _open(source)
    try:
        where = source
        if manifest:
            data = manifest_file(manifest)
        else:
            data = check_layout(root, source)
            where = os.path.join(source, ROOTFS)
            layout, root = root, os.open(ROOTFS, _OPEN_DIR | os.O_NOFOLLOW, dir_fd=root)
            os.close(layout)
        _check_outside(output.path, where)
        with ImageFile(output) as file:
            built = build_aci(
                root,
                data,
                file,
                compression=output.compression,
                level=output.level,
                owner_root=owner_root,
                times=output.times,
                where=where,
                progress=progress,
            )
            file.commit()
    finally:
        os.close(root)
    return built


def build_generated(
    output: Output,
    make: Callable[[str], tuple[str, bytes]],
    store: str,
    *,
    owner_root: bool,
    times: Times,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """Build an image of what `make` puts together in the directory it is given, which is of the data directory `store`.

    `make` returns the root file system's path and the manifest, which is checked here. `times` are those of the
    image unless `output` has others; `progress` is called with the number of bytes just packed. The file is opened
    first, so that what cannot be written costs no work; after an error there is no trace of it, and an old one is as
    it was.
    """
    with ImageFile(output) as file, Staging(store) as staging:
        # What the builder's user lets others do with new files is no property of the image.
        umask = os.umask(0o022)
        try:
            rootfs, manifest = make(staging.path)
        finally:
            os.umask(umask)
        ImageManifest.parse(manifest)
        root = _open(rootfs)
        try:
            built = build_aci(
                root,
                manifest,
                file,
                compression=output.compression,
                level=output.level,
                owner_root=owner_root,
                times=output.times or times,
                progress=progress,
            )
        finally:
            os.close(root)
        file.commit()
    return built


def layout_manifest(directory: str, strict: bool = False) -> bytes:
    """The manifest of the layout in `directory`, once all of it has been checked; see `formats.layout`."""
    fd = _open(directory)
    try:
        return check_layout(fd, directory, strict)
    finally:
        os.close(fd)


def manifest_file(path: str, strict: bool = False) -> bytes:
    """The image manifest in a file, as JSON, once it has been checked; see `formats.layout`."""
    return read_manifest(None, path, path, strict)


def _open(directory: str) -> int:
    try:
        return os.open(directory, _OPEN_DIR)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", directory) from error


def _check_outside(out: str, rootfs: str) -> None:
    directory = os.path.realpath(os.path.dirname(out) or ".")
    inside = os.path.realpath(rootfs)
    if os.path.commonpath((directory, inside)) == inside:
        raise UsageError(f"lies in {rootfs} and would be part of itself", out, "write it to another directory")
