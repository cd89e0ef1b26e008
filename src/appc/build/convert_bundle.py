"""From an OCI runtime bundle to an ACI."""

from __future__ import annotations

import os

from appc.errors import ArchiveError, ManifestError
from appc.formats.acibuild import build_aci
from appc.formats.bundle import CONFIG, manifest_of
from appc.formats.layout import read_small
from appc.images.convert_source import default_name
from appc.schema import oci_runtime
from appc.values import ACIdentifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.compress import Sink

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def build(path: str, out: Sink, name: str, platform: tuple[str, str], warnings: list[str]) -> bytes:
    """Write the root of the bundle in the directory `path` as an uncompressed ACI to `out`; return its manifest.

    Raises ArchiveError for what is no bundle, or one whose root lies outside of it.
    """
    where = f"{path}: {CONFIG}"
    try:
        bundle = os.open(path, _OPEN_DIR)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", path) from None
    try:
        try:
            config = oci_runtime.parse(read_small(bundle, CONFIG, where))
        except ManifestError as error:
            raise ArchiveError("; ".join(": ".join(filter(None, one)) for one in error.faults[:3]), where) from None
        own = name or ACIdentifier.sanitized(default_name(path))
        manifest = manifest_of(config, own, platform, warnings, where).to_json()
        root = _root(bundle, path, (config.get("root") or {}).get("path") or "rootfs")
        try:
            built = build_aci(root, manifest, out, compression="none", where=f"{path}/rootfs")
        finally:
            os.close(root)
    finally:
        os.close(bundle)
    warnings += built.warnings
    return manifest


def _root(bundle: int, path: str, root: str) -> int:
    """Open the bundle's root, which must lie in the bundle: a config.json could name any directory of the host."""
    relative = os.path.relpath(os.path.join(os.path.abspath(path), root), os.path.abspath(path))
    if relative == "." or relative.split("/")[0] == "..":
        hint = f"`appc image build --manifest FILE {root} OUT.aci` makes an image of that directory"
        raise ArchiveError(f"root.path {root!r} is not below the bundle", f"{path}: {CONFIG}", hint)
    fd = os.dup(bundle)
    try:
        for part in relative.split("/"):
            below = os.open(part, _OPEN_DIR | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
    except OSError as error:
        os.close(fd)
        raise ArchiveError(f"root.path {root!r} cannot be opened: {error.strerror}", f"{path}: {CONFIG}") from None
    return fd
