"""From a request to a prepared pod: images found, manifest reified, directories made.

A prepared pod waits in phase `prepared` until it is run, now or by `run-prepared`; its images are
held against removal by being named in the pod's `request` file.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, Unenforceable, UsageError
from appc.host import probe
from appc.host.mounts import overlay_obstacle
from appc.images import fetch
from appc.images.render import copy_rootfs, rootfs_for
from appc.pods import gc, layout, reify, volumes
from appc.pods.layout import Pod
from appc.pods.request import AppRequest, PodRequest
from appc.schema.pod import PodManifest
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.render import Rootfs
    from appc.store.images import StoredImage

# What an app's streams are when nobody says: by how the pod is run.
DEFAULT_STREAMS = {
    "foreground": ("null", "both", "both"),
    "detached": ("null", "log", "log"),
    "interactive": ("tty", "tty", "tty"),
}


class Prepared:
    """A prepared pod with what was read on the way, so that a launch reads nothing twice."""

    __slots__ = ("facts", "images", "manifest", "pod", "request", "roots", "warnings")

    def __init__(
        self,
        pod: Pod,
        request: PodRequest,
        manifest: PodManifest,
        images: list[StoredImage],
        roots: list[Rootfs],
        facts: probe.HostFacts,
        warnings: list[str],
    ) -> None:
        self.facts = facts
        self.pod = pod
        self.request = request
        self.manifest = manifest
        self.images = images
        self.roots = roots
        self.warnings = warnings


def prepare(root: str, config: tuple[str, ...], request: PodRequest, warnings: list[str]) -> Prepared:
    """Make a prepared pod below `root`, locked by this process; a refusal leaves nothing behind.

    `config` are the configuration directories (trusted keys). What a user should know although it
    works is appended to `warnings`. Raises AppcError.
    """
    store = ImageStore(root)
    images = _images(store, config, request)
    roots = [rootfs_for(store, image) for image in images]
    if request.manifest is not None:
        manifest = reify.complete(request.manifest, images, request)
    else:
        manifest = reify.reify(request, images, warnings)
    manifest.check_executable()
    facts = probe.facts()
    for image in images:
        _check_platform(image, facts)
    pod = layout.create(root)
    try:
        _fill(store, facts, pod, request, manifest, images, roots)
        pod.move("prepared")
    except BaseException:
        discard(pod)
        raise
    return Prepared(pod, request, manifest, images, roots, facts, warnings)


def load(root: str, prefix: str) -> Prepared:
    """Return a pod in phase `prepared`, locked by this process; PodStateError when it is not (or no longer) so."""
    from appc.errors import PodStateError

    pod = layout.find(root, prefix)
    if pod.phase != "prepared" or not pod.acquire():
        raise PodStateError(f"is {pod.state()}, not prepared", f"pod {pod.uuid}")
    store = ImageStore(root)
    manifest = PodManifest.parse(pod.read("pod"))
    saved = pod.read_json("request")
    images = [store.get(str(app.image.id)) for app in manifest.apps]
    request = PodRequest(
        tuple(
            AppRequest("", name=str(app.name), stdin=modes[0], stdout=modes[1], stderr=modes[2])
            for app in manifest.apps
            for modes in (saved["streams"].get(str(app.name), ["", "", ""]),)
        ),
        manifest=manifest,
        net=saved["net"],
        hostname=saved["hostname"],
        interactive=saved["interactive"],
        remove=saved["remove"],
        strict=saved["strict"],
        grace=saved["grace"],
    )
    return Prepared(pod, request, manifest, images, [rootfs_for(store, image) for image in images], probe.facts(), [])


def discard(pod: Pod) -> None:
    """Remove a pod this process holds the lock of, whatever its phase."""
    try:
        pod.move("garbage")
        gc.delete_tree(pod.path)
    finally:
        pod.release()


def _images(store: ImageStore, config: tuple[str, ...], request: PodRequest) -> list[StoredImage]:
    if request.manifest is not None:
        if not request.manifest.apps:
            raise UsageError("the pod manifest has no apps")
        return [store.get(str(app.image.id)) for app in request.manifest.apps]
    return [
        fetch.resolve(
            store, app.image, pull=request.pull, insecure=request.insecure, signature=app.signature, config=config
        )
        for app in request.apps
    ]


def _check_platform(image: StoredImage, facts: probe.HostFacts) -> None:
    """Refuse an image for another os or arch; an image that names none runs anywhere (aci.md, labels)."""
    system, arch = image.labels.get("os"), image.labels.get("arch")
    if system and system != facts.os:
        raise Unenforceable(f"is for {system}, this host is {facts.os}", f"image {image.name}")
    if arch and arch != facts.arch and not (facts.arch == "amd64" and arch == "i386"):
        raise Unenforceable(f"is for {arch}, this host is {facts.arch}", f"image {image.name}")


def _fill(
    store: ImageStore,
    facts: probe.HostFacts,
    pod: Pod,
    request: PodRequest,
    manifest: PodManifest,
    images: list[StoredImage],
    roots: list[Rootfs],
) -> None:
    pod.write("pod", manifest.to_json())
    used = sorted({str(image_id) for root in roots for image_id in root.image_ids})
    pod.write_json("request", request.to_json(used, _streams(request, manifest)))
    overlays = facts.overlay and not overlay_obstacle(pod.root)
    for app, image, root in zip(manifest.apps, images, roots, strict=True):
        pod.write(f"images/{app.name}", image.manifest_bytes)
        directory = pod.file(f"apps/{app.name}")
        os.mkdir(directory, 0o700)
        os.mkdir(f"{directory}/rootfs", 0o755)
        if not (overlays and root.overlay):
            # Whether an app has an upper layer says from now on which kind of root it has.
            copy_rootfs(store, image, f"{directory}/rootfs")
            continue
        os.mkdir(f"{directory}/upper", 0o755)
        os.mkdir(f"{directory}/work", 0o755)
        # The app sees the upper's own mode and owner as those of "/".
        top = os.stat(root.lowers[0])
        os.chown(f"{directory}/upper", top.st_uid, top.st_gid)
        os.chmod(f"{directory}/upper", top.st_mode & 0o7777)
    volumes.make_empty(manifest, pod.file("volumes"))
    # Where the keeper moves the pod at its end.
    os.makedirs(f"{pod.root}/pods/exited", 0o700, exist_ok=True)


def _streams(request: PodRequest, manifest: PodManifest) -> dict[str, list[str]]:
    return {
        str(app.name): [wanted.stdin, wanted.stdout, wanted.stderr]
        for app, wanted in zip(manifest.apps, request.apps, strict=False)
    }


def stream_modes(request: PodRequest, index: int, kind: str) -> tuple[str, str, str]:
    """Return the keeper's modes for the streams of app `index` when the pod runs as `kind` (DEFAULT_STREAMS)."""
    defaults = DEFAULT_STREAMS["interactive" if request.interactive else kind]
    if index >= len(request.apps):
        return defaults
    wanted = request.apps[index]
    chosen = [
        asked or default for asked, default in zip((wanted.stdin, wanted.stdout, wanted.stderr), defaults, strict=True)
    ]
    if kind == "detached" and "stream" in chosen:
        raise AppcError("stream needs a pod in the foreground", f"app {wanted.name or wanted.image}")
    modes = ["inherit" if mode == "stream" else mode for mode in chosen]
    if kind == "foreground":
        modes[1:] = ["both" if mode == "log" else mode for mode in modes[1:]]
    return modes[0], modes[1], modes[2]
