"""What an operating system error means to the person who uses appc."""

from __future__ import annotations

import errno
import os

from appc.errors import EXIT_INTERNAL, EXIT_INVALID

# About the file somebody named, rather than about the machine.
_INPUT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG)

_HINTS = {
    errno.ENOSPC: "free some space; `appc gc` and `appc image gc` remove what is no longer needed",
    errno.EDQUOT: "the quota of this user is used up; `appc gc` and `appc image gc` remove what is no longer needed",
    errno.EROFS: "choose a writable place with --root and --state",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
    errno.ENFILE: "the whole machine has too many open files: sysctl fs.file-max",
    errno.EIO: "the disk or its file system has a fault; see dmesg",
    errno.ENOSYS: "this kernel lacks the call; `appc doctor` shows what is missing",
}
_NOT_ROOT = "run it as root, or choose directories you own with --root and --state"


def explain(error: OSError) -> tuple[int, str, str, str]:
    """Return (exit status, where, what, hint) of an error that has an errno."""
    number = error.errno or 0
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    what = os.strerror(number)
    hint = _HINTS.get(number, "")
    if number in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        hint = _NOT_ROOT
    status = EXIT_INVALID if names and number in _INPUT else EXIT_INTERNAL
    return status, " -> ".join(names), what[:1].lower() + what[1:], hint
