"""What a build by single commands begins with: nothing, a directory, an archive, or an image."""

from __future__ import annotations

import os
import time

from appc.build.manifest import NO_APP, manifest
from appc.build.rootfs import extract, root_of
from appc.build.session import UNNAMED
from appc.build.times import settle
from appc.images.closure import Pass
from appc.images.layers import copy_directory
from appc.images.materialise import materialise
from appc.images.merge import merge
from appc.images.render import copy_rootfs
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.build.session import Session
    from appc.store.images import ImageStore, StoredImage


def from_files(session: Session, source: str, warnings: list[str]) -> None:
    """Begin with nothing (""), with a directory or with a tar archive. Raises ArchiveError, UsageError, HostError."""
    began = time.time_ns()
    _make_root(session)
    if source and os.path.isdir(source):
        copy_directory(root_of(source, session.path, f"{session.path}/x", warnings), session.rootfs, warnings)
    else:
        if source:
            extract(source, session.rootfs, warnings)
        settle(session.rootfs, began)
    session.put_manifest(manifest(UNNAMED, app=NO_APP))


def from_image(session: Session, store: ImageStore, image: StoredImage, warnings: list[str]) -> None:
    """Begin with an image of the store: its files without those of its dependencies, and its manifest.

    One with a path whitelist is rendered with its dependencies, for it says what is visible of them.
    """
    _make_root(session)
    document = loads(image.manifest_bytes)
    if image.meta["whitelist"]:
        warnings += copy_rootfs(store, image, session.rootfs)
        for field in ("pathWhitelist", "dependencies"):
            document.pop(field, None)
        warnings.append("its path whitelist has been applied, and its dependencies are part of it now")
    else:
        held = store.hold(image)
        warnings += materialise(merge([Pass(image, ())]), session.rootfs, link=False)
        held.close()
    session.put_manifest(dumps(document).encode())


def _make_root(session: Session) -> None:
    os.mkdir(session.rootfs)
    # Whatever the user's umask is.
    os.chmod(session.rootfs, 0o755)
