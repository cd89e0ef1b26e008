"""Overlays that a build works on: trees over each other below a layer that takes the changes.

Whoever mounts one is in a mount namespace of its own, so a killed build leaves no mount.
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host import libc, probe

# Renamed directories and changed modes are written out, so that a layer means the same without the trees below it.
_WHOLE = "redirect_dir=off,metacopy=off,index=off"
_MS_RDONLY = 1
# Linux takes 500, and every one more makes each mount dearer.
_MOST_TREES = 400


class Overlay:
    """`lowers`, topmost first, seen at `root`, which lies in `directory` with all that the mount needs."""

    def __init__(self, directory: str, lowers: tuple[str, ...]) -> None:
        self.lowers = lowers
        self.root = f"{directory}/root"
        self.upper = f"{directory}/upper"
        self._work = f"{directory}/work"
        self._links = f"{directory}/l"
        self._mounted = False
        os.makedirs(self.root, 0o755, exist_ok=True)

    def make_upper(self) -> None:
        """Make the layer that takes changes; the overlay shows its mode, owner and time as those of "/"."""
        os.mkdir(self.upper, 0o755)
        like(self.upper, self.lowers[0])

    def mount(self) -> None:
        """Show the trees below `upper`, to be changed."""
        os.makedirs(self._work, 0o755, exist_ok=True)
        self._mount((self.upper, *self.lowers), "upperdir=0,workdir=../work", 1, 0)

    def mount_readonly(self, *layers: str) -> None:
        """Show the trees below `layers`, topmost first, never to be changed."""
        self._mount((*layers, *self.lowers), "", 0, _MS_RDONLY)

    def unmount(self) -> None:
        """Show nothing at `root`."""
        if self._mounted:
            libc.umount2(self.root, libc.MNT_DETACH)
            self._mounted = False

    def _mount(self, trees: tuple[str, ...], upper: str, first: int, flags: int) -> None:
        self.unmount()
        os.makedirs(self._links, 0o755, exist_ok=True)
        # Short names, without the characters that mean something to the mount, for any number of trees.
        for name in os.listdir(self._links):
            os.unlink(f"{self._links}/{name}")
        if len(trees) == first + 1 and not upper:
            # An overlay has an upper layer, or two lower ones.
            trees = (*trees, _empty(f"{self._links}/../none"))
        for index, tree in enumerate(trees):
            os.symlink(tree, f"{self._links}/{index}")
        if len(trees) > _MOST_TREES:
            raise HostError(f"rests on more than {_MOST_TREES} layers", "image build", "fewer, larger steps make fewer")
        lowers = ":".join(str(index) for index in range(first, len(trees)))
        # In a user namespace an overlay keeps what it needs for itself in attributes that anybody may write.
        whole = _WHOLE if probe.facts().initial_userns else "userxattr,index=off"
        options = ",".join(part for part in (f"lowerdir={lowers}", upper, whole) if part)
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir(self._links)
            libc.mount("overlay", self.root, "overlay", flags, options)
        except OSError as error:
            raise HostError(f"no overlay can be mounted: {error.strerror}", self.root) from None
        finally:
            os.fchdir(here)
            os.close(here)
        self._mounted = True


def private_mounts() -> None:
    """Give this process a mount namespace of its own, in which nothing is shared. Raises HostError."""
    try:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    except OSError as error:
        raise HostError(f"no mount namespace can be made: {error.strerror}", "image build") from None


def like(directory: str, other: str) -> None:
    """Give a directory the mode, owner and times of another."""
    status = os.stat(other)
    os.chown(directory, status.st_uid, status.st_gid)
    os.chmod(directory, status.st_mode & 0o7777)
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _empty(directory: str) -> str:
    os.makedirs(directory, 0o755, exist_ok=True)
    return os.path.realpath(directory)
