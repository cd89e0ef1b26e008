"""What a tree holds, wherever it is: images in the store or in files, rendered roots, directories, pods' layers."""

from __future__ import annotations

import hashlib
import os
import stat

from appc.errors import ArchiveError
from appc.formats.extract import Record
from appc.formats.tar import CHAR, DIRECTORY, FILE, HARDLINK
from appc.formats.tartree import Walk
from appc.store.records import read_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.formats.compress import Source
    from appc.formats.tar import Entry
    from appc.images.merge import Node
    from appc.store.images import StoredImage

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_CHUNK = 1 << 20


class Snapshot:
    """A tree's entries by path ("" is its root), and the manifest that goes with it (b"" for none).

    Entries that are hard links have the record of what they link to; `links` gives for each of several names of one
    file the first of them in alphabetical order. Contents of files in `directories` are hashed when asked for.
    """

    def __init__(self, manifest: bytes = b"") -> None:
        self.manifest = manifest
        self.entries: dict[str, Record] = {}
        self.links: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def sha256(self, path: str) -> str:
        """The hexadecimal digest of the content of the file at `path`. Raises ArchiveError when it cannot be read."""
        record = self.entries[path]
        if not record.sha256:
            record.sha256 = _sha256(self._places[path])
        return record.sha256

    def add(self, records: Iterable[Record], directory: str = "") -> None:
        """Take the records of a tree; with `directory`, where their contents are."""
        names: dict[str, list[str]] = {}
        for record in records:
            first = record.linkname if record.type == HARDLINK else record.path
            self.entries[record.path] = self.entries[first] if record.type == HARDLINK else record
            names.setdefault(first, []).append(record.path)
            if directory:
                self._places[record.path] = f"{directory}/{first}"
        for group in names.values():
            if len(group) > 1:
                self.links.update(dict.fromkeys(group, min(group)))

    def cover(self, upper: str) -> None:
        """Put the overlay layer `upper` on top: what it holds replaces, its whiteouts remove."""
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            records = []
            whiteouts = set()
            for record, _ in Walk(fd, upper):
                # Overlayfs makes whiteouts as links to one another.
                if is_whiteout(record) or (record.type == HARDLINK and record.linkname in whiteouts):
                    whiteouts.add(record.path)
                    self._remove(record.path)
                    continue
                if record.type != DIRECTORY or is_opaque(f"{upper}/{record.path}"):
                    self._remove(record.path)
                records.append(record)
        finally:
            os.close(fd)
        self.add(records, upper)

    def _remove(self, path: str) -> None:
        there = self.entries.pop(path, None)
        self.links.pop(path, None)
        if there is not None and there.type == DIRECTORY:
            for below in [one for one in self.entries if one.startswith(path + "/")]:
                del self.entries[below]
                self.links.pop(below, None)


def of_image(image: StoredImage) -> Snapshot:
    """The files of an image in the store, without those of its dependencies."""
    snapshot = Snapshot(image.manifest_bytes)
    snapshot.add(read_records(f"{image.path}/entries"))
    return snapshot


def of_node(root: Node, manifest: bytes) -> Snapshot:
    """What an image and its dependencies come to; see `images.merge`."""
    snapshot = Snapshot(manifest)
    names: dict[tuple[str, str], list[str]] = {}
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        snapshot.entries[path] = node.record
        if node.children is None and node.image is not None:
            names.setdefault((node.image.id, node.record.path), []).append(path)
        for name, child in (node.children or {}).items():
            waiting.append((f"{path}/{name}" if path else name, child))
    for group in names.values():
        if len(group) > 1:
            snapshot.links.update(dict.fromkeys(group, min(group)))
    return snapshot


def of_file(source: Source, where: str) -> Snapshot:
    """An image file, read to its end in constant memory but for the names. Raises ArchiveError."""
    from appc.formats.aci import read_aci

    sink = _Recorder()
    read = read_aci(source, sink, where=where)
    snapshot = Snapshot(read.manifest_bytes)
    snapshot.add(sink.records)
    return snapshot


def of_directory(path: str) -> Snapshot:
    """A directory: a layout (`manifest` and `rootfs`), or a root file system."""
    from appc.formats.layout import read_small

    manifest = b""
    rootfs = os.path.join(path, "rootfs")
    if os.path.isfile(os.path.join(path, "manifest")) and os.path.isdir(rootfs):
        manifest = read_small(None, os.path.join(path, "manifest"), os.path.join(path, "manifest"))
        path = rootfs
    snapshot = Snapshot(manifest)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", path) from None
    try:
        snapshot.add((record for record, _ in Walk(fd, path)), path)
    finally:
        os.close(fd)
    return snapshot


class _Recorder:
    """Takes the entries of an archive and keeps what describes them."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def entry(self, entry: Entry) -> None:
        """Record one entry, with the digest of its content."""
        digest = ""
        if entry.type == FILE:
            hashed = hashlib.sha256()
            for data in entry.chunks():
                hashed.update(data)
            digest = hashed.hexdigest()
        record = Record.of(entry, entry.path.partition("/")[2], digest)
        if entry.type == HARDLINK:
            record.linkname = entry.link_path.partition("/")[2]
        self.records.append(record)


def is_whiteout(record: Record) -> bool:
    """Whether an entry of an overlay's layer says that there is nothing."""
    return record.type == CHAR and record.devmajor == record.devminor == 0


def is_opaque(path: str) -> bool:
    """Whether a directory of an overlay's layer hides what lies below it in the same place."""
    for name in _OPAQUE:
        try:
            if os.getxattr(os.fsencode(path), name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        # What was a file when the tree was walked may have become something that blocks.
        fd = os.open(os.fsencode(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ArchiveError("was replaced while it was read", path)
            while data := stream.read(_CHUNK):
                digest.update(data)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", path) from None
    return digest.hexdigest()
