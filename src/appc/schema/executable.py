"""What must hold before a pod can be executed, beyond being a valid manifest.

pods.md wants a pod "reified", ace.md, "Volume Setup", forbids overlapping targets.

Both levels of reading admit templates: images by name, mounts without a volume. These rules are for the moment
before the launch and are the same at either level.
"""

from __future__ import annotations

from appc.schema.isolators import CAPS_REMOVE, CAPS_RETAIN, RateValue, ResourceValue
from appc.schema.kinds import Faults
from appc.schema.pod import EMPTY, ExposedPort, PodManifest, RuntimeApp, Volume
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from appc.schema.image import App, ImageManifest, Port
    from appc.schema.isolators import Isolator

# uid_t and gid_t hold 32 bits, and -1 means "unchanged".
LARGEST_ID = (1 << 32) - 2
# The name of an app is the name of a directory and part of longer file names.
LONGEST_NAME = 200


def check_pod(pod: PodManifest, images: Mapping[str, ImageManifest]) -> Faults:
    """The faults that keep `pod` from being executed; `images` by app name for apps without a section of their own."""
    faults = Faults()
    if not pod.apps:
        faults.add("must hold at least one app", "apps")
    volumes: dict[str, Volume] = {}
    for index, volume in enumerate(pod.volumes):
        volumes[volume.name] = volume
        _check_volume(volume, f"volumes[{index}]", faults)
    ports: dict[str, Port] = {}
    for index, entry in enumerate(pod.apps):
        path = f"apps[{index}]"
        before = len(faults)
        app = entry.app
        if app is None and entry.name in images:
            app = images[entry.name].app
        _check_entry(entry, app, volumes, faults)
        for port in app.ports if app is not None else ():
            if port.name:
                ports.setdefault(port.name, port)
        faults.locate(before, path)
    _check_isolators(pod.isolators, "isolators", faults)
    for index, exposed in enumerate(pod.ports):
        _check_exposed(exposed, ports, f"ports[{index}]", faults)
    return faults


def _check_entry(entry: RuntimeApp, app: App | None, volumes: dict[str, Volume], faults: Faults) -> None:
    if not entry.name:
        faults.add("is required", "name")
    elif len(entry.name) > LONGEST_NAME:
        faults.add(f"must not be longer than {LONGEST_NAME} characters", "name")
    if entry.image.id is None:
        faults.add("is required: the image must be known by its ID", "image.id")
    elif not entry.image.id.complete:
        faults.add(f"{quoted(entry.image.id)} is not a whole image ID", "image.id")
    targets = _check_mounts(entry, volumes, faults)
    if app is None:
        faults.add("is required, as the image has no app section", "app")
        return
    before = len(faults)
    check_app(app, faults)
    for index, point in enumerate(app.mount_points):
        if point.path and normal_path(point.path) not in targets:
            faults.add(f"mount point {quoted(point.name)} has no volume", f"mountPoints[{index}]")
    faults.locate(before, "app")


def check_app(app: App, faults: Faults) -> None:
    """Record what keeps `app` from being executed in any pod."""
    if not app.exec or not app.exec[0]:
        faults.add("must name a program", "exec")
    texts = [(f"exec[{i}]", argument) for i, argument in enumerate(app.exec)]
    texts += [("user", app.user), ("group", app.group), ("workingDirectory", app.working_directory)]
    texts += [(f"environment[{i}].value", variable.value) for i, variable in enumerate(app.environment)]
    texts += [(f"mountPoints[{i}].path", point.path) for i, point in enumerate(app.mount_points)]
    for index, handler in enumerate(app.event_handlers):
        if not handler.exec or not handler.exec[0]:
            faults.add("must name a program", f"eventHandlers[{index}].exec")
        texts += [(f"eventHandlers[{index}].exec[{i}]", argument) for i, argument in enumerate(handler.exec)]
    for path, text in texts:
        _check_text(text, path, faults)
    for index, gid in enumerate(app.supplementary_gids):
        if not 0 <= gid <= LARGEST_ID:
            faults.add(f"must be from 0 to {LARGEST_ID}, not {gid}", f"supplementaryGIDs[{index}]")
    for index, point in enumerate(app.mount_points):
        if not point.path:
            faults.add("is required", f"mountPoints[{index}].path")
    _check_isolators(app.isolators, "isolators", faults)


