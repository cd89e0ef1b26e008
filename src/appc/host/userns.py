"""A network namespace that belongs to a user namespace of its own, or is made where nobody comes back from."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_MS_BIND = 4096  # sys/mount.h


def make_network(path: str, base: int = 0, count: int = 0) -> None:
    """Make a network namespace and pin it at `path`, a file that is made for it.

    It belongs to a new user namespace, which lives as long as it does: users from 0 are the host's from `base`, as
    many as `count`. With a `count` of 0 it belongs to the user namespace of this process, which need not be one that
    is let back into the network it has. Raises OSError.
    """
    from appc.host import libc

    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    # libc is loaded by now: the child does nothing but call it.
    done, tell = os.pipe2(os.O_CLOEXEC)
    waits, proceed = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(proceed)
        _stand_in(tell, waits, own_users=count > 0)
    try:
        os.close(tell)
        word = os.read(done, 8)
        if word != b"made":
            raise OSError(int(word or b"5"), os.strerror(int(word or b"5")), path)
        for name in ("gid_map", "uid_map") if count else ():
            with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                file.write(f"0 {base} {count}\n")
        libc.mount(f"/proc/{pid}/ns/net", path, None, _MS_BIND)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        for fd in (done, proceed, waits):
            os.close(fd)
        os.waitpid(pid, 0)


def _stand_in(tell: int, waits: int, *, own_users: bool) -> NoReturn:
    """Be the first process of the namespaces, until they are pinned."""
    from appc.host import libc

    try:
        # Together: the new network belongs to the new users.
        libc.unshare(libc.CLONE_NEWNET | (libc.CLONE_NEWUSER if own_users else 0))
        os.write(tell, b"made")
        os.read(waits, 1)
    except OSError as error:
        os.write(tell, str(error.errno).encode())
    finally:
        os._exit(0)
