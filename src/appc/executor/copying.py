"""Copying files between the host and the root of an app, which may change its root while that goes on.

Everything is opened below a descriptor, without following links but for the path that was asked for, which is
resolved inside the app's root.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager

from appc.errors import AppcError, PodStateError
from appc.executor import control
from appc.host import libc
from appc.host.fsids import acting_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.pods.layout import Pod

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_DEEPEST = 256  # directories, of each of which two are open and two calls are under way


class Place:
    """A directory's descriptor, and a name in it ("" is the directory itself); `shown` is for messages."""

    __slots__ = ("directory", "name", "shown")

    def __init__(self, directory: int, name: str, shown: str) -> None:
        self.directory = directory
        self.name = name
        self.shown = shown


@contextmanager
def app_root(pod: Pod, app: str) -> Iterator[int]:
    """Give the descriptor of the root of an app: as it is now, or to read, as it was when its pod ended."""
    if pod.phase == "run" and pod.locked():
        fd = os.open(f"/proc/{control.app_pid(pod, app)}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    from appc.build.export import exported_root

    if pod.phase == "exited":
        # Its keeper may be about to let go of it.
        control.wait(pod, control.LETTING_GO)
    with exported_root(pod, app) as root:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)


def copy_out(pod: Pod, app: str, path: str, target: str) -> list[str]:
    """Copy `path` of an app to `target` of the host, into it when that is a directory; return warnings.

    Owners and privileged bits stay behind: what an app made does not become a set-user-ID program of the host.
    Raises AppcError.
    """
    with ExitStack() as stack:
        root = stack.enter_context(app_root(pod, app))
        source = _inside(stack, root, path, f"{app}:{path}")
        directory, name = os.path.split(target.rstrip("/") or "/")
        if os.path.isdir(target):
            directory, name = target, os.path.basename(path.rstrip("/")) or app
        shown = os.path.join(directory, name)
        return _copy(source, Place(_opened(stack, directory or "."), name, shown))


def copy_in(pod: Pod, app: str, source: str, path: str) -> list[str]:
    """Copy `source` of the host to `path` of a running app, into it when that is a directory; return warnings.

    What is copied belongs to the pod's root. Raises AppcError.
    """
    if not (pod.phase == "run" and pod.locked()):
        raise PodStateError(f"is {pod.state()}, so nothing can be copied into it", f"pod {pod.uuid}")
    with ExitStack() as stack:
        root = stack.enter_context(app_root(pod, app))
        directory, name = os.path.split(source.rstrip("/") or "/")
        place = Place(_opened(stack, directory or "."), name, source)
        shown = f"{app}:{path}"
        above, last = os.path.split(path.rstrip("/"))
        target = _inside(stack, root, above or "/", shown, whole=True)
        try:
            inside = _resolved(root, path)
        except OSError:
            inside = -1
        if inside >= 0:
            stack.callback(os.close, inside)
            target, last = Place(inside, "", shown), name
        owner = _root_of(pod)
        with acting_as(*owner):
            return _copy(place, Place(target.directory, last, shown), owner)


def _root_of(pod: Pod) -> tuple[int, int]:
    """The user and group of the host that root is in the pod."""
    from appc.pods.private_users import recorded

    base, _ = recorded(pod) or (0, 0)
    return base, base


def _inside(stack: ExitStack, root: int, path: str, shown: str, whole: bool = False) -> Place:
    """Find `path` in the app's root: the directory it is, or (unless `whole`) the one it lies in with its name."""
    try:
        # A link that is asked for is copied as one; those on the way are followed inside the root.
        fd = _resolved(root, path, 0 if whole or path.endswith("/") else os.O_NOFOLLOW)
    except OSError as error:
        if whole or error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise AppcError(error.strerror.lower() if error.strerror else "is not there", shown) from None
        above, name = os.path.split(path)
        return Place(_inside(stack, root, above or "/", shown, whole=True).directory, name, shown)
    stack.callback(os.close, fd)
    return Place(fd, "", shown)


def _resolved(root: int, path: str, flags: int = 0) -> int:
    return libc.openat2(root, path.lstrip("/") or ".", _DIRECTORY | flags, resolve=libc.RESOLVE_IN_ROOT)


def _opened(stack: ExitStack, directory: str) -> int:
    try:
        fd = os.open(directory, _DIRECTORY)
    except OSError as error:
        raise AppcError((error.strerror or "").lower(), directory) from None
    stack.callback(os.close, fd)
    return fd


def _copy(source: Place, target: Place, owner: tuple[int, int] | None = None) -> list[str]:
    copier = _Copier(owner)
    try:
        if source.name:
            copier.entry(source.directory, source.name, target.directory, target.name, target.shown, 0)
        else:
            copier.directory(source.directory, target.directory, target.name, target.shown, 0)
    except OSError as error:
        raise AppcError((error.strerror or "").lower(), f"{source.shown} -> {target.shown}") from None
    return copier.warnings


class _Copier:
    """Copies into an app for an `owner`, or out of one."""

    def __init__(self, owner: tuple[int, int] | None) -> None:
        self._owner = owner
        self.warnings: list[str] = []

    def entry(self, source: int, name: str, target: int, new: str, shown: str, depth: int) -> None:
        """Copy one entry of a directory under a name of its own; a file that is there is replaced."""
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
            try:
                self.directory(fd, target, new, shown, depth)
            finally:
                os.close(fd)
        elif stat.S_ISREG(status.st_mode):
            self._file(source, name, target, new)
        elif stat.S_ISLNK(status.st_mode):
            _make_room(target, new)
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
        else:
            self.warnings.append(f"{shown}: is neither file, directory nor link, and was left out")

    def directory(self, source: int, target: int, new: str, shown: str, depth: int) -> None:
        """Copy a directory with all below it, into one of that name if there is one."""
        if depth > _DEEPEST:
            raise AppcError(f"is more than {_DEEPEST} directories deep", shown)
        try:
            os.mkdir(new, 0o700, dir_fd=target)
        except FileExistsError:
            pass
        fd = os.open(new, _DIRECTORY | os.O_NOFOLLOW, dir_fd=target)
        try:
            for name in sorted(os.listdir(source)):
                self.entry(source, name, fd, name, f"{shown}/{name}", depth + 1)
            self._finish(fd, os.fstat(source))
        finally:
            os.close(fd)

    def _file(self, source: int, name: str, target: int, new: str) -> None:
        read = _open_regular(name, source)
        try:
            status = os.fstat(read)
            _make_room(target, new)
            written = os.open(new, _NEW_FILE, 0o600, dir_fd=target)
            try:
                while data := os.read(read, _CHUNK):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(written, view) :]
                self._finish(written, status)
            finally:
                os.close(written)
        finally:
            os.close(read)

    def _finish(self, fd: int, status: os.stat_result) -> None:
        """Give what was copied its mode and time, and, in an app, its owner."""
        if self._owner and os.geteuid() == 0:
            os.fchown(fd, *self._owner)
        os.fchmod(fd, stat.S_IMODE(status.st_mode) & (0o7777 if self._owner else 0o777))
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _open_regular(name: str, directory: int) -> int:
    """Open a file that an app may meanwhile have exchanged for a device: to open that does something to the host."""
    place = os.open(name, _PLACE, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _make_room(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
