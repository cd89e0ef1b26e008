"""The options of `mounts[]` (runtime-spec, "Linux mount options") as attributes, data and propagation."""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.plan.constants import (
    ATTR_ATIME,
    ATTR_NOATIME,
    ATTR_NODEV,
    ATTR_NODIRATIME,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_NOSYMFOLLOW,
    ATTR_RDONLY,
    ATTR_STRICTATIME,
    MS_REC,
    PROPAGATION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# option → (field, value): the option gives that field of the attributes that value. With an "r" before it, it also
# holds for everything mounted below.
_FIELDS = {
    "ro": (ATTR_RDONLY, ATTR_RDONLY),
    "rw": (ATTR_RDONLY, 0),
    "nosuid": (ATTR_NOSUID, ATTR_NOSUID),
    "suid": (ATTR_NOSUID, 0),
    "nodev": (ATTR_NODEV, ATTR_NODEV),
    "dev": (ATTR_NODEV, 0),
    "noexec": (ATTR_NOEXEC, ATTR_NOEXEC),
    "exec": (ATTR_NOEXEC, 0),
    "nosymfollow": (ATTR_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
    "symfollow": (ATTR_NOSYMFOLLOW, 0),
    "nodiratime": (ATTR_NODIRATIME, ATTR_NODIRATIME),
    "diratime": (ATTR_NODIRATIME, 0),
    "noatime": (ATTR_ATIME, ATTR_NOATIME),
    "strictatime": (ATTR_ATIME, ATTR_STRICTATIME),
    "relatime": (ATTR_ATIME, 0),
    "atime": (ATTR_ATIME, 0),
    "norelatime": (ATTR_ATIME, 0),
    "nostrictatime": (ATTR_ATIME, 0),
}
# What every mount is without being told, and what only concerns the kernel's log.
_NEUTRAL = ("defaults", "async", "nolazytime", "nomand", "noiversion", "silent", "loud")
# Properties of a file system as a whole; a bind mount cannot change them, and mount(8) does not try.
_SUPERBLOCK = ("sync", "dirsync", "lazytime", "mand")
# All that concern the mount and not its file system.
SUPPORTED = (
    *_FIELDS,
    *(f"r{name}" for name in _FIELDS),
    *(f"{r}{kind}" for kind in PROPAGATION for r in ("", "r")),
    *("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"),
    *_NEUTRAL,
)
_IMPOSSIBLE = {
    "iversion": "is decided by the file system itself",
}


class MountOptions:
    """The options of one mount, sorted by what they mean.

    `attributes` hold for the mount itself; `below_set` and `below_clear` for it and all mounts below. `data` goes to
    the file system. `propagation` is 0 or what mount(2) calls it, with MS_REC when it holds for all below, too. `bind`,
    `recursive`, `remount` and `copy_up` tell what kind of mount it is; one that is `mapped` has its owners mapped.
    """

    __slots__ = (
        "attributes",
        "below_clear",
        "below_set",
        "bind",
        "copy_up",
        "data",
        "mapped",
        "propagation",
        "recursive",
        "remount",
    )

    def __init__(self, options: Sequence[str], is_bind: bool, where: str) -> None:
        """Sort `options`; Unenforceable, at `where[i]`, for one that cannot be honoured."""
        self.attributes = self.below_set = self.below_clear = 0
        self.bind = is_bind or "bind" in options or "rbind" in options
        self.recursive = "rbind" in options
        self.remount = "remount" in options
        self.mapped = "idmap" in options or "ridmap" in options
        self.copy_up = "tmpcopyup" in options
        self.data: list[str] = []
        self.propagation = 0
        for index, option in enumerate(options):
            self._take(option, f"{where}[{index}]")

    def _take(self, option: str, where: str) -> None:
        if option in _FIELDS:
            field, value = _FIELDS[option]
            self.attributes = self.attributes & ~field | value
        elif option[:1] == "r" and option[1:] in _FIELDS and option != "ro":
            field, value = _FIELDS[option[1:]]
            self.below_set = self.below_set & ~field | value
            # Setting an access time clears the others by itself.
            self.below_clear = self.below_clear & ~field | (0 if value else field)
        elif option in PROPAGATION or (option[:1] == "r" and option[1:] in PROPAGATION):
            self.propagation = PROPAGATION[option] if option in PROPAGATION else MS_REC | PROPAGATION[option[1:]]
        elif option in _IMPOSSIBLE:
            raise Unenforceable(f"mount option {option} {_IMPOSSIBLE[option]}", where)
        elif option in _NEUTRAL or option in ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"):
            pass
        elif not self.bind:
            self.data.append(option)
        elif option not in _SUPERBLOCK and "=" not in option:
            # Data for a file system is what mount(2) ignores here; a word alone may be a misspelt "ro".
            raise Unenforceable(f"a bind mount has no option {option}", where)


def below(path: str, directory: str) -> bool:
    """Tell whether `path` lies below `directory` (both absolute and clean)."""
    return path != directory and path.startswith(directory if directory == "/" else directory + "/")


def clean(path: str, where: str) -> str:
    """Return the absolute form of a path of the container, without empty parts; Unenforceable when it has "..".

    A relative path is meant relative to "/" (runtime-spec, `mounts[].destination`).
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Unenforceable(f"{path} contains ..", where, "write the path it stands for")
    return "/" + "/".join(parts)