def _check_mounts(entry: RuntimeApp, volumes: dict[str, Volume], faults: Faults) -> set[str]:
    """Record faulty mounts; return the normal paths of all targets."""
    targets: dict[str, int] = {}
    for index, mount in enumerate(entry.mounts):
        path = f"mounts[{index}]"
        if mount.app_volume is not None:
            _check_volume(mount.app_volume, f"{path}.appVolume", faults)
        elif not mount.volume:
            faults.add("is required", f"{path}.volume")
        elif mount.volume not in volumes:
            faults.add(f"there is no volume {quoted(mount.volume)}", f"{path}.volume")
        if not mount.path:
            faults.add("is required", f"{path}.path")
            continue
        _check_text(mount.path, f"{path}.path", faults)
        target = normal_path(mount.path)
        if ".." in target.split("/"):
            faults.add(f"{quoted(mount.path)} must not hold ..", f"{path}.path")
        if target == "/":
            faults.add("must not be the app's root", f"{path}.path")
        for other, at in targets.items():
            if target == other or target.startswith(other + "/") or other.startswith(target + "/"):
                faults.add(f"{quoted(mount.path)} overlaps mounts[{at}], {quoted(other)}", f"{path}.path")
        targets.setdefault(target, index)
    return set(targets)


def _check_volume(volume: Volume, path: str, faults: Faults) -> None:
    _check_text(volume.source, f"{path}.source", faults)
    if volume.kind != EMPTY:
        return
    if not volume.mode or volume.mode.strip("01234567") or len(volume.mode) > 8 or int(volume.mode, 8) > 0o7777:
        faults.add(f"must be octal digits such as 0755, not {quoted(volume.mode)}", f"{path}.mode")
    for key, owner in (("uid", volume.uid), ("gid", volume.gid)):
        if not 0 <= owner <= LARGEST_ID:
            faults.add(f"must be from 0 to {LARGEST_ID}, not {owner}", f"{path}.{key}")


def _check_exposed(exposed: ExposedPort, ports: dict[str, Port], path: str, faults: Faults) -> None:
    port = exposed.pod_port or ports.get(exposed.name)
    if port is None:
        faults.add(f"no app has a port {quoted(exposed.name)}", f"{path}.name")
    if not 1 <= exposed.host_port <= 65535:
        faults.add(f"must be from 1 to 65535, not {exposed.host_port}", f"{path}.hostPort")
    elif port is not None and exposed.host_port + port.count > 65536:
        faults.add(f"the range of {port.count} ports ends beyond 65535", f"{path}.hostPort")


def _check_isolators(isolators: tuple[Isolator, ...], path: str, faults: Faults) -> None:
    names = {isolator.name for isolator in isolators}
    for index, isolator in enumerate(isolators):
        if isolator.name == CAPS_REMOVE and CAPS_RETAIN in names:
            faults.add(f"{CAPS_REMOVE} cannot stand beside {CAPS_RETAIN}", f"{path}[{index}]")
        if isinstance(isolator.value, ResourceValue):
            if isinstance(isolator.value, RateValue) and isolator.value.limit is None:
                faults.add("is required", f"{path}[{index}].value.limit")
            for key, amount in (("limit", isolator.value.limit), ("request", isolator.value.request)):
                if amount is not None and (amount.nano < 0 or (key == "limit" and amount.nano == 0)):
                    faults.add(f"must be more than 0, not {amount}", f"{path}[{index}].value.{key}")


def _check_text(text: str, path: str, faults: Faults) -> None:
    if "\0" in text:
        faults.add("must not hold a NUL character", path)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Words of a command line need not be text, but manifests are JSON.
        faults.add("must be UTF-8", path)


def normal_path(path: str) -> str:
    """`path` as an absolute one without empty and `.` parts; a path in an image is relative to its root anyway."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
