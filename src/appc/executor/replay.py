"""Pods that were compiled before: `appc run` with words that were run already takes what they came to the last time.

Compiling a pod is the larger part of what a user waits for. What it comes to (the files in the pod's directory, and the
plan) depends on the words, the images, the configuration, the host and appc itself; and of the pod only on its UUID and
token. So `recording` keeps all of it, and a pod that would come to the same gets a copy, with its own UUID and token in
the place of those that were kept. That it would come to the same is not guessed: images are looked up, the host's
facts and the configuration are read and control groups are made as always, and each is compared with what was kept.
Where anything differs, or cannot be read, the pod is compiled.
"""

from __future__ import annotations

import os
import sys
from binascii import a2b_base64, crc32

from appc.errors import AppcError
from appc.host import cgroups, probe
from appc.images import fetch
from appc.images.render import rootfs_for
from appc.launch import spawn
from appc.metadata import access
from appc.pods import layout, skeleton
from appc.schema.json import dumps, loads
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from appc.config import Directories
    from appc.host.cgroups import Cgroups
    from appc.host.probe import HostFacts
    from appc.images.render import Rootfs
    from appc.pods.layout import Pod
    from appc.store.images import StoredImage

# What a service manager hands over is not in the words.
HANDED = frozenset(("LISTEN_FDS", spawn.SERVICE_SOCKET))
LIMIT = 4 << 20  # bytes of what is kept for one pod

# What a damaged file, a host that changed or an image that is gone raise; whoever compiles the pod says what is wrong.
_CAUSES = (AppcError, OSError, AttributeError, LookupError, TypeError, ValueError)


def replay(words: Sequence[str], where: Directories, before: Callable[[str, Sequence[str]], None]) -> None:
    """Become the keeper of the pod that the words of `appc run` describe, if that was compiled before.

    `before` is called with the pod's UUID and the warnings it comes with when nothing can be refused any more.
    Returns, having left nothing behind, when the pod has to be compiled.
    """
    if HANDED.intersection(os.environ):
        return
    try:
        kept = _Kept(words, where)
        kept.check_images()
    except _CAUSES:
        return
    pod: Pod | None = None
    groups: Cgroups | None = None
    try:
        pod = layout.create(where.root)
        plan = kept.fill(pod)
        pod.move("run")
        groups = kept.make_groups(pod)
        if groups_text(groups, pod.uuid) != kept.document["groups"]:
            raise ValueError("the control groups took other limits")
        pod.write("plan", plan)
        before(pod.uuid, kept.document["warnings"])
        spawn.replace_process(plan, pod, spawn.plain_environment())
    except BaseException as error:
        _undo(pod, groups)
        if not isinstance(error, _CAUSES):
            raise


class _Kept:
    """What was kept for some words, as far as it was found to hold. Making one raises _CAUSES when it does not."""

    def __init__(self, words: Sequence[str], where: Directories) -> None:
        self.where = where
        path = path_of(words, where.root)
        with open(path, "rb") as stream:
            self.document: dict[str, Any] = loads(stream.read(LIMIT), LIMIT)
        _same(self.document["words"], list(words))
        _same(self.document["sources"], stamps(source for source, *_ in self.document["sources"]))
        self.facts = probe.facts()
        _same(self.document["host"], host_text(self.facts, where))
        # The one that was used longest ago is the first to go.
        os.utime(path)
        self.images: list[StoredImage] = []
        self.roots: list[Rootfs] = []

    def check_images(self) -> None:
        """Look the images up, and hold their trees against removal."""
        store = ImageStore(self.where.root)
        for app in self.document["apps"]:
            image = fetch.resolve(store, app["reference"], pull="never", insecure=self.document["insecure"])
            root = rootfs_for(store, image)
            _same(app["image"], image_text(image, root))
            self.images.append(image)
            self.roots.append(root)

    def fill(self, pod: Pod) -> bytes:
        """Make the pod's directories and files but for `plan`, which is returned."""
        token = access.new_token()
        names = list(zip(self.document["names"], (pod.uuid, token), strict=True))
        skeleton.make(pod)
        for app, image, root in zip(self.document["apps"], self.images, self.roots, strict=True):
            pod.write(f"images/{app['name']}", image.manifest_bytes)
            skeleton.make_layer(skeleton.make_app(pod, app["name"]), root.lowers[0])
        for name, text in self.document["files"].items():
            pod.write(name, renamed(text.encode(), names))
        pod.write("token", token.encode())
        pod.write("hmac-key", access.new_hmac_key())
        return renamed(a2b_base64(self.document["plan"], strict_mode=True), names)

    def make_groups(self, pod: Pod) -> Cgroups:
        """Make the pod's control groups."""
        apps = [app["name"] for app in self.document["apps"]]
        return cgroups.create(pod.uuid, apps, self.document["resources"], self.facts)


def path_of(words: Sequence[str], root: str) -> str:
    """Where the pod of these words is kept. Others may have the same place, so the words are kept with it."""
    return f"{root}/cache/launch/{crc32(chr(0).join(words).encode('utf-8', 'surrogateescape')):08x}"


def host_text(facts: HostFacts, where: Directories) -> str:
    """All that a pod made of plain words takes from its host and the configuration, to be compared."""
    known = {name: getattr(facts, name) for name in facts.__slots__}
    known["namespaces"] = sorted(facts.namespaces)
    settings = dict(where.settings.__dict__)
    device = os.stat(where.root).st_dev
    return dumps([known, settings, where.config, where.state, device, access.ephemeral_range(), sys.executable])


def image_text(image: StoredImage, root: Rootfs) -> str:
    """What an app's image is, to be compared: its ID, who signed it, and the trees it is run on."""
    return dumps([str(image.id), image.signer, root.lowers])


def groups_text(groups: Cgroups, uuid: str) -> str:
    """The control groups of the pod `uuid`, and which limits they took, to be compared with another pod's."""
    text = dumps([groups.init_paths, groups.app_paths, groups.teardown, groups.outcome])
    return text.replace(uuid, "UUID")


def stamps(sources: Iterable[str]) -> list[list[Any]]:
    """Files of appc's own code, each with its time and size: other code may compile a pod to something else."""
    found = []
    for source in sources:
        status = os.stat(source)
        found.append([source, status.st_mtime_ns, status.st_size])
    return found


def renamed(data: bytes, names: Iterable[tuple[str, str]]) -> bytes:
    """Return `data` with names (of the same length) replaced."""
    for old, new in names:
        data = data.replace(old.encode(), new.encode())
    return data


def _same(kept: object, now: object) -> None:
    if kept != now:
        raise ValueError("this is not as it was")


def _undo(pod: Pod | None, groups: Cgroups | None) -> None:
    try:
        if groups is not None:
            cgroups.remove(groups.teardown)
    finally:
        if pod is not None:
            from appc.pods import gc

            try:
                gc.discard(pod)
            finally:
                pod.release()
