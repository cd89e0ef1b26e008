"""Starting the metadata service, so that there is one for the pods of a root, and ending it."""

from __future__ import annotations

import _socket
import fcntl
import os
import time

from appc.errors import HostError
from appc.metadata.access import socket_path
from appc.metadata.server import IDLE_SECONDS, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TAKEOVER_SECONDS = 5.0
_TAKEOVER_STEP_SECONDS = 0.002
_BACKLOG = 128


def serve(root: str, state: str, idle: float = IDLE_SECONDS, first_answer: Callable[[], None] | None = None) -> bool:
    """Serve the pods below `root` until `idle` seconds pass without a request or the last pod has ended.

    Returns False, at once, when another process serves them. `first_answer` is called when the first
    request has been answered. Raises HostError when the socket in the directory `state` cannot be made.
    """
    path = socket_path(root, state)
    try:
        os.makedirs(state, 0o700, exist_ok=True)
        directory = os.open(state, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        try:
            # By way of the descriptor, as a socket's path may not be longer than 107 bytes.
            name = f"/proc/self/fd/{directory}/{os.path.basename(path)}"
            lock = os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if not _alone(lock, name):
                return False
            server = Server(os.path.abspath(root), _open_door(name), idle, first_answer)
            try:
                server.run()
            finally:
                # From here on a keeper that finds nobody starts the next service, which waits for the lock.
                os.unlink(name)
                server.close()
                os.close(lock)
        finally:
            os.close(directory)
    except OSError as error:
        raise HostError(error.strerror or str(error), path) from None
    return True


def _alone(lock: int, name: str) -> bool:
    """Take the lock; False when its holder serves. One that is just starting or leaving is waited for."""
    end = time.monotonic() + _TAKEOVER_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _answers(name) or time.monotonic() > end:
                return False
            time.sleep(_TAKEOVER_STEP_SECONDS)
        else:
            return True


def _answers(name: str) -> bool:
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        probe.connect(name)
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _open_door(name: str) -> _socket.socket:
    """Bind the socket on which keepers come; the caller holds the lock, so an old one is a dead one's."""
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass
    door = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)
    try:
        door.bind(name)
    finally:
        os.umask(mask)
    door.listen(_BACKLOG)
    return door
