"""From a request to a prepared pod: images found, manifest reified, directories made.

A prepared pod waits in phase `prepared` until it is run, now or by `run-prepared`; its images are
held against removal by being named in the pod's `request` file.
"""

from __future__ import annotations

import os

from appc.errors import ManifestError, PodStateError, Unenforceable, UsageError
from appc.host import probe
from appc.host.mounts import overlay_obstacle
from appc.images import fetch
from appc.images.render import copy_rootfs, rootfs_for
from appc.pods import layout, reify, skeleton, volumes
from appc.pods.layout import Pod
from appc.pods.request import AppRequest, PodRequest
from appc.schema.pod import PodManifest
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.config import Directories
    from appc.executor.sockets import Given
    from appc.images.render import Rootfs
    from appc.store.images import StoredImage
    from appc.values import ImageReference

# The first Linux whose overlays take mounts that are nowhere attached.
MAPPED_OVERLAYS = (6, 15)
# How a pod is run.
FOREGROUND, DETACHED = "foreground", "detached"
# What an app's streams are when nobody says.
DEFAULT_STREAMS = {
    FOREGROUND: ("null", "both", "both"),
    DETACHED: ("null", "log", "log"),
    "interactive": ("tty", "tty", "tty"),
}


class Prepared:
    """A prepared pod with what was read on the way, so that a launch reads nothing twice.

    `again` says that it was prepared by an earlier command, and waits on when this one cannot run it. `given` are
    sockets the caller has for its apps.
    """

    __slots__ = ("again", "facts", "given", "manifest", "pod", "request", "roots", "warnings")

    def __init__(
        self,
        pod: Pod,
        request: PodRequest,
        manifest: PodManifest,
        roots: list[Rootfs],
        facts: probe.HostFacts,
        warnings: list[str],
        *,
        again: bool = False,
    ) -> None:
        self.again = again
        self.given: tuple[Given, ...] = ()
        self.facts = facts
        self.pod = pod
        self.request = request
        self.manifest = manifest
        self.roots = roots
        self.warnings = warnings


def prepare(where: Directories, request: PodRequest, warnings: list[str]) -> Prepared:
    """Make a prepared pod, locked by this process; a refusal leaves nothing behind.

    What a user should know although it works is appended to `warnings`. Raises AppcError, OSError.
    """
    request.check()
    store = ImageStore(where.root)
    images, roots = find_images(store, where, request, warnings)
    if request.manifest is not None:
        manifest = reify.complete(request.manifest, images, request, warnings)
    else:
        manifest = reify.reify(request, images, warnings)
    manifest.check_executable()
    if any(app.annotations for app in manifest.apps):
        from appc.schema import policies

        policies.check(manifest)
    facts = probe.facts()
    _check_networks(where, request, manifest, warnings, ordinary=not facts.initial_userns)
    modes = [stream_modes(request, index, FOREGROUND) for index in range(len(manifest.apps))]
    if request.cgroup:
        from appc.executor import joining

        joining.check_groups(where.root, request)
    if request.runtime:
        from appc.executor import runtime

        request.runtime = runtime.find(request.runtime)
        runtime.check(request, manifest, facts, modes)
    if not facts.initial_userns:
        _check_rootless(request)
    for image in images:
        check_platform(image, facts)
    pod = layout.create(where.root)
    try:
        pod.move("prepare")
        _fill(store, facts, pod, request, manifest, images, roots, warnings)
        pod.move("prepared")
    except BaseException:
        discard(pod)
        raise
    return Prepared(pod, request, manifest, roots, facts, warnings)


def load(where: Directories, prefix: str, warnings: list[str]) -> Prepared:
    """Return a pod in phase `prepared`, locked by this process; PodStateError when it is not (or no longer) so."""
    pod = layout.find(where.root, prefix)
    if pod.phase != "prepared":
        raise PodStateError(f"is {pod.state()}, not prepared", f"pod {pod.uuid}")
    if not pod.acquire():
        raise PodStateError("was taken by another process", f"pod {pod.uuid}")
    try:
        store = ImageStore(where.root)
        manifest = PodManifest.parse(pod.read("pod"))
        request = PodRequest.from_json(pod.read_json("request"), manifest)
        roots = [rootfs_for(store, store.get(str(app.image.id))) for app in manifest.apps]
    except BaseException:
        pod.release()
        raise
    return Prepared(pod, request, manifest, roots, probe.facts(), warnings, again=True)


