"""Being told when something in a directory changes (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import select
import struct

_libc = ctypes.CDLL(None, use_errno=True)

IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_ONLYDIR = 0x01000000
_CHANGES = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR
_IN_IGNORED = 0x8000
_IN_Q_OVERFLOW = 0x4000
_HEAD = struct.Struct("iIII")
_BUFFER = 64 * 1024


class Watcher:
    """Watches directories for entries that come and go."""

    def __init__(self) -> None:
        self.fd = _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._keys: dict[int, str] = {}

    def add(self, path: str, key: str) -> None:
        """Watch the directory `path`; what happens there is told as `key`. Raises OSError."""
        self._keys[_checked(_libc.inotify_add_watch(self.fd, os.fsencode(path), _CHANGES), path)] = key

    def wait(self, seconds: float) -> set[tuple[str, str]] | None:
        """Return the (key, name) of entries that changed, nothing after `seconds`; None when some were missed."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return set()
        data = os.read(self.fd, _BUFFER)
        changed = set()
        at = 0
        while at < len(data):
            descriptor, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size + length
            if mask & _IN_Q_OVERFLOW:
                return None
            if mask & _IN_IGNORED:
                # The directory is gone.
                self._keys.pop(descriptor, None)
            elif descriptor in self._keys:
                changed.add((self._keys[descriptor], os.fsdecode(data[at - length : at].rstrip(b"\0"))))
        return changed

    def close(self) -> None:
        """Watch no more."""
        os.close(self.fd)


def _checked(result: int, path: str | None = None) -> int:
    if result >= 0:
        return result
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)
