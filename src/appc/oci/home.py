"""HOME of a process that is not told: what the root's /etc/passwd says, as engines leave it to the runtime."""

from __future__ import annotations

import errno
import os

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
    """Return the root's passwd; whatever link it is leads nowhere outside the root."""
    # Without waiting: a pipe of that name has nobody at its other end.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _open(directory, flags)
    except OSError:
        return ""
    finally:
        os.close(directory)
    try:
        return os.read(fd, _MOST).decode(errors="replace").replace("\0", "")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _open(root: int, flags: int) -> int:
    try:
        etc = os.open("etc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            return os.open("passwd", flags | os.O_NOFOLLOW, dir_fd=etc)
        finally:
            os.close(etc)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    # One of them is a link. Following it needs ctypes, which costs more than all else that is imported here.
    from appc.host import libc

    return libc.openat2(root, "etc/passwd", flags, resolve=_RESOLVE_IN_ROOT)
