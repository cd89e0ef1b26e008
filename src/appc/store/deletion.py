"""Deleting directories, however deep they are."""

from __future__ import annotations

import errno
import os

from appc.errors import HostError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete_tree(path: str, last: str = "") -> None:
    """Delete a directory and everything below it, however deep it is nested; HostError if it will not go.

    Each directory is moved to the top before it is emptied, so that neither the length of a path nor the number
    of open directories grows with the depth. No symbolic link is followed. A file called `last` goes when all else is
    gone; who makes another of that name then goes on with the directory in our place.
    """
    try:
        top = os.open(path, _DIRECTORY)
        try:
            _empty(top, last)
            os.rmdir(path)
        finally:
            os.close(top)
    except FileNotFoundError:
        return
    except OSError as error:
        if last and error.errno == errno.ENOTEMPTY:
            return
        # Even root removes no file that is marked immutable or append-only.
        hint = f"chattr -R -ia {path}" if error.errno == errno.EPERM else ""
        raise HostError(f"cannot be removed: {os.strerror(error.errno or 0)}", path, hint) from None


def _empty(top: int, last: str) -> None:
    waiting = _unlink_files(top, last)
    number = 0
    while waiting:
        name = waiting.pop()
        here = os.open(name, _DIRECTORY, dir_fd=top)
        try:
            for inner in _unlink_files(here):
                number += 1
                moved = f".deleted-{number}"
                while _exists(moved, top):
                    number += 1
                    moved = f".deleted-{number}"
                os.rename(inner, moved, src_dir_fd=here, dst_dir_fd=top)
                waiting.append(moved)
        finally:
            os.close(here)
        os.rmdir(name, dir_fd=top)
    if last and _exists(last, top):
        os.unlink(last, dir_fd=top)


def _unlink_files(directory: int, kept: str = "") -> list[str]:
    """Unlink what is no directory, but for one called `kept`; return the names of the directories."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory and name != kept:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in found if is_directory]


def _exists(name: str, directory: int) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True
