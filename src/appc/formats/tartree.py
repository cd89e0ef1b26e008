"""Walking a directory tree in one fixed order, every file described as an archive needs it."""

from __future__ import annotations

import os
import stat

from appc.errors import ArchiveError
from appc.formats.extract import Record
from appc.formats.limits import DEFAULT
from appc.formats.tarnames import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}
_CHUNK = 1 << 20
# What the host's kernel keeps in attributes for itself: labels, measurements, overlay's bookkeeping.
_HOST_XATTRS = (
    "security.selinux",
    "security.SMACK64",
    "security.apparmor",
    "security.ima",
    "security.evm",
    "trusted.overlay.",
    "user.overlay.",
)


class Walk:
    """The entries below `root_fd` (which stays the caller's), parents first, names in byte order.

    Yields (record, descriptor): paths are relative ("" is the root), a further link to a file seen before is
    a hard link to the first, and the descriptor is that of an open file, valid until the next step, or -1.
    `hashing` is the caller's: `Record.sha256` is left empty. Sockets are left out; `warnings` says so.
    `where` stands before paths in errors. A file that cannot be read raises ArchiveError, and so does a directory that
    is deeper than any in an archive may be.
    """

    def __init__(self, root_fd: int, where: str = "") -> None:
        self._root = root_fd
        self._where = where
        self._links: dict[tuple[int, int], str] = {}
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[tuple[Record, int]]:
        yield self._record("", DIRECTORY, os.fstat(self._root), _xattrs(self._root)), -1
        yield from self._directory(self._root, "")

    def _directory(self, fd: int, above: str) -> Iterator[tuple[Record, int]]:
        names = sorted(os.fsencode(name) for name in os.listdir(fd))
        if names and above.count("/") + 1 >= DEFAULT.depth:
            raise ArchiveError(f"is more than {DEFAULT.depth} directories deep", self._place(above))
        for raw in names:
            name = raw.decode("utf-8", "surrogateescape")
            path = f"{above}/{name}" if above else name
            try:
                yield from self._entry(fd, raw, path)
            except OSError as error:
                raise ArchiveError(f"cannot be read: {error.strerror}", self._place(path)) from error

    def _entry(self, parent: int, name: bytes, path: str) -> Iterator[tuple[Record, int]]:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            self.warnings.append(f"{self._place(path)}: is a socket and was left out")
            return
        if kind != DIRECTORY and status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                record = self._record(path, HARDLINK, status, {})
                record.linkname = first
                yield record, -1
                return
        if kind in (FILE, DIRECTORY):
            fd = os.open(name, _OPEN_DIR if kind == DIRECTORY else _OPEN_FILE, dir_fd=parent)
            try:
                opened = os.fstat(fd)
                if (opened.st_dev, opened.st_ino) != (status.st_dev, status.st_ino):
                    raise ArchiveError("was replaced while it was read", self._place(path))
                yield self._record(path, kind, opened, _xattrs(fd)), fd if kind == FILE else -1
                if kind == DIRECTORY:
                    yield from self._directory(fd, path)
            finally:
                os.close(fd)
            return
        xattrs = _xattrs(b"/proc/self/fd/%d/%b" % (parent, name))
        record = self._record(path, kind, status, xattrs)
        if kind == SYMLINK:
            record.linkname = os.readlink(name, dir_fd=parent).decode("utf-8", "surrogateescape")
        yield record, -1

    def _record(self, path: str, kind: str, status: os.stat_result, xattrs: dict[str, bytes]) -> Record:
        device = status.st_rdev if kind in (CHAR, BLOCK_DEVICE) else 0
        return Record(
            path,
            kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind == FILE else 0,
            mtime_ns=status.st_mtime_ns,
            devmajor=os.major(device),
            devminor=os.minor(device),
            xattrs=xattrs,
        )

    def _place(self, path: str) -> str:
        return f"{self._where}/{printable(path)}" if self._where else printable(path)


def content(fd: int, size: int) -> Iterator[bytes]:
    """A file of `size` bytes in pieces; stops at its end, or after `size` bytes should it have grown."""
    while size > 0:
        data = os.read(fd, min(size, _CHUNK))
        if not data:
            return
        size -= len(data)
        yield data


def _xattrs(file: int | bytes) -> dict[str, bytes]:
    """The extended attributes that are the file's own; those that are the host's stay behind."""
    if not hasattr(os, "listxattr"):
        return {}
    try:
        names = os.listxattr(file, follow_symlinks=isinstance(file, int))
    except OSError:
        # The file system has none, or does not show them.
        return {}
    found = {}
    for name in sorted(names):
        if not name.startswith(_HOST_XATTRS):
            key = os.fsencode(name).decode("utf-8", "surrogateescape")
            found[key] = os.getxattr(file, name, follow_symlinks=isinstance(file, int))
    return found
