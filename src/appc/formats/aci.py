"""Reading App Container Images (aci.md): one pass over a stream of any length in constant memory.

The image ID is the SHA-512 of everything the decompressor gives, blocks behind the archive's end included.
"""

from __future__ import annotations

import hashlib

from appc.errors import ArchiveError
from appc.formats import compress
from appc.formats.limits import DEFAULT, Limits
from appc.formats.pipeline import ReadAhead
from appc.formats.tar import DIRECTORY, FILE, HARDLINK, Entry, Reader, printable, safe_name
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from appc.formats.tar import Log

    class Sink(Protocol):
        """Takes the entries of the root file system in the archive's order; `path` begins with "rootfs"."""

        def entry(self, entry: Entry, /) -> object: ...


MANIFEST = "manifest"
ROOTFS = "rootfs"
COMPRESSIONS = ("gzip", "bzip2", "xz", "tar")
_IMPLIED = "implied"
_MAX_FAULTS = 100
# Chunks of the compressed file that may wait to be decompressed.
_RECEIVED = 32


class ACI:
    """What reading an image found.

    `size` is the length of the uncompressed archive in bytes, `compression` one of gzip, bzip2, xz, none.
    `warnings` are oddities that were let pass.
    """

    __slots__ = ("compression", "entries", "image_id", "manifest_bytes", "size", "warnings")

    def __init__(
        self, manifest_bytes: bytes, image_id: ImageID, entries: int, size: int, compression: str, warnings: list[str]
    ) -> None:
        self.manifest_bytes = manifest_bytes
        self.image_id = image_id
        self.entries = entries
        self.size = size
        self.compression = compression
        self.warnings = warnings


def read_aci(
    source: compress.Source,
    sink: Sink | None = None,
    limits: Limits = DEFAULT,
    *,
    where: str = "",
    log: Log | None = None,
    on_manifest: Callable[[bytes], None] | None = None,
    faults: list[ArchiveError] | None = None,
) -> ACI:
    """Read an image from `source` to its end, handing the entries of its root file system to `sink`.

    `source.read` is called from another thread. `on_manifest` gets the manifest as soon as it has been read,
    which may be before or after all other entries; what it raises ends the reading. `log` is completed, but
    not written to disk, when this returns. Entries that break the rules of aci.md raise ArchiveError, or are
    left out and collected when a list of `faults` is given (up to 100). The manifest's content is not judged.
    """
    digest = hashlib.sha512()
    rules = _Rules(limits, where)
    manifest: bytes | None = None
    entries = 0
    with (
        ReadAhead(source, chunks=_RECEIVED) as received,
        ReadAhead(stream := _decompressed(received, limits, where), digest) as ahead,
    ):
        reader = Reader(ahead, limits, where, log)
        for entry in reader:
            entries += 1
            try:
                rules.admit(entry)
                if entry.path == MANIFEST:
                    manifest = entry.read(limits.manifest)
            except ArchiveError as error:
                if faults is None:
                    raise
                faults.append(error)
                if len(faults) >= _MAX_FAULTS:
                    raise ArchiveError("has too many faults to go on", where) from None
                continue
            if entry.path == MANIFEST:
                if on_manifest is not None and manifest is not None:
                    on_manifest(manifest)
            elif sink is not None and entry.path:
                sink.entry(entry)
    for fault in rules.missing():
        if faults is None:
            raise fault
        faults.append(fault)
    if log is not None:
        log.close(stream.produced, digest.digest())
    warnings = []
    if reader.trailing:
        warnings.append(f"{reader.trailing} bytes of other data follow the end of the archive")
    if stream.ignored:
        warnings.append(f"{stream.ignored} bytes of other data follow the {stream.kind} stream")
    return ACI(
        manifest or b"",
        ImageID.parse("sha512-" + digest.hexdigest()),
        entries,
        stream.produced,
        "none" if stream.kind == "tar" else stream.kind,
        [f"{where}: {warning}" if where else warning for warning in warnings],
    )


def read_manifest(source: compress.Source, *, limits: Limits = DEFAULT, where: str = "") -> bytes:
    """The manifest of an image; reads no further than to the manifest's end."""
    rules = _Rules(limits, where)
    for entry in Reader(_decompressed(source, limits, where), limits, where):
        rules.admit(entry)
        if entry.path == MANIFEST:
            return entry.read(limits.manifest)
    raise ArchiveError('has no "manifest"', where)


def read_image_id(source: compress.Source, *, limits: Limits = DEFAULT, where: str = "") -> ImageID:
    """The SHA-512 of the uncompressed archive, whatever is in it."""
    digest = hashlib.sha512()
    with ReadAhead(_decompressed(source, limits, where), digest) as ahead:
        while ahead.read():
            pass
    return ImageID.parse("sha512-" + digest.hexdigest())


