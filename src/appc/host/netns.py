"""Network namespaces that outlive the process that made them: bind mounts of /proc/thread-self/ns/net."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_MS_BIND = 4096  # sys/mount.h
_OWN = "/proc/thread-self/ns/net"


def make(path: str) -> None:
    """Make a network namespace and pin it at `path`, a file that is made for it. Raises OSError."""
    from appc.host import libc

    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        _aside(lambda: libc.unshare(libc.CLONE_NEWNET), lambda: libc.mount(_OWN, path, None, _MS_BIND))
    except BaseException:
        os.unlink(path)
        raise


def inside(path: str, action: Callable[[], T]) -> T:
    """Call `action` with this thread in the namespace pinned at `path`, and come back."""
    from appc.host import libc

    def enter() -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.setns(fd, libc.CLONE_NEWNET)
        finally:
            os.close(fd)

    return _aside(enter, action)


def apart(action: Callable[[], T]) -> T:
    """Call `action` with this thread in a new network namespace, which is gone afterwards."""
    from appc.host import libc

    return _aside(lambda: libc.unshare(libc.CLONE_NEWNET), action)


def ask(path: str, question: Callable[[], str]) -> str:
    """Return what `question`, called by a child in the namespace pinned at `path`, says.

    An ordinary user's process goes there, but would not be let back into the host's.
    """
    from appc.host import libc

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            libc.setns(fd, libc.CLONE_NEWNET)
            os.write(writer, question().encode())
        finally:
            os._exit(0)
    os.close(fd)
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


def remove(path: str) -> None:
    """Take the pin away; the namespace ends with its last process. One that is not there is fine."""
    from appc.host import libc

    try:
        libc.umount2(path, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
    except OSError as error:
        # EINVAL: a pin that was interrupted before its mount.
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _aside(leave: Callable[[], None], action: Callable[[], T]) -> T:
    """Call `leave` and `action`, then bring this thread (and only it was gone) back to its network namespace."""
    from appc.host import libc

    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        leave()
        try:
            return action()
        finally:
            libc.setns(home, libc.CLONE_NEWNET)
    finally:
        os.close(home)
