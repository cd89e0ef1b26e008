"""The root of an app whose pod has ended, as an image: what its image brought, and what it wrote."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager

from appc.build.overlay import Overlay, private_mounts
from appc.errors import PodStateError
from appc.host import libc
from appc.host.mounts import overlay_obstacle
from appc.images.render import rootfs_for
from appc.plan import wire_read
from appc.schema.json import dumps, loads
from appc.store.images import ImageStore
from appc.store.staging import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.pods.layout import Pod


def exported_manifest(pod: Pod, app: str) -> bytes:
    """Return the manifest of an app's image without what an image that holds everything does not need."""
    document = loads(pod.read(f"images/{app}"))
    for name in ("dependencies", "pathWhitelist"):
        document.pop(name, None)
    return dumps(document).encode()


@contextmanager
def exported_root(pod: Pod, app: str) -> Iterator[str]:
    """Show the root of an app as it was at its end, volumes and file systems of the kernel excepted.

    This process then has mounts of its own. Files that were made for the app (/etc/hosts and the like) are left out
    where they are unchanged. Raises PodStateError unless the pod has ended, ImageNotFound when its image is gone.
    """
    if pod.phase != "exited":
        hint = f"appc stop {pod.uuid[:8]} ends it first" if pod.phase == "run" else ""
        raise PodStateError(f"is {pod.state()}, and only what has ended is exported", f"pod {pod.uuid}", hint)
    if not pod.acquire():
        raise PodStateError("is in use by another process", f"pod {pod.uuid}")
    try:
        # On the file system of the layers, and removed with the pod should this process be killed.
        directory = tempfile.mkdtemp(prefix="export-", dir=pod.path)
        try:
            with _shown(pod, app, directory) as root:
                yield root
        finally:
            remove_tree(directory)
    finally:
        pod.release()


@contextmanager
def _shown(pod: Pod, app: str, directory: str) -> Iterator[str]:
    entry = next(entry for entry in pod.manifest()["apps"] if entry["name"] == app)
    own = pod.file(f"apps/{app}")
    if not os.path.isdir(f"{own}/upper"):
        lowers: tuple[str, ...] = (f"{own}/rootfs",)
    else:
        store = ImageStore(pod.root)
        lowers = (f"{own}/upper", *rootfs_for(store, store.get(entry["image"]["id"])).lowers)
    private_mounts()
    # What is left out of an overlay takes no room; where the file system cannot have layers, it is noted in memory.
    in_memory = bool(overlay_obstacle(pod.root))
    if in_memory:
        libc.mount("tmpfs", directory, "tmpfs", 0, "mode=700,size=1m")
    overlay = Overlay(directory, lowers)
    overlay.make_upper()
    overlay.mount()
    try:
        _leave_out(pod, app, overlay.root)
        yield overlay.root
    finally:
        overlay.unmount()
        if in_memory:
            libc.umount2(directory, libc.MNT_DETACH)


def _leave_out(pod: Pod, app: str, root: str) -> None:
    """Remove the files that the plan made, unless the app changed them."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for op in wire_read.decode(pod.read("plan")).track(f"app {app}").ops:
            if op.name == "file" and _is(fd, str(op.args[0]), op.args[2]):
                os.unlink(str(op.args[0]).lstrip("/"), dir_fd=fd)
    finally:
        os.close(fd)


def _is(root: int, path: str, content: object) -> bool:
    """Whether a file of the app's root, which the app may have replaced by anything, has this content."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        fd = libc.openat2(root, path.lstrip("/"), flags, resolve=libc.RESOLVE_NO_SYMLINKS | libc.RESOLVE_BENEATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EXDEV):
            return False
        raise
    with os.fdopen(fd, "rb") as stream:
        return isinstance(content, bytes) and stream.read(len(content) + 1) == content
