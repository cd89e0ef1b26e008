"""The mounts of a process, what an overlay can stand on, and unmounting what a pod left behind."""

from __future__ import annotations

import errno
import os

from appc.errors import HostError
from appc.host.mountinfo import unescape

# File systems an overlay takes as its upper layer without further question.
_UPPER = frozenset(("ext4", "ext3", "btrfs", "tmpfs", "f2fs", "bcachefs"))
_REFUSED_UPPER = {
    "overlay": "an overlay's upper layer cannot lie on another overlay",
    "nfs": "NFS lacks what an overlay's upper layer needs",
    "nfs4": "NFS lacks what an overlay's upper layer needs",
    "cifs": "SMB lacks what an overlay's upper layer needs",
    "smb3": "SMB lacks what an overlay's upper layer needs",
    "9p": "9p lacks what an overlay's upper layer needs",
    "virtiofs": "virtiofs lacks what an overlay's upper layer needs",
    "vfat": "FAT has no owners and no extended attributes",
    "exfat": "exFAT has no owners and no extended attributes",
    "ramfs": "ramfs has no extended attributes",
    "squashfs": "squashfs is read-only",
    "erofs": "EROFS is read-only",
    "iso9660": "ISO 9660 is read-only",
    "ecryptfs": "eCryptfs is itself stacked on another file system",
    "aufs": "aufs is itself stacked on other file systems",
    "fuse": "a FUSE file system cannot make whiteouts",
    "fuseblk": "a FUSE file system cannot make whiteouts",
}


class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)).

    `path` is the mount point, `root` the directory of the file system that it shows.
    """

    __slots__ = (
        "device",
        "fstype",
        "id",
        "options",
        "parent",
        "path",
        "propagation",
        "root",
        "source",
        "super_options",
    )

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        number, parent, self.device, root, path, options, *propagation = before.split(" ")
        self.fstype, source, super_options = after.split(" ", 2)
        self.id = int(number)
        self.parent = int(parent)
        self.root = unescape(root)
        self.path = unescape(path)
        self.source = unescape(source)
        self.options = tuple(options.split(","))
        self.propagation = tuple(propagation)
        self.super_options = tuple(super_options.split(","))


def parse(mountinfo: str) -> list[Mount]:
    """Parse the text of a mountinfo file, in its order."""
    return [Mount(line) for line in mountinfo.split("\n") if line]


def mounts(pid: str | int = "self", proc: str = "/proc") -> list[Mount]:
    """Return the mounts that process `pid` sees; HostError when its mountinfo cannot be read."""
    path = f"{proc}/{pid}/mountinfo"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return parse(file.read())
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", path) from error


def below(path: str, table: list[Mount]) -> list[Mount]:
    """Return the mounts at `path` or under it, the ones to be unmounted first coming first."""
    prefix = path.rstrip("/") + "/"
    return [mount for mount in reversed(table) if mount.path == path or mount.path.startswith(prefix)]


def of(path: str, table: list[Mount]) -> Mount | None:
    """Return the mount that `path` (which must exist) lies on, None when the table does not show it."""
    real = os.path.realpath(path)
    number = os.stat(real).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    best = None
    for mount in table:
        covers = real == mount.path or real.startswith(mount.path.rstrip("/") + "/")
        # btrfs subvolumes have device numbers that mountinfo does not show.
        if not covers or (mount.device != device and mount.fstype != "btrfs"):
            continue
        if best is None or len(mount.path) >= len(best.path):
            best = mount
    return best


def unmount_below(path: str) -> list[str]:
    """Detach every mount at `path` and under it, lazily and never through a symbolic link.

    Returns the paths unmounted. A mount that went away meanwhile is no error; HostError names the first
    that the kernel refuses to give up, after all were tried.
    """
    found = below(path, mounts())
    if not found:
        return []
    from appc.host import libc

    done = []
    refused = None
    for mount in found:
        try:
            libc.umount2(mount.path, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
            done.append(mount.path)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                refused = refused or HostError(f"cannot be unmounted: {error.strerror}", mount.path)
    if refused:
        raise refused
    return done


def overlay_obstacle(path: str) -> str:
    """Return why no overlay can have its upper layer in the directory `path`, or "" when it can.

    This asks about the file system only; whether the kernel has overlays at all is a host fact.
    """
    mount = of(path, mounts())
    if mount is None:
        return ""
    reason = _REFUSED_UPPER.get(mount.fstype) or _REFUSED_UPPER.get(mount.fstype.partition(".")[0])
    if reason:
        return reason
    if mount.fstype not in _UPPER and not _tells_types(path):
        return f"this {mount.fstype} does not record file types in directories (xfs: made with ftype=0)"
    return ""


def _tells_types(path: str) -> bool:
    """Tell whether readdir on this file system gives the types of entries (d_type), as overlays need.

    An entry whose directory is gone can still say that it was one only if readdir had told.
    """
    probe = f"{path}/.appc-{os.getpid()}"
    try:
        os.mkdir(probe, 0o700)
    except OSError:
        return True  # nothing can be made here, and why not is told by whoever tries
    try:
        with os.scandir(path) as entries:
            found = [entry for entry in entries if entry.path == probe]
    finally:
        os.rmdir(probe)
    return not found or found[0].is_dir(follow_symlinks=False)