def discard(pod: Pod) -> None:
    """Remove a pod this process holds the lock of, whatever its phase, and let go of it."""
    from appc.pods import gc

    try:
        gc.discard(pod)
    finally:
        pod.release()


def find_images(
    store: ImageStore, where: Directories, request: PodRequest, warnings: list[str]
) -> tuple[list[StoredImage], list[Rootfs]]:
    """Return the images of a request, fetched if need be, and what their apps' roots rest on. Raises AppcError."""
    images = _images(store, where, request, warnings)
    if request.verify:
        from appc.images import intact

        for image in images:
            intact.verify(store, image)
    return images, [rootfs_for(store, image) for image in images]


def _images(store: ImageStore, where: Directories, request: PodRequest, warnings: list[str]) -> list[StoredImage]:
    if request.manifest is not None:
        wanted = _named(request.manifest)
    else:
        wanted = [(app.image, "", app.signature) for app in request.apps]
    images = []
    for reference, image_id, signature in wanted:
        told: list[str] = []
        image = fetch.resolve(
            store,
            reference,
            image_id=image_id,
            pull=request.pull,
            insecure=request.insecure,
            signature=signature,
            config=where.config,
            keep=where.settings.images_keep_original,
            passphrase=request.passphrase,
            network=request.network,
            started=request.started,
            warnings=told,
        )
        warnings += [f"{reference}: {text}" for text in told]
        images.append(image)
    if request.network is not None and ("http" in request.insecure or "tls" in request.insecure):
        warnings += request.network().relaxed()
    if "image" in request.insecure:
        for (reference, *_), image in zip(wanted, images, strict=True):
            if not image.signer:
                warnings.append(f"{reference}: was not verified (--insecure image)")
    return images


def _named(manifest: PodManifest) -> list[tuple[str | ImageReference, str, str]]:
    """Return the images of a pod manifest as (what it is asked for by, its ID or "", no signature file).

    A manifest to be deployed names images, and may say which one it has to be. Raises ManifestError.
    """
    from appc.values import ACIdentifier, ImageReference, quoted

    wanted: list[tuple[str | ImageReference, str, str]] = []
    faults = []
    for index, app in enumerate(manifest.apps):
        image_id = "" if app.image.id is None else str(app.image.id)
        if app.image.id is not None and not app.image.id.complete:
            faults.append((f"apps[{index}].image.id", f"{quoted(image_id)} is not a whole image ID"))
        elif app.image.name:
            wanted.append((ImageReference(ACIdentifier.parse(app.image.name), app.image.labels), image_id, ""))
        elif image_id:
            wanted.append((image_id, "", ""))
        else:
            faults.append((f"apps[{index}].image", "must have an ID or a name"))
    if faults:
        raise ManifestError(faults)
    return wanted


def check_platform(image: StoredImage, facts: probe.HostFacts) -> None:
    """Refuse an image for another os or arch; an image that names none runs anywhere (aci.md, labels)."""
    system, arch = image.labels.get("os"), image.labels.get("arch")
    if system and system != facts.os:
        raise Unenforceable(f"is for {system}, this host is {facts.os}", f"image {image.name}")
    if arch and arch != facts.arch and not (facts.arch == "amd64" and arch == "i386"):
        raise Unenforceable(f"is for {arch}, this host is {facts.arch}", f"image {image.name}")


def _check_rootless(request: PodRequest) -> None:
    """Refuse what an ordinary user cannot have."""
    if request.private_users:
        hint = "root of the pod is you, whom the host lets do no more than you may"
        raise Unenforceable("only root can give a pod users of its own", "--private-users", hint)


