"""Times that depend on what went into a tree and not on when it was built."""

from __future__ import annotations

import os

from appc.errors import InvalidValue
from appc.formats.limits import DEFAULT

# The kernel's clock for files lags behind that of processes by up to a tick.
_TICK = 50_000_000
_SECOND = 1_000_000_000


def settle(root: str, since: int, to: int = 0) -> None:
    """Give everything in the directory `root` that was modified after `since` the time `to` (both ns since 1970).

    Raises InvalidValue for a tree that is too deep for an image.
    Programs that copy a new file with its time may cut that to whole seconds, so it counts from the second's beginning.
    """
    since = (since - _TICK) // _SECOND * _SECOND
    above = []
    for directory, directories, files in os.walk(root):
        if directory.count("/") - root.count("/") > DEFAULT.depth:
            raise InvalidValue(f"something lies more than {DEFAULT.depth} directories deep now, as in no image")
        above += [f"{directory}/{name}" for name in directories]
        for name in files:
            _settle(f"{directory}/{name}", since, to)
    for path in reversed(above):
        _settle(path, since, to)
    _settle(root, since, to)


def _settle(path: str, since: int, to: int) -> None:
    if os.lstat(path).st_mtime_ns >= since:
        os.utime(path, ns=(to, to), follow_symlinks=False)
