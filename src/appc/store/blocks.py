"""What directories take on disk: blocks, not lengths, and files with several names once."""

from __future__ import annotations

import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# st_blocks counts these, whatever the file system's own are (stat(3type)).
_BLOCK = 512


class Blocks:
    """The space of a directory or several.

    `alone` is the bytes of what has one name, directories included; `linked` maps files with more, by device and
    inode, to their bytes. `Blocks` of different directories can so be compared for what they share.
    """

    __slots__ = ("_elsewhere", "alone", "linked")

    def __init__(self) -> None:
        self.alone = 0
        self.linked: dict[tuple[int, int], int] = {}
        # How many names of each of those were not met.
        self._elsewhere: dict[tuple[int, int], int] = {}

    @property
    def total(self) -> int:
        """All bytes, each file once."""
        return self.alone + sum(self.linked.values())

    @property
    def freed(self) -> int:
        """The bytes that removing all of it gives back: a file that has names elsewhere stays."""
        return self.alone + sum(size for inode, size in self.linked.items() if not self._elsewhere[inode])

    def count(self, status: os.stat_result) -> None:
        """Count one file or directory."""
        if status.st_nlink > 1 and not _is_directory(status):
            inode = status.st_dev, status.st_ino
            self.linked[inode] = status.st_blocks * _BLOCK
            self._elsewhere[inode] = self._elsewhere.get(inode, status.st_nlink) - 1
        else:
            self.alone += status.st_blocks * _BLOCK


def measure(*paths: str) -> Blocks:
    """Return what the files and directories `paths`, and all below them on the same file system, take together.

    What is not there counts nothing; what an app moves meanwhile may be missed. Links are not followed. However deep
    an app has nested its directories, no path gets long and two descriptors do.
    """
    found = Blocks()
    for path in paths:
        try:
            status = os.lstat(path)
            if not _is_directory(status):
                found.count(status)
                continue
            fd = os.open(path, _DIRECTORY)
        except OSError:
            continue
        _walk(fd, found)
    return found


def _walk(fd: int, found: Blocks) -> None:
    """Count the open directory and all below it, and close it."""
    above: list[tuple[os.stat_result, list[str]]] = []
    try:
        here = os.fstat(fd)
        found.count(here)
        waiting = _count_entries(fd, here.st_dev, found)
        while True:
            if waiting:
                name = waiting.pop()
                try:
                    below = os.open(name, _DIRECTORY, dir_fd=fd)
                except OSError:
                    continue
                above.append((here, waiting))
                os.close(fd)
                fd = below
                here = os.fstat(fd)
                waiting = _count_entries(fd, here.st_dev, found)
            elif above:
                here, waiting = above.pop()
                parent = os.open("..", _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = parent
                if not os.path.samestat(here, os.fstat(fd)):
                    return  # moved while we were in it: where the rest is cannot be told
            else:
                return
    finally:
        os.close(fd)


def _count_entries(fd: int, device: int, found: Blocks) -> list[str]:
    """Count what is in a directory; return the names of the directories to go into."""
    directories = []
    try:
        with os.scandir(fd) as scanned:
            entries = list(scanned)
    except OSError:
        return []
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if status.st_dev != device:
            continue
        found.count(status)
        if _is_directory(status):
            directories.append(entry.name)
    return directories


def _is_directory(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000
