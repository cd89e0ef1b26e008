"""Locks of the store: flock on files and directories, which the kernel drops with the process that held them."""

from __future__ import annotations

import fcntl
import os

from appc.store.layout import make_directory, store_path

_SLOTS = 64


class Hold:
    """Keeps a directory of the store from being removed, until `close` or until nobody refers to this any more.

    Processes that inherit the descriptor `fd` keep the hold as well.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """End the hold; more than once does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    __del__ = close


def hold(path: str) -> Hold | None:
    """Hold the directory `path` together with others, once nobody holds it alone; None when it is gone."""
    return _lock(path, fcntl.LOCK_SH)


def hold_alone(path: str) -> Hold | None:
    """Hold the directory `path` alone, as its remover must; None when it is gone or somebody holds it."""
    return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(path: str, kind: int) -> Hold | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    held = Hold(fd)
    try:
        fcntl.flock(fd, kind)
        # It may have been moved away before the lock was had.
        if os.path.samestat(os.stat(path), os.fstat(fd)):
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    held.close()
    return None


def lock_source(root: str, status: os.stat_result) -> Hold:
    """Wait until nobody else imports the file with this `status`.

    The locks are a fixed set of files, so none is ever removed; two files that share one merely wait for each other.
    """
    directory = make_directory(store_path(root, "locks"))
    slot = (status.st_dev + status.st_ino) % _SLOTS
    fd = os.open(f"{directory}/{slot}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held = Hold(fd)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return held
