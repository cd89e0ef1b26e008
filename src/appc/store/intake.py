"""What happens to bytes and entries on their way through an import."""

from __future__ import annotations

import os

from appc.errors import ArchiveError, StoreError
from appc.formats.tar import CHAR
from appc.store.durable import WriteBack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.formats.compress import Source
    from appc.formats.extract import Extractor, Record
    from appc.formats.tar import Entry
    from appc.store.images import Verifier
    from appc.store.records import RecordWriter

# Left free on the store's file system, whatever is imported: a twentieth of it, but not more than this.
MOST_RESERVED = 1 << 30

# The kernel takes no longer path (limits.h), and its last byte is a NUL.
PATH_MAX = 4095

CHANGED = "changed while it was read"

_LOOK_EVERY = 16 << 20
_CHUNK = 1 << 20

# Overlayfs would take these for its own (Documentation/filesystems/overlayfs.rst).
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")


class Space:
    """Watches over the free space of the store's file system while something is written to it."""

    def __init__(self, directory: str, where: str) -> None:
        self._directory = directory
        self._where = where
        self._unseen = 0
        self._look(0)

    def take(self, size: int) -> None:
        """Announce that `size` bytes are about to be written. Raises StoreError when they do not fit."""
        self._unseen += size
        if self._unseen >= _LOOK_EVERY:
            self._look(size)
            self._unseen = 0

    def _look(self, size: int) -> None:
        found = os.statvfs(self._directory)
        free = found.f_bavail * found.f_frsize
        reserve = min(MOST_RESERVED, found.f_blocks * found.f_frsize // 20)
        if free - size < reserve:
            raise StoreError(
                f"does not fit: {free >> 20} MiB are free where the store is, of which {reserve >> 20} MiB stay free",
                self._where,
                "`appc image gc` and `appc gc` remove what is not in use",
            )


class Tee:
    """The file being imported: what is read from it goes to the verifier and, with `copy`, to that file as well.

    A file that turns out to be longer than `most` bytes is being written to, and might never end.
    """

    def __init__(
        self,
        stream: Source,
        where: str,
        check: Verifier | None,
        copy: str,
        space: Space,
        progress: Callable[[int], None] | None,
        most: int | None,
    ) -> None:
        self._progress = progress
        self._most = most
        self._stream = stream
        self._where = where
        self._check = check
        self._space = space
        self._copy = open(copy, "xb") if copy else None  # noqa: SIM115 - closed by __exit__
        self._disk = WriteBack(self._copy.fileno()) if self._copy is not None else None
        self.count = 0

    def __enter__(self) -> Tee:
        return self

    def __exit__(self, *_: object) -> None:
        if self._copy is not None:
            self._copy.close()

    def read(self, size: int, /) -> bytes:
        """The next bytes of the file, b"" at its end."""
        try:
            data = self._stream.read(size)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", self._where) from None
        self.count += len(data)
        if self._most is not None and self.count > self._most:
            raise ArchiveError(CHANGED, self._where)
        if self._check is not None:
            self._check.feed(data)
        if self._copy is not None and self._disk is not None:
            self._space.take(len(data))
            self._copy.write(data)
            self._disk.wrote(len(data))
        if self._progress is not None:
            self._progress(len(data))
        return data

    def drain(self) -> None:
        """Read what is left: a signature covers the file to its end, whatever the archive in it needs."""
        while self.read(_CHUNK):
            pass


class Sink:
    """Takes the archive's entries: extracts them, records them, and notes what matters for rendering.

    `prefix` is how long the path of the tree in the store will be. `size` is the bytes of all files; `special` says
    what in the tree overlayfs would not show as it is, "" for nothing.
    """

    def __init__(self, extractor: Extractor, records: RecordWriter, space: Space, prefix: int, where: str) -> None:
        self._longest = PATH_MAX - prefix
        self._where = where
        self._extractor = extractor
        self._records = records
        self._space = space
        self.size = 0
        self.special = ""

    def entry(self, entry: Entry) -> None:
        """Take the next entry below rootfs."""
        path = entry.path
        # A character takes four bytes at most.
        if len(path) > self._longest // 4 and len(path.encode("utf-8", "surrogateescape")) > self._longest:
            raise ArchiveError(
                f"has a path of more than {self._longest} bytes, which no path in the store can hold", self._where
            )
        self._space.take(entry.size)
        record = self._extractor.entry(entry)
        self._records.add(record)
        self.size += record.size
        if not self.special and (record.xattrs or record.type == CHAR):
            self.special = _special(record)


def _special(record: Record) -> str:
    if record.type == CHAR and record.devmajor == 0 and record.devminor == 0:
        return f"/{record.path} is a character device 0:0, which overlayfs takes for a deletion"
    if any(name.startswith(_OVERLAY_XATTRS) for name in record.xattrs):
        return f"/{record.path} has an extended attribute that overlayfs takes for its own"
    return ""
