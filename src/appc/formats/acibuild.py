"""Building App Container Images: the same tree and manifest give the same bytes, anywhere and at any time.

The manifest is the first entry, so that a reader of a stream knows early what comes. It belongs to root,
has mode 0644 and the time 1970-01-01, or the one that is asked for; what it says is for the caller to check.
Then come `rootfs` and what is below it, in byte order, parents first.
"""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats import compress
from appc.formats.aci import MANIFEST, ROOTFS
from appc.formats.extract import Record
from appc.formats.layerhash import Hashed
from appc.formats.limits import DEFAULT
from appc.formats.tar import FILE, HARDLINK, printable, safe_name
from appc.formats.tartree import Walk, content
from appc.formats.tarwrite import Writer
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NS = 1_000_000_000


class Built:
    """What building an image gave: its ID, the uncompressed size in bytes, and what was left out."""

    __slots__ = ("entries", "image_id", "size", "warnings")

    def __init__(self, image_id: ImageID, size: int, entries: int, warnings: list[str]) -> None:
        self.image_id = image_id
        self.size = size
        self.entries = entries
        self.warnings = warnings


class Times:
    """Which modification times an image gets.

    By default each file's own, to the nanosecond. `fixed` replaces all of them; `latest` replaces those
    that are later (as SOURCE_DATE_EPOCH is meant). Both in seconds since 1970. The manifest gets `fixed`,
    else `latest`, else 0.
    """

    __slots__ = ("_fixed", "_latest")

    def __init__(self, fixed: int | None = None, latest: int | None = None) -> None:
        self._fixed = None if fixed is None else fixed * _NS
        self._latest = None if latest is None else latest * _NS

    @property
    def manifest(self) -> int:
        """The manifest's, in nanoseconds."""
        return self._fixed if self._fixed is not None else self._latest or 0

    def of(self, own: int) -> int:
        """A file's, in nanoseconds, given its own."""
        if self._fixed is not None:
            return self._fixed
        return own if self._latest is None else min(own, self._latest)


def build_aci(
    rootfs_fd: int,
    manifest: bytes,
    out: compress.Sink,
    *,
    compression: str = "gzip",
    level: int | None = None,
    owner_root: bool = False,
    times: Times | None = None,
    where: str = ROOTFS,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """Write an image of the directory `rootfs_fd` (a descriptor, left open) with that manifest to `out`.

    `owner_root` makes everything belong to 0:0. `where` names the directory in errors. `progress` is called with the
    number of bytes that went into the archive, every MiB or so. Raises ArchiveError
    when a file cannot be read or changes meanwhile; what `out` then holds is of no use.
    """
    packed = compress.writer(out, compression, level)
    hashed = Hashed(packed, "sha512", progress)
    try:
        built = _write(rootfs_fd, manifest, hashed, owner_root, times or Times(), where)
        packed.close()
    except BaseException:
        hashed.abort()
        packed.abort()
        raise
    return built


def _write(rootfs_fd: int, manifest: bytes, out: Hashed, owner_root: bool, times: Times, where: str) -> Built:
    writer = Writer(out)
    writer.add(
        MANIFEST,
        Record(MANIFEST, FILE, mode=0o644, uid=0, gid=0, size=len(manifest), mtime_ns=times.manifest),
        (manifest,),
    )
    entries = 1
    walk = Walk(rootfs_fd, where)
    for record, fd in walk:
        entries += 1
        name = f"{ROOTFS}/{record.path}" if record.path else ROOTFS
        _check_name(name, where)
        if owner_root:
            record.uid = record.gid = 0
        record.mtime_ns = times.of(record.mtime_ns)
        if record.type == HARDLINK:
            record.linkname = f"{ROOTFS}/{record.linkname}"
        writer.add(name, record, content(fd, record.size))
    writer.close()
    return Built(ImageID.parse("sha512-" + out.hexdigest()), out.size, entries, walk.warnings)


def _check_name(name: str, where: str) -> None:
    """Nothing is packed that reading would refuse."""
    safe_name(name)
    if len(name) > DEFAULT.name:
        raise ArchiveError(f"path is longer than {DEFAULT.name} bytes", f"{where}: {printable(name)}")
