"""One command of a build, run in a pod whose root is a directory that the build owns.

The pod is like any other – cgroups, namespaces, default isolators, keeper – but its app's root is not made of images:
it is a directory of this process's mount namespace, bound into the pod's. Nothing of the pod is left afterwards.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from appc.errors import HostError
from appc.executor.launch import replace_process
from appc.executor.prepare import Prepared
from appc.host import libc, probe
from appc.images.render import Rootfs
from appc.images.view import TreeView
from appc.pods import gc, layout, skeleton
from appc.pods.request import AppRequest, PodRequest
from appc.schema.common import AC_VERSION
from appc.schema.image import App, ImageManifest
from appc.schema.pod import PodManifest, RuntimeApp, RuntimeImage
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.config import Directories

APP = "step"
# What the app reads and writes.
QUIET, OURS, TERMINAL = "quiet", "ours", "terminal"
_IMAGE = "build/step"
_MOST_RESOLVER = 1 << 20
# No image has this ID; a pod manifest must name one.
_NO_IMAGE = ImageID.parse("sha512-" + "0" * 128)
_MS_BIND = 4096
_SIGTERM = 15
# What an executor puts into an app's root, and an image does not want from it.
_RESOLVER = "/etc/resolv.conf"
_FILES = ("/etc/hosts", _RESOLVER)
_DIRECTORIES = ("/etc", "/proc", "/sys", "/dev")


def run_step(where: Directories, root: str, app: App, net: str, streams: str = QUIET) -> int:
    """Run `app` with the directory `root` as its root and return its exit status (128+N for signal N).

    `net` is none, host, or names of networks as for a pod; what of the network is in the root is taken away again.
    The caller's mount namespace must be its own, and nothing in it shared. `streams` says what the app reads and
    writes: nothing and our stderr (QUIET), our streams (OURS), or our terminal (TERMINAL). When this process is
    killed, the pod ends. Raises AppcError, HostError, OSError.
    """
    lacking = [path for path in (*_FILES, *_DIRECTORIES) if not os.path.lexists(root + path)]
    resolver = None if net in ("none", "host") else _saved(root, _RESOLVER)
    pod = layout.create(where.root)
    try:
        prepared = _prepare(where, pod, root, app, net, streams)
        status = _execute(prepared, where, streams)
    finally:
        _remove(where, pod)
        _take_back(root, lacking)
        if resolver is not None:
            resolver.restore()
    return status


class _Saved:
    """A file or link at `path` below `root`, as it is before a pod in a network gets one of its own there."""

    def __init__(self, root: str, path: str) -> None:
        self._directory, _, self._name = path.rpartition("/")
        self._root = root
        place = self._place()
        self._status = os.lstat(place)
        self._link = os.readlink(place) if stat.S_ISLNK(self._status.st_mode) else ""
        self._content = b""
        if not self._link:
            fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as stream:
                self._content = stream.read(_MOST_RESOLVER)

    def restore(self) -> None:
        """Put it back, unless the command made something else of the place."""
        try:
            place = self._place()
            if os.path.lexists(place):
                os.unlink(place)
        except OSError:
            # The command took the directory away, or made one of the file.
            return
        if self._link:
            os.symlink(self._link, place)
        else:
            with open(place, "xb") as stream:
                stream.write(self._content)
            os.chmod(place, stat.S_IMODE(self._status.st_mode))
        os.chown(place, self._status.st_uid, self._status.st_gid, follow_symlinks=False)
        times = self._status.st_atime_ns, self._status.st_mtime_ns
        os.utime(place, ns=times, follow_symlinks=False)

    def _place(self) -> str:
        # The directory may be a link, which leads where it does in the root.
        return f"{TreeView((self._root,)).lookup(self._directory)[1][0]}/{self._name}"


def _saved(root: str, path: str) -> _Saved | None:
    try:
        return _Saved(root, path)
    except OSError:
        # There is none, or something that is no file.
        return None


def _prepare(where: Directories, pod: layout.Pod, root: str, app: App, net: str, streams: str) -> Prepared:
    image = RuntimeImage(name=_IMAGE, id=_NO_IMAGE)
    manifest = PodManifest(
        ac_version=AC_VERSION,
        ac_kind="PodManifest",
        apps=(RuntimeApp(name=APP, image=image, app=app.replace(mount_points=(), ports=(), event_handlers=())),),
    )
    manifest.check_executable()
    asked = AppRequest(_IMAGE, name=APP, stdin="stream" if streams == OURS else "")
    request = PodRequest((asked,), net=net, interactive=streams == TERMINAL)
    request.check()
    if request.networked:
        from appc.network.setup import check

        check(net, manifest, where, ordinary=not probe.facts().initial_userns)
    pod.move("prepare")
    skeleton.make(pod)
    pod.write("pod", manifest.to_json())
    pod.write_json("request", request.to_json([]))
    pod.write(f"images/{APP}", ImageManifest(ac_kind="ImageManifest", ac_version=AC_VERSION, name=_IMAGE).to_json())
    libc.mount(root, f"{skeleton.make_app(pod, APP)}/rootfs", None, _MS_BIND)
    pod.move("prepared")
    return Prepared(pod, request, manifest, [Rootfs((root,), (), "", ())], probe.facts(), [])


def _execute(prepared: Prepared, where: Directories, streams: str) -> int:
    """Become, in a child, the pod's keeper, and wait for it."""
    sys.stderr.flush()
    sys.stdout.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        return _status_of(child)
    try:
        # Nobody would use what the step makes, nor remove it.
        libc.prctl(libc.PR_SET_PDEATHSIG, _SIGTERM)
        if os.getppid() != parent:
            os._exit(128 + _SIGTERM)
        if streams == QUIET:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(2, 1)
        replace_process(prepared, where, lambda entered: None)
    except BaseException as error:
        os.write(2, f"appc: {error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(125)


def _status_of(child: int) -> int:
    """Wait for the keeper; one that is not to be waited for is ended, so that its pod can be removed."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        os.kill(child, _SIGTERM)
        os.waitpid(child, 0)
        raise


def _remove(where: Directories, pod: layout.Pod) -> None:
    """Remove the pod, but first take the root out of it: it is not the pod's to delete."""
    pod.release()
    found = [one for one in layout.every(where.root) if one.uuid == pod.uuid]
    for one in found:
        place = one.file(f"apps/{APP}/rootfs")
        _detach(place)
        if not gc.remove(one):
            raise HostError("something in it is still alive", f"pod {one.uuid}")


def _detach(place: str) -> None:
    """Unmount whatever is mounted at `place`, or nothing; a directory of the same file system does not look mounted."""
    while True:
        try:
            libc.umount2(place, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
            return


def _take_back(root: str, lacking: list[str]) -> None:
    """Remove what the executor put into the root, as far as nothing else was put there."""
    # The command may have put links in their places, and they may lead anywhere.
    for path in lacking:
        if path in _FILES and not os.path.islink(root + os.path.dirname(path)) and os.path.isfile(root + path):
            os.unlink(root + path)
    for path in lacking:
        place = root + path
        if path in _DIRECTORIES and not os.path.islink(place) and os.path.isdir(place) and not os.listdir(place):
            os.rmdir(place)
