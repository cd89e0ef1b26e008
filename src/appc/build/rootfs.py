"""A root file system as others make it – a directory, or a tar archive – on its way into an image."""

from __future__ import annotations

import os

from appc.errors import ArchiveError, UsageError
from appc.formats import compress
from appc.formats.extract import Extractor
from appc.formats.tar import HARDLINK, Reader, safe_name
from appc.images.fetch import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.tar import Entry

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


def root_of(source: str, directory: str, out: str, warnings: list[str]) -> str:
    """The root file system `source`: itself when it is a directory, else what was extracted to `directory`.

    `out` is the image that is made of it. Raises ArchiveError for what is neither or is refused, UsageError.
    """
    if not os.path.isdir(source):
        rootfs = f"{directory}/rootfs"
        os.mkdir(rootfs, 0o755)
        extract(source, rootfs, warnings)
        return rootfs
    if os.path.isfile(f"{source}/manifest") and os.path.isdir(f"{source}/rootfs"):
        raise UsageError("is a layout, not a root file system", source, "`appc image build` makes an image of it")
    inside = os.path.realpath(source)
    for path in (os.path.dirname(out) or ".", directory):
        if os.path.commonpath((os.path.realpath(path), inside)) == inside:
            raise UsageError(
                f"lies in {source} and would be part of itself",
                path,
                "write it to another directory, or have --root elsewhere",
            )
    return source


def extract(archive: str, rootfs: str, warnings: list[str]) -> None:
    """Extract a tar archive, compressed or not, into the directory `rootfs`; what cannot be kept is said.

    Raises ArchiveError when it is damaged or would leave the directory, HostError.
    """
    root = os.open(rootfs, _OPEN_DIR)
    try:
        with open_file(archive) as file, Extractor(root, owners=os.geteuid() == 0, where=archive) as extractor:
            stream = compress.reader(file, where=archive)
            if stream.kind in ("none", "pgp"):
                raise ArchiveError("is neither a directory nor a tar archive", archive)
            for entry in Reader(stream, where=archive):
                _name(entry, archive)
                extractor.entry(entry)
            extractor.finish()
            warnings += extractor.notes()
    finally:
        os.close(root)


def name_of(source: str) -> str:
    """What the root file system in `source` may be called: its file name without the endings of archives."""
    name = os.path.basename(os.path.abspath(source))
    ending = max((ending for ending in _ARCHIVES if name.endswith(ending)), key=len, default="")
    return name.removesuffix(ending)


def _name(entry: Entry, archive: str) -> None:
    try:
        entry.path = safe_name(entry.name)
        if entry.type == HARDLINK:
            entry.link_path = safe_name(entry.linkname)
    except ArchiveError as error:
        raise ArchiveError(error.what, f"{archive}: {error.where or entry.name}") from None
