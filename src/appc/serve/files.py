"""The directory that is served: walked and opened by descriptor, so that nothing outside of it can be meant."""

from __future__ import annotations

import errno
import os
import stat

from appc.errors import HostError, UsageError
from appc.host import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from typing import BinaryIO

# linux/openat2.h
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOENT, errno.EIO, errno.ESTALE)
_MAX_DEPTH = 16
_MAX_FILES = 200_000

SUFFIX = ".aci"
SIGNATURE_SUFFIX = ".asc"
KEYS_DIRECTORY = "keys"
KEYS_FILE = "pubkeys.gpg"

Identity = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, and the times of the last change of content and of status in nanoseconds."""


def identity(status: os.stat_result) -> Identity:
    """What changes when a file does."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Unservable(Exception):
    """A file that is not served; the reason as text."""


class Unsettled(Unservable):
    """A file that could not be read at this moment, and perhaps at the next."""


class Content:
    """What is in an open file of `directory`, for whoever reads all of it: ends when the directory is closing."""

    def __init__(self, directory: Directory, file: BinaryIO | io.RawIOBase) -> None:
        self._directory = directory
        self._file = file

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end. Raises OSError."""
        if self._directory.closing:
            raise InterruptedError(errno.EINTR, "the server ends")
        return self._file.read(size) or b""


class Found:
    """What a walk found: image files, their signatures and key files by path, and what could not be looked at."""

    __slots__ = ("faults", "images", "keys", "signatures")

    def __init__(self) -> None:
        self.images: dict[str, Identity] = {}
        self.signatures: dict[str, Identity] = {}
        self.keys: dict[str, Identity] = {}
        self.faults: dict[str, str] = {}


class Directory:
    """A directory of images. `path` names it in messages; once it is `closing`, nothing long begins or goes on."""

    def __init__(self, path: str) -> None:
        """Raises UsageError for what is no directory, HostError for what cannot be opened."""
        self.path = path
        self.closing = False
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError("is no directory", path) from None
        except OSError as error:
            raise HostError(f"cannot be opened: {error.strerror}", path) from error

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def open(self, path: str) -> int:
        """Open the regular file `path`, relative to the directory. Links are followed as long as they stay inside.

        Raises Unservable.
        """
        try:
            fd = libc.openat2(self.fd, path, _READ, resolve=_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise Unservable("is a link that leads out of the directory") from None
            kind = Unsettled if error.errno in _PASSING else Unservable
            raise kind(f"cannot be opened: {os.strerror(error.errno or 0)}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Unservable("is no regular file")
        return fd

    def open_directory(self, path: str) -> int:
        """Open the directory `path` below this one, "" for itself. Links are followed as long as they stay inside."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        return libc.openat2(self.fd, path or ".", flags, resolve=_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)

    def make_directory(self, path: str) -> int:
        """Open the directory `path` as `open_directory` does; what is missing of it is made."""
        fd = self.open_directory("")
        made = ""
        for name in path.split("/") if path else ():
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
            except FileExistsError:
                pass
            finally:
                os.close(fd)
            made = f"{made}/{name}" if made else name
            fd = self.open_directory(made)
        return fd

    def walk(self) -> Found:
        """Look at every file below the directory; names that begin with a dot are nobody's business."""
        found = Found()
        count = 0
        for path, status in self._files(found):
            count += 1
            if count > _MAX_FILES:
                found.faults["."] = f"has more than {_MAX_FILES} files; the rest is not served"
                break
            kind = _kind(path)
            if not kind:
                continue
            try:
                if not stat.S_ISREG(status.st_mode):
                    # A link may lead to a file that is all right.
                    fd = self.open(path)
                    status = os.fstat(fd)
                    os.close(fd)
                getattr(found, kind)[path] = identity(status)
            except Unservable as error:
                found.faults[path] = str(error)
        return found

    def _files(self, found: Found) -> Iterator[tuple[str, os.stat_result]]:
        """Yield path and status of everything that is no directory, in the order of the names."""
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            try:
                entries = self._entries(directory)
            except OSError as error:
                found.faults[directory or "."] = f"cannot be read: {os.strerror(error.errno or 0)}"
                continue
            below = []
            for name, status in entries:
                path = f"{directory}/{name}" if directory else name
                if not stat.S_ISDIR(status.st_mode):
                    yield path, status
                elif path.count("/") < _MAX_DEPTH:
                    below.append(path)
                else:
                    found.faults[path] = f"lies more than {_MAX_DEPTH} directories deep"
            waiting += reversed(below)

    def _entries(self, directory: str) -> list[tuple[str, os.stat_result]]:
        """Name and status of what is in a directory and has a name that is text."""
        fd = self.open_directory(directory)
        seen = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.name[0] != "." and entry.name.isprintable():
                        try:
                            seen.append((entry.name, entry.stat(follow_symlinks=False)))
                        except FileNotFoundError:
                            # Gone between the two looks.
                            pass
        finally:
            os.close(fd)
        return sorted(seen, key=lambda one: one[0])


def _kind(path: str) -> str:
    """What a file is for, by its name."""
    if path.endswith(SUFFIX):
        return "images"
    if path.endswith(SUFFIX + SIGNATURE_SUFFIX):
        return "signatures"
    top, _, name = path.partition("/")
    key = path == KEYS_FILE or (top == KEYS_DIRECTORY and name.endswith((SIGNATURE_SUFFIX, ".gpg", ".pub")))
    return "keys" if key else ""
