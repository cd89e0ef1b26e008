"""Making files as another user, with all privileges kept."""

from __future__ import annotations

from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CAPABILITY_VERSION_3 = 0x20080522


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Let what this thread makes belong to the user `uid` and the group `gid`. Raises OSError.

    In a mount whose owners are mapped nothing can be made by a user that is not.
    """
    if (uid, gid) == (0, 0):
        yield
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    before = libc.setfsuid(-1), libc.setfsgid(-1)
    if libc.capget(header, sets) < 0:
        raise OSError(ctypes.get_errno(), "capget")
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    try:
        # The change of user took those away that concern files.
        if libc.capset(header, sets) < 0:
            raise OSError(ctypes.get_errno(), "capset")
        yield
    finally:
        libc.setfsuid(before[0])
        libc.setfsgid(before[1])
        libc.capset(header, sets)