def _check_networks(
    where: Directories, request: PodRequest, manifest: PodManifest, warnings: list[str], *, ordinary: bool
) -> None:
    """Refuse networks that are not there, and ports that nothing would forward."""
    if request.networked:
        from appc.network.setup import check

        check(request.net, manifest, where, ordinary=ordinary)
        return
    if request.joined:
        from appc.executor import joining

        joining.check(where.root, request, manifest)
        return
    if not manifest.ports:
        return
    activated = {port.name for app in manifest.apps if app.app for port in app.app.ports if port.socket_activated}
    if all(port.name in activated for port in manifest.ports):
        # Sockets for them are made on the host.
        return
    if request.net == "host":
        warnings.append("--port does nothing on the host's network: apps open their ports on the host themselves")
    else:
        raise UsageError("a pod without a network has no ports to open", "--port", "--net default gives it one")


def _fill(
    store: ImageStore,
    facts: probe.HostFacts,
    pod: Pod,
    request: PodRequest,
    manifest: PodManifest,
    images: list[StoredImage],
    roots: list[Rootfs],
    warnings: list[str],
) -> None:
    skeleton.make(pod)
    pod.write("pod", manifest.to_json())
    used = sorted({str(image_id) for root in roots for image_id in root.image_ids})
    pod.write_json("request", request.to_json(used))
    if request.private_users:
        from appc.pods import private_users

        private_users.take(pod, request.private_users)
    fill_apps(store, facts, pod, manifest, images, roots, warnings)


def fill_apps(
    store: ImageStore,
    facts: probe.HostFacts,
    pod: Pod,
    manifest: PodManifest,
    images: list[StoredImage],
    roots: list[Rootfs],
    warnings: list[str],
) -> None:
    """Make what the apps of `manifest` need in the pod's directory. Raises AppcError, OSError."""
    obstacle = overlay_obstacle(pod.root)
    if not obstacle and facts.kernel < MAPPED_OVERLAYS and os.path.exists(pod.file("private-users")):
        obstacle = "before Linux {}.{} no overlay has its owners mapped".format(*MAPPED_OVERLAYS)
        warnings.append(f"--private-users: images are copied: {obstacle}")
    overlays = facts.overlay and not obstacle
    for app, image, root in zip(manifest.apps, images, roots, strict=True):
        pod.write(f"images/{app.name}", image.manifest_bytes)
        directory = skeleton.make_app(pod, str(app.name))
        if not (overlays and root.overlay):
            # Whether an app has an upper layer says from now on which kind of root it has.
            warnings += [f"app {app.name}: {text}" for text in copy_rootfs(store, image, f"{directory}/rootfs")]
            continue
        skeleton.make_layer(directory, root.lowers[0])
    volumes.make_empty(manifest, pod.file("volumes"))


def stream_modes(request: PodRequest, index: int, kind: str) -> tuple[str, str, str]:
    """Return the keeper's modes for the streams of app `index` when the pod runs as `kind` (DEFAULT_STREAMS)."""
    wanted = request.apps[index] if index < len(request.apps) else AppRequest("")
    asked = (wanted.stdin, wanted.stdout, wanted.stderr)
    where = f"app {wanted.name or wanted.image}"
    if request.interactive or "tty" in asked:
        # A process has one terminal, and its three streams lead there.
        others = [mode for mode in asked if mode not in ("", "tty")]
        if others:
            raise UsageError(f"{others[0]} cannot go together with a terminal", where)
        if request.interactive and kind == DETACHED:
            raise UsageError("is interactive, so it needs a terminal", where, "run it without --detach")
        return DEFAULT_STREAMS["interactive"]
    modes = [mode or default for mode, default in zip(asked, DEFAULT_STREAMS[kind], strict=True)]
    # Nobody's streams are there to be handed through: whoever attaches has them.
    through = "inherit" if kind == FOREGROUND else "attach"
    modes = [through if mode == "stream" else mode for mode in modes]
    if kind == FOREGROUND:
        # What goes to the log is shown as well.
        modes[1:] = ["both" if mode == "log" else mode for mode in modes[1:]]
    return modes[0], modes[1], modes[2]
