"""A build by single commands, as acbuild's: an image in the making, kept in a directory until the build is ended.

    <work path>/.appc-build/     0700; each command holds a flock on it
      manifest                   the manifest so far
      upper/                     the root file system, without those of dependencies
      root, work, l, packed      while a command works

With dependencies, files are changed on an overlay above them, and `upper` has whiteouts for what was deleted.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager

from appc.build.appbuild import whitelist
from appc.build.failed import failure
from appc.build.manifest import NO_APP
from appc.build.overlay import Overlay, private_mounts
from appc.build.times import settle
from appc.errors import AppcError, HostError, UsageError
from appc.host.mounts import overlay_obstacle
from appc.images.edit import ManifestEditor
from appc.images.layers import hides, link_layers, paths
from appc.images.render import rootfs_of
from appc.schema.image import ImageManifest
from appc.schema.json import dumps, loads
from appc.store import locks
from appc.store.staging import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from appc.images.render import Rootfs
    from appc.schema.image import Dependency
    from appc.store.images import ImageStore, StoredImage
    from appc.store.locks import Hold

    # The images that dependencies mean.
    Find = Callable[[Sequence[Dependency]], Sequence[StoredImage]]

DIRECTORY = ".appc-build"
# The name of an image that was not given one; it cannot be written.
UNNAMED = "appc-build-unnamed"


class Session:
    """The build below a work path, locked by this process until `close`: `with Session.open(path) as session:`."""

    def __init__(self, path: str, hold: Hold) -> None:
        self.path = path
        self.rootfs = f"{path}/upper"
        self._hold = hold

    @classmethod
    def begin(cls, work_path: str) -> Session:
        """Begin a build with nothing in it; until it has a manifest it can only be ended. Raises UsageError."""
        path = os.path.abspath(os.path.join(work_path, DIRECTORY))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise UsageError("a build is in progress", path, "`appc build end` ends it") from None
        except OSError as error:
            raise HostError(f"cannot be made: {error.strerror}", path) from None
        return cls._locked(path)

    @classmethod
    def open(cls, work_path: str, begun: bool = True) -> Session:
        """Go on with a build, one whose beginning was interrupted only if not `begun`. Raises UsageError, AppcError."""
        path = os.path.abspath(os.path.join(work_path, DIRECTORY))
        try:
            status = os.lstat(path)
        except OSError:
            raise UsageError("no build is in progress", path, "`appc build begin` begins one") from None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            # In a directory that others write to, what is in it could lead anywhere.
            raise UsageError("was not made by this user's `appc build begin`", path)
        session = cls._locked(path)
        if begun and not os.path.exists(f"{path}/manifest"):
            session.close()
            raise UsageError("was not begun completely", path, "`appc build end` clears it away")
        return session

    @classmethod
    def _locked(cls, path: str) -> Session:
        held = locks.hold_alone(path)
        if held is None:
            raise AppcError("another command is working on this build", path)
        return cls(path, held)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the build."""
        self._hold.close()

    def end(self) -> None:
        """Remove the build and let go of it."""
        remove_tree(self.path)
        self.close()

    # The manifest -------------------------------------------------------------------------------

    @property
    def manifest(self) -> bytes:
        """The manifest so far; while nothing was said of an app it has an empty one."""
        with open(f"{self.path}/manifest", "rb") as stream:
            return stream.read()

    def put_manifest(self, data: bytes) -> None:
        """Replace the manifest. Raises ManifestError when it is not valid."""
        document = loads(data)
        ImageManifest.parse(data)
        document.setdefault("app", NO_APP)
        with open(f"{self.path}/manifest.new", "wb") as stream:
            stream.write(dumps(document).encode())
        os.rename(f"{self.path}/manifest.new", f"{self.path}/manifest")

    def edit(self, change: Callable[[ManifestEditor], None]) -> None:
        """Change the manifest. Raises ManifestError; NothingToRemove when that is all."""
        editor = ManifestEditor(self.manifest)
        change(editor)
        self.put_manifest(editor.finish())

    def written(self) -> bytes:
        """The manifest as the image gets it: without an app that nothing was said of."""
        document = loads(self.manifest)
        if document["app"] == NO_APP:
            del document["app"]
        return dumps(document).encode()

    # The files ----------------------------------------------------------------------------------

    @contextmanager
    def changed(self, store: ImageStore, find: Find) -> Iterator[str]:
        """Show the image's root, dependencies and all, as a directory to change; new times are 0 afterwards.

        With dependencies this process gets a mount namespace of its own. Raises AppcError.
        """
        umask = os.umask(0o022)
        began = time.time_ns()
        try:
            below = self._below(store, find)
            if below is None:
                yield self.rootfs
            else:
                overlay = Overlay(self.path, below.lowers)
                private_mounts()
                overlay.mount()
                try:
                    yield overlay.root
                finally:
                    overlay.unmount()
        except OSError as error:
            raise failure(error, self.path) from None
        finally:
            os.umask(umask)
            settle(self.rootfs, began)

    def pack(self, store: ImageStore, find: Find, warnings: list[str]) -> tuple[str, bytes]:
        """Return the root file system and the manifest to make the image of; `unpack` clears up after it."""
        manifest = self.written()
        if not hides(self.rootfs):
            return self.rootfs, manifest
        below = self._below(store, find)
        if below is None:
            raise AppcError("something was deleted from dependencies that are no longer there", self.path)
        packed = f"{self.path}/packed"
        remove_tree(packed)
        os.mkdir(packed, 0o755)
        link_layers((self.rootfs,), packed, warnings)
        private_mounts()
        overlay = Overlay(self.path, below.lowers)
        try:
            overlay.mount_readonly(self.rootfs)
            after = paths(overlay.root)
            overlay.mount_readonly()
            listed = whitelist(paths(overlay.root), after)
        finally:
            overlay.unmount()
        return packed, dumps({**loads(manifest), **listed}).encode()

    def unpack(self) -> None:
        """Remove what `pack` made."""
        remove_tree(f"{self.path}/packed")

    def _below(self, store: ImageStore, find: Find) -> Rootfs | None:
        """The trees of the dependencies; None when there are none."""
        dependencies = ImageManifest.parse(self.manifest).dependencies
        if not dependencies:
            return None
        obstacle = overlay_obstacle(self.path)
        if obstacle:
            raise HostError(obstacle, self.path, "--work-path DIR keeps the build on another file system")
        rootfs = rootfs_of(store, find(dependencies))
        if not rootfs.overlay:
            raise AppcError(f"an image below cannot be in an overlay: {rootfs.reason}", self.path)
        return rootfs
