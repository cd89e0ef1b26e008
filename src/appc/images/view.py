"""A look into an app's root before it exists: several image trees, seen as the one tree overlayfs will show.

Paths are resolved inside the merged tree: absolute links and `..` never lead out of it, and every component is looked
at without being followed, so nothing an image contains can name a file of the host. The trees must not be changing.
"""

from __future__ import annotations

import errno
import os
import stat

MAX_LINKS = 40  # as the kernel's limit on a path


class TreeView:
    """The merged tree of `lowers`, topmost first. Errors are the OSErrors that the same call inside the root gives."""

    __slots__ = ("lowers",)

    def __init__(self, lowers: tuple[str, ...]) -> None:
        self.lowers = lowers

    def lookup(self, path: str, follow: bool = True) -> tuple[str, tuple[str, ...]]:
        """Return (path without links, host paths it stands for); several for a directory merged from several trees.

        The first host path is the one whose owner, mode and content count. With `follow` false a link in the last
        place is returned itself. Raises FileNotFoundError, NotADirectoryError or OSError(ELOOP).
        """
        waiting = _components(path)
        above: list[tuple[str, tuple[str, ...]]] = []  # resolved so far: (name, the directories it stands for)
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                if above:
                    above.pop()
                continue
            found, mode = _child(above[-1][1] if above else self.lowers, name)
            if not found:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if stat.S_ISLNK(mode) and (follow or waiting):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(found[0])
                if target.startswith("/"):
                    above.clear()
                waiting.extend(_components(target))
                continue
            if waiting and not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            above.append((name, found))
        return "/" + "/".join(name for name, _ in above), above[-1][1] if above else self.lowers

    def stat(self, path: str, follow: bool = True) -> os.stat_result:
        """Return what stat(2) of `path` (lstat(2) with `follow` false) would say in the root."""
        return os.lstat(self.lookup(path, follow)[1][0])

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        hosts = self.lookup(path)[1]
        return sorted({name for host in hosts for name in os.listdir(host)})

    def read(self, path: str, limit: int, count: int = -1) -> bytes:
        """Return a regular file's content, or its first `count` bytes.

        Raises OSError(EFBIG) for a file of more than `limit` bytes, EINVAL for what is not a regular file.
        """
        host = self.lookup(path)[1][0]
        # To open a device does something to the host, and a pipe may block: so not by its name alone.
        _check_regular(os.lstat(host), path)
        fd = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(fd)
            _check_regular(status, path)
            if status.st_size > limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            pieces = []
            left = status.st_size if count < 0 else min(count, status.st_size)
            while left and (piece := os.read(fd, left)):
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return os.readlink(self.lookup(path, follow=False)[1][0])


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


def _components(path: str) -> list[str]:
    """The names in `path`, last first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _child(parents: tuple[str, ...], name: str) -> tuple[tuple[str, ...], int]:
    """What `name` stands for in directories stacked topmost first: the first tree that has it decides its type.

    Directories merge downwards until a tree has something else of that name.
    """
    found: list[str] = []
    top = 0
    for parent in parents:
        path = f"{parent}/{name}"
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not found:
            found.append(path)
            top = mode
            if not stat.S_ISDIR(mode):
                break
        elif stat.S_ISDIR(mode):
            found.append(path)
        else:
            break
    return tuple(found), top
