"""HOME of a process that is not told: what the root's /etc/passwd says, as engines leave it to the runtime."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RESOLVE_IN_ROOT = 0x10  # linux/openat2.h
_MOST = 1 << 20  # bytes of a passwd that are looked at
_FIELDS = 7


def with_home(process: dict[str, Any], root: str) -> dict[str, Any]:
    """Return `process` with HOME in its environment; `root` is the root's path on the host."""
    environment = process.get("env") or []
    if any(variable.startswith("HOME=") for variable in environment):
        return process
    home = _home(root, (process.get("user") or {}).get("uid", 0))
    return {**process, "env": [*environment, f"HOME={home}"]}


def _home(root: str, uid: int) -> str:
    for line in _passwd(root).split("\n"):
        fields = line.split(":")
        if len(fields) == _FIELDS and fields[2] == str(uid) and fields[5].startswith("/"):
            return fields[5]
    return "/"


def _passwd(root: str) -> str:
    """Return the root's passwd; whatever link it is leads nowhere outside the root.

    It is opened when it is known to be a file: to open a device that an image has there does something to the host.
    """
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = _find(directory)
    except OSError:
        return ""
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return ""
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, _MOST).decode(errors="replace").replace("\0", "")
        finally:
            os.close(fd)
    except OSError:
        return ""
    finally:
        os.close(place)


def _find(root: int) -> int:
    """Return a descriptor of the place of the passwd, by which it is not opened."""
    try:
        etc = os.open("etc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            place = os.open("passwd", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=etc)
        finally:
            os.close(etc)
        if not stat.S_ISLNK(os.fstat(place).st_mode):
            return place
        os.close(place)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    # One of them is a link. Following it needs ctypes, which costs more than all else that is imported here.
    from appc.host import libc

    return libc.openat2(root, "etc/passwd", os.O_PATH | os.O_CLOEXEC, resolve=_RESOLVE_IN_ROOT)