def _decompressed(source: compress.Source, limits: Limits, where: str) -> compress.Reader:
    """A stream of the archive in `source`; ArchiveError when that is none, or compressed as images are not."""
    stream = compress.reader(source, limits, where)
    kind = stream.kind
    if kind in COMPRESSIONS:
        return stream
    if kind == "pgp":
        raise ArchiveError("is encrypted", where, "`appc image decrypt` makes a plain image of it")
    if kind == "none":
        raise ArchiveError("is no image: neither a tar archive nor one compressed with gzip, bzip2 or xz", where)
    raise ArchiveError(f"is compressed with {kind}; images may use gzip, bzip2 or xz", where)


class _Rules:
    """Which entries an image may have, and where, given those before (aci.md, "Image Archives").

    Beyond the text: no entry may lie below something that is no directory, and hard links must lead to a
    file that is already there, so that every extractor gets the same tree.
    """

    def __init__(self, limits: Limits, where: str) -> None:
        self._limits = limits
        self._where = where
        self._kinds: dict[str, str] = {}

    def admit(self, entry: Entry) -> None:
        """Set `path` and `link_path` of an entry, or raise ArchiveError; the archive's own root gets no path."""
        path = entry.name
        if not self._is_plain(path):
            try:
                path = safe_name(path, self._limits)
            except ArchiveError as error:
                raise self._fault(entry.name, error.what) from None
            if not path:
                if entry.type != DIRECTORY:
                    raise self._fault(entry.name, f"is a {entry.type} where the archive's root directory would be")
                return
            self._check_place(path, entry)
            self._check_parents(path)
        before = self._kinds.get(path)
        if before == _IMPLIED and entry.type != DIRECTORY:
            raise self._fault(path, f"is a {entry.type}, but an earlier entry lies below it")
        if before is not None and before != _IMPLIED:
            raise self._fault(path, "is in the archive twice")
        if entry.type == HARDLINK:
            entry.link_path = self._link_target(path, entry.linkname)
        self._kinds[path] = entry.type
        entry.path = path

    def _is_plain(self, name: str) -> bool:
        """Whether `name` is as it should be because it is that of a directory before it and one short component more.

        Most are, and need no looking into the directory's own again.
        """
        directory, _, last = name.rpartition("/")
        return (
            self._kinds.get(directory) == DIRECTORY
            and last not in ("", ".", "..")
            and len(last) <= self._limits.component // 4
            and name.count("/") < self._limits.depth
            and "\0" not in last
        )

    def missing(self) -> list[ArchiveError]:
        """What the archive should have had by its end."""
        faults = []
        if MANIFEST not in self._kinds:
            faults.append(ArchiveError('has no "manifest"', self._where))
        if self._kinds.get(ROOTFS) != DIRECTORY:
            faults.append(ArchiveError('has no entry for the directory "rootfs"', self._where))
        return faults

    def _check_place(self, path: str, entry: Entry) -> None:
        top, _, below = path.partition("/")
        if top == MANIFEST:
            if below or entry.type != FILE:
                raise self._fault(path, "the manifest must be a regular file")
        elif top != ROOTFS:
            raise self._fault(path, 'is neither "manifest" nor below "rootfs"')
        elif not below and entry.type != DIRECTORY:
            raise self._fault(path, f"is a {entry.type} where a directory belongs")

    def _check_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            kind = self._kinds.get(parent)
            if kind is None:
                self._kinds[parent] = _IMPLIED
            elif kind in (DIRECTORY, _IMPLIED):
                return
            else:
                raise self._fault(path, f"lies below {printable(parent)!r}, which is a {kind}")
            parent = parent.rpartition("/")[0]

    def _link_target(self, path: str, linkname: str) -> str:
        shown = printable(linkname)
        try:
            target = safe_name(linkname, self._limits)
        except ArchiveError as error:
            raise self._fault(path, f"is a hard link to {shown!r}: that {error.what}") from None
        if not target.startswith(ROOTFS + "/"):
            raise self._fault(path, f'is a hard link to {shown!r}, which is not below "rootfs"')
        kind = self._kinds.get(target)
        if kind is None:
            raise self._fault(path, f"is a hard link to {shown!r}, which is not in the archive before it")
        if kind in (DIRECTORY, _IMPLIED):
            raise self._fault(path, f"is a hard link to {shown!r}, which is a directory")
        return target

    def _fault(self, path: str, what: str) -> ArchiveError:
        path = printable(path)
        return ArchiveError(what, f"{self._where}: {path}" if self._where else path)
