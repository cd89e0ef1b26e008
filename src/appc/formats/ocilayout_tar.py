"""Layouts and docker archives inside one tar: found by one pass over its headers, then read in place."""

from __future__ import annotations

import os
import posixpath

from appc.errors import ArchiveError
from appc.formats.limits import DEFAULT, Limits
from appc.formats.tar import DIRECTORY, FILE, HARDLINK, SYMLINK, Reader, printable, safe_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.compress import Source
    from appc.formats.tar import Entry

_MAX_HOPS = 10


class _Position:
    """A log (`formats.tar.Log`) that only counts what the reader went past, to know where a file's content begins."""

    def __init__(self) -> None:
        self.at = 0

    def raw(self, data: bytes) -> None:
        self.at += len(data)

    def content(self, entry: Entry) -> None:
        self.at += entry.size

    def close(self, size: int, sha512: bytes) -> None:
        """The archive has ended."""


class TarBlobs:
    """The files of an uncompressed archive, given as a descriptor that can be read at any offset.

    Names that occur twice are refused: which one counts would differ from reader to reader.
    """

    def __init__(self, fd: int, source: Source, where: str, limits: Limits = DEFAULT) -> None:
        self.where = where
        self._fd = fd
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        position = _Position()
        for entry in Reader(source, limits, where, position):
            name = self._name(entry)
            if not name or entry.type == DIRECTORY:
                continue
            if name in self._files or name in self._links:
                raise ArchiveError("is in the archive twice", f"{where}: {printable(name)}")
            if entry.type == FILE and entry.sparse is None:
                self._files[name] = (position.at, entry.size)
            elif entry.type == SYMLINK:
                self._links[name] = posixpath.join(posixpath.dirname(name), entry.linkname)
            elif entry.type == HARDLINK:
                self._links[name] = entry.linkname
            else:
                raise ArchiveError(f"is a {entry.type}, not a plain file", f"{where}: {printable(name)}")

    def has(self, path: str) -> bool:
        """Whether there is a file or a link of that name."""
        return path in self._files or path in self._links

    def names(self) -> set[str]:
        """The names of all files and links."""
        return {*self._files, *self._links}

    def open(self, path: str) -> TarBlob:
        """Open a file of the archive, through links inside it."""
        name = path
        for _ in range(_MAX_HOPS):
            if name in self._files:
                return TarBlob(self._fd, *self._files[name], f"{self.where}: {printable(path)}")
            if name not in self._links:
                break
            name = self._target(path, self._links[name])
        else:
            raise ArchiveError("is a link to itself, or through too many others", f"{self.where}: {printable(path)}")
        raise ArchiveError("is missing", f"{self.where}: {printable(path)}")

    def _target(self, path: str, link: str) -> str:
        target = posixpath.normpath(link)
        if target.startswith(("/", "../")):
            raise ArchiveError("is a link that leaves the archive", f"{self.where}: {printable(path)}")
        return target

    def _name(self, entry: Entry) -> str:
        try:
            return safe_name(entry.name)
        except ArchiveError as error:
            raise ArchiveError(error.what, f"{self.where}: {printable(entry.name)}") from None


class TarBlob:
    """One file of the archive, read from its beginning."""

    __slots__ = ("_at", "_end", "_fd", "_where", "size")

    def __init__(self, fd: int, offset: int, size: int, where: str) -> None:
        self._fd = fd
        self._at = offset
        self._end = offset + size
        self._where = where
        self.size = size

    def __enter__(self) -> TarBlob:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int, /) -> bytes:
        """Up to `size` of the next bytes, b"" at the end."""
        if self._at >= self._end:
            return b""
        try:
            data = os.pread(self._fd, min(size, self._end - self._at), self._at)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", self._where) from None
        if not data:
            raise ArchiveError("became shorter while it was read", self._where)
        self._at += len(data)
        return data
