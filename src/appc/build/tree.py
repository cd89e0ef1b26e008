"""A root file system in the making: files come in from the host, or from directories that stand before it.

Paths keep their meaning: a link on the way to a file becomes the same link in the tree, with what it leads to.
Nothing in the tree belongs to anyone yet and times do not count; both are settled when it is packed.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat

from appc.errors import ArchiveError, HostError, UsageError
from appc.images.view import TreeView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_LINKS = 40


class Tree:
    """The directory `root`, which becomes the root of an image.

    `sources` are directories that are searched like roots before the host's own: what packages unpacked there
    replaces what is installed. `warnings` collects what the user should know.
    """

    def __init__(self, root: str, sources: Sequence[str] = ()) -> None:
        self.root = root
        self.sources = (*(os.path.realpath(source) for source in sources), "/")
        self.warnings: list[str] = []

    def host(self, path: str) -> str:
        """The host path of `path`, "" when no source has it. The last component is not followed."""
        for source in self.sources:
            if source == "/":
                return path if os.path.lexists(path) else ""
            try:
                return TreeView((source,)).lookup(path, follow=False)[1][0]
            except OSError:
                continue
        return ""

    def resolve(self, path: str) -> str:
        """The path that `path` means once all links are followed, "" when there is nothing."""
        done, waiting, links = "", path.split("/")[::-1], 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done.rpartition("/")[0]
                continue
            here = self.host(f"{done}/{name}")
            if not here:
                return ""
            if os.path.islink(here):
                links += 1
                target = os.readlink(here)
                if links > MAX_LINKS:
                    return ""
                done = "" if target.startswith("/") else done
                waiting += target.split("/")[::-1]
                continue
            done = f"{done}/{name}"
        return done or "/"

    def add(self, path: str) -> str:
        """Bring in the file or link `path` with every link on the way; return its host path, links followed.

        A directory is made, without what is in it. ArchiveError when there is nothing.
        """
        done, waiting, links = "", path.split("/")[::-1], 0
        here = "/"
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done.rpartition("/")[0]
                continue
            place = f"{done}/{name}"
            here = self.host(place)
            if not here:
                raise ArchiveError("no such file", path)
            status = os.lstat(here)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise ArchiveError("is a link that leads nowhere", path)
                target = os.readlink(here)
                self.link(place, target)
                done = "" if target.startswith("/") else done
                waiting += target.split("/")[::-1]
            elif stat.S_ISDIR(status.st_mode):
                self.directory(place, stat.S_IMODE(status.st_mode))
                done = place
            elif waiting:
                raise ArchiveError("is not a directory", place)
            elif stat.S_ISREG(status.st_mode):
                self.copy(here, place)
            else:
                raise ArchiveError("is neither a file nor a directory", path)
        return here

    def copy(self, source: str, place: str, mode: int | None = None) -> None:
        """Copy the host's file `source` to `place`, unless something is there; directories above it are made."""
        target = self.inside(place)
        if os.path.lexists(target):
            return
        try:
            shutil.copyfile(source, target)
            os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) if mode is None else mode)
        except OSError as error:
            raise _failure(error, source) from error

    def copy_tree(self, source: str, place: str, leave_out: Callable[[str], bool] = lambda path: False) -> list[str]:
        """Copy a directory or file of the host to `place`, links as they are; return the places of its files.

        `leave_out` is asked for each path relative to `source`. Sockets, pipes and devices stay behind, and
        `warnings` says so.
        """
        status = os.stat(source)
        if not stat.S_ISDIR(status.st_mode):
            self.copy(source, place)
            return [place]
        self.directory(place, stat.S_IMODE(status.st_mode))
        copied = []
        try:
            for name in sorted(os.listdir(source)):
                if leave_out(name):
                    continue
                from_, to = f"{source}/{name}", f"{place}/{name}"
                kind = os.lstat(from_).st_mode
                if stat.S_ISLNK(kind):
                    self.link(to, os.readlink(from_))
                elif stat.S_ISDIR(kind):
                    copied += self.copy_tree(from_, to, lambda path, above=name: leave_out(f"{above}/{path}"))  # type: ignore[misc]
                elif stat.S_ISREG(kind):
                    self.copy(from_, to)
                    copied.append(to)
                else:
                    self.warnings.append(f"{from_}: is neither file, directory nor link and was left out")
        except OSError as error:
            raise _failure(error, source) from error
        return copied

    def write(self, place: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file, in the place of what may be there."""
        target = self.inside(place)
        if os.path.lexists(target):
            os.unlink(target)
        with open(target, "wb") as file:
            file.write(data)
        os.chmod(target, mode)

    def link(self, place: str, target: str) -> None:
        """Make a symbolic link, unless something is there."""
        inside = self.inside(place)
        if not os.path.lexists(inside):
            os.symlink(target, inside)

    def directory(self, place: str, mode: int = 0o755) -> None:
        """Make a directory and those above it; one that is there stays as it is."""
        target = self.inside(place)
        if not os.path.isdir(target):
            os.mkdir(target)
            # Whoever builds must be able to fill it.
            os.chmod(target, mode | 0o700)

    def inside(self, place: str) -> str:
        """The host path of a place in the tree, links on the way followed in the tree; directories are made."""
        directory, _, name = place.rstrip("/").rpartition("/")
        if not name:
            return self.root
        if name in (".", ".."):
            raise UsageError("must not end with . or ..", place)
        above = self._directory(directory)
        return f"{above}/{name}"

    def _directory(self, path: str) -> str:
        waiting, done, links = path.split("/")[::-1], [self.root], 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done[:-1] if len(done) > 1 else done
                continue
            here = f"{done[-1]}/{name}"
            if os.path.islink(here):
                links += 1
                if links > MAX_LINKS:
                    raise ArchiveError("is a link that leads nowhere", path)
                target = os.readlink(here)
                done = done[:1] if target.startswith("/") else done
                waiting += target.split("/")[::-1]
                continue
            try:
                os.mkdir(here, 0o755)
                os.chmod(here, 0o755)
            except FileExistsError:
                if not os.path.isdir(here):
                    raise ArchiveError("is not a directory", here[len(self.root) :]) from None
            done.append(here)
        return done[-1]


def _failure(error: OSError, path: str) -> HostError:
    hint = (
        "free some space, or name another directory with --root" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    )
    return HostError(f"cannot be copied: {error.strerror or error}", str(error.filename or path), hint)
