"""Which image a file on this host was, so that running the same file again does not read it again.

One small file per inode says what the file looked like when it was imported. A record only ever leads to an image
that is in the store and was checked when it was imported, so a wrong one could at worst bring back the image that the
file used to be; to avoid even that, a file that changed too recently for its times to tell is not recorded.
"""

from __future__ import annotations

import os
import time

from appc.store.layout import ID_LENGTH, make_directory, store_path

# The kernel's clock for file times ticks this often, at the slowest.
_TICK_NS = 20_000_000
_COARSE_NS = 2_000_000_000


def recall(root: str, status: os.stat_result) -> str | None:
    """Return the ID of the image that the file with this `status` was imported as, None when that is not known."""
    try:
        with open(_path(root, status), encoding="ascii") as stream:
            identity, _, image_id = stream.read(1000).rstrip("\n").rpartition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return image_id if identity == _identity(status) and len(image_id) == ID_LENGTH else None


def remember(root: str, fd: int, status: os.stat_result, image_id: str) -> None:
    """Note that the file open as `fd`, whose status before it was read was `status`, is that image.

    Nothing is noted of a file that has changed since, or whose times are too coarse to show it if it does.
    """
    # A change from now on must give the file another time: wait until the clock has moved on.
    age = time.time_ns() - status.st_ctime_ns
    if 0 <= age < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
    coarse = status.st_ctime_ns % 1_000_000_000 == 0
    if age < 0 or (coarse and age < _COARSE_NS) or _identity(os.fstat(fd)) != _identity(status):
        return
    make_directory(store_path(root, "sources"))
    # A reader that meets half a record takes it for none.
    with open(_path(root, status), "w", encoding="ascii") as stream:
        stream.write(f"{_identity(status)} {image_id}\n")


def _path(root: str, status: os.stat_result) -> str:
    return store_path(root, "sources", f"{status.st_dev:x}-{status.st_ino:x}")


def _identity(status: os.stat_result) -> str:
    return f"1 {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
