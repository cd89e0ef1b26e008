"""From a pod manifest to a Kubernetes Pod (core/v1), as far as the one can say what the other says.

An app is a container, its pre-start handler an init container beside those of the other apps, volumes and isolators
become what Kubernetes has for them. What it has nothing for is told, with its path in the pod manifest, not left out in
silence. The image of a container is the name of the app's image and its version, as `name:version`: a registry that has
it under that name (`appc image push`, `appc serve`) makes the pod run anywhere.
"""

from __future__ import annotations

from appc.schema.image import POST_STOP, PRE_START
from appc.schema.isolators import (
    CAPS_REMOVE,
    CAPS_RETAIN,
    AppArmorValue,
    Isolator,
    ResourceValue,
    SelinuxValue,
    SetValue,
    find,
)
from appc.schema.policies import RESTART

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.schema.image import App
    from appc.schema.pod import PodManifest, RuntimeApp, RuntimeImage, Volume

PRE_START_SUFFIX = "-pre-start"
# More ports in a row than this are not listed one by one.
MOST_PORTS = 256
_LONGEST_PORT_NAME = 15
_LONGEST_NAME = 63
_NO_NEW_PRIVILEGES = "os/linux/no-new-privileges"
# Annotations that say what became of the pod here.
_OF_THIS_HOST = "appc.io/executor/"
_RESTARTS = {"no": "Never", "on-failure": "OnFailure", "always": "Always"}
_RESOURCES = {"resource/cpu": "cpu", "resource/memory": "memory"}


class Lost(list[tuple[str, str]]):
    """What a Kubernetes Pod cannot say: (path in the pod manifest, why)."""


def to_kube(
    pod: PodManifest, name: str, *, host_network: bool = False, hostname: str = "", grace: float | None = None
) -> tuple[dict[str, Any], Lost]:
    """Return the Kubernetes Pod called `name` that is the most like a reified pod manifest, and what it does not say.

    `host_network`, `hostname` and `grace` (seconds between SIGTERM and SIGKILL) are what was asked beside the manifest.
    Every app must have its `app` (`PodManifest.check_executable`).
    """
    lost = Lost()
    volumes: dict[str, dict[str, Any]] = {volume.name: _volume(volume) for volume in pod.volumes}
    containers, first = [], []
    for index, entry in enumerate(pod.apps):
        path = f"apps[{index}]"
        mounts = _mounts(pod, entry, volumes)
        container = _container(pod, entry, mounts, path, lost)
        containers.append(container)
        handler = entry.app.handler(PRE_START) if entry.app else ()
        if handler:
            init = {key: value for key, value in container.items() if key not in ("args", "ports")}
            first.append({**init, "name": entry.name + PRE_START_SUFFIX, "command": list(handler)})
        if entry.app and entry.app.handler(POST_STOP):
            lost.append((f"{path}.app.eventHandlers", "nothing runs after a container has ended"))
    spec: dict[str, Any] = {
        "restartPolicy": _restart(pod, lost),
        "hostNetwork": host_network,
        "hostname": hostname,
        "terminationGracePeriodSeconds": None if grace is None else round(grace),
        "securityContext": _pod_security(pod, lost),
        "initContainers": first,
        "containers": containers,
        "volumes": [{"name": name, **source} for name, source in volumes.items()],
    }
    metadata = {
        "name": name[:_LONGEST_NAME].strip("-."),
        "labels": _labels(pod, lost),
        "annotations": _annotations(pod, lost),
    }
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": _given(metadata), "spec": _given(spec)}
    return document, lost


def image_reference(image: RuntimeImage) -> str:
    """Return how a container names an app's image: its name and version."""
    version = image.labels.get("version")
    return f"{image.name}:{version}" if version else str(image.name)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing; a zero says something."""
    return {key: value for key, value in fields.items() if value or (value == 0 and value is not False)}


def _volume(volume: Volume) -> dict[str, Any]:
    return {"hostPath": {"path": volume.source}} if volume.kind == "host" else {"emptyDir": {}}


def _mounts(pod: PodManifest, entry: RuntimeApp, volumes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The mounts of an app; volumes that are the app's own join the pod's."""
    points = {point.path.rstrip("/"): point for point in (entry.app.mount_points if entry.app else ())}
    mounts = []
    for mount in entry.mounts:
        name, volume = mount.volume, mount.app_volume or pod.volume(mount.volume)
        if mount.app_volume is not None:
            name = f"{entry.name}-{mount.volume}"
            volumes[name] = _volume(mount.app_volume)
        point = points.get(mount.path.rstrip("/"))
        told = volume.read_only if volume is not None else None
        read_only = told if told is not None else bool(point and point.read_only)
        mounts.append(_given({"name": name, "mountPath": mount.path, "readOnly": read_only}))
    return mounts


def _container(
    pod: PodManifest, entry: RuntimeApp, mounts: list[dict[str, Any]], path: str, lost: Lost
) -> dict[str, Any]:
    app = entry.app
    assert app is not None, "a reified manifest has an app for each entry"
    if entry.image.id is not None and not entry.image.name:
        lost.append((f"{path}.image", "an image without a name cannot be named"))
    return _given(
        {
            "name": entry.name,
            "image": image_reference(entry.image),
            "command": list(app.exec),
            "workingDir": app.working_directory,
            "env": [{"name": variable.name, "value": variable.value} for variable in app.environment],
            "ports": _ports(pod, app, path, lost),
            "resources": _resources(app),
            "volumeMounts": mounts,
            "securityContext": _security(entry, app, path, lost),
        }
    )


def _ports(pod: PodManifest, app: App, path: str, lost: Lost) -> list[dict[str, Any]]:
    exposed = {port.name: port for port in pod.ports}
    found = []
    for index, port in enumerate(app.ports):
        if port.count > MOST_PORTS:
            lost.append((f"{path}.app.ports[{index}]", f"only the first {MOST_PORTS} of {port.count} ports are listed"))
        outside = exposed.get(port.name)
        for offset in range(min(port.count, MOST_PORTS)):
            name = port.name if port.count == 1 and len(port.name) <= _LONGEST_PORT_NAME else ""
            fields: dict[str, Any] = {
                "name": name,
                "containerPort": port.port + offset,
                "protocol": port.protocol.upper(),
            }
            if outside is not None:
                fields |= {"hostPort": outside.host_port + offset, "hostIP": outside.host_ip}
            found.append(_given(fields))
        if port.socket_activated:
            lost.append((f"{path}.app.ports[{index}].socketActivated", "sockets are not handed to containers"))
    return found


def _resources(app: App) -> dict[str, Any]:
    limits, requests = {}, {}
    for name, resource in _RESOURCES.items():
        isolator = find(app.isolators, name)
        if isolator is None or not isinstance(isolator.value, ResourceValue):
            continue
        if isolator.value.limit is not None:
            limits[resource] = str(isolator.value.limit)
        if isolator.value.request is not None:
            requests[resource] = str(isolator.value.request)
    return _given({"limits": limits, "requests": requests})


def _security(entry: RuntimeApp, app: App, path: str, lost: Lost) -> dict[str, Any]:
    fields: dict[str, Any] = {"readOnlyRootFilesystem": entry.read_only_root_fs}
    for key, name in (("runAsUser", app.user), ("runAsGroup", app.group)):
        if name.isascii() and name.isdecimal():
            fields[key] = int(name)
        else:
            lost.append((f"{path}.app.{'user' if key == 'runAsUser' else 'group'}", f"{name!r} is not a number"))
    known = {*_RESOURCES, CAPS_REMOVE, CAPS_RETAIN, _NO_NEW_PRIVILEGES}
    for index, isolator in enumerate(app.isolators):
        if isinstance(isolator.value, SelinuxValue):
            fields["seLinuxOptions"] = {key: getattr(isolator.value, key) for key in ("user", "role", "type", "level")}
        elif isinstance(isolator.value, AppArmorValue):
            fields["appArmorProfile"] = {"type": "Localhost", "localhostProfile": isolator.value.profile}
        elif isolator.name not in known:
            lost.append((f"{path}.app.isolators[{index}]", f"there is nothing for {isolator.name}"))
    fields["capabilities"] = _capabilities(app.isolators)
    nothing_gained = find(app.isolators, _NO_NEW_PRIVILEGES)
    given = _given(fields)
    if nothing_gained is not None and nothing_gained.value is True:
        given["allowPrivilegeEscalation"] = False
    return given


def _capabilities(isolators: tuple[Isolator, ...]) -> dict[str, Any]:
    """A retain set is everything dropped but these; a remove set drops these. Kubernetes leaves out the prefix CAP_."""
    retained, removed = find(isolators, CAPS_RETAIN), find(isolators, CAPS_REMOVE)
    if retained is not None and isinstance(retained.value, SetValue):
        return {"drop": ["ALL"], "add": [name.removeprefix("CAP_") for name in retained.value.set]}
    if removed is not None and isinstance(removed.value, SetValue):
        return {"drop": [name.removeprefix("CAP_") for name in removed.value.set]}
    return {}


def _pod_security(pod: PodManifest, lost: Lost) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    groups = [gid for entry in pod.apps if entry.app for gid in entry.app.supplementary_gids]
    if groups:
        # Kubernetes gives them to all containers alike.
        fields["supplementalGroups"] = sorted(set(groups))
        different = {tuple(sorted(set(entry.app.supplementary_gids))) for entry in pod.apps if entry.app}
        if len(different) > 1:
            lost.append(("apps", "every container gets the supplementary groups of all apps"))
    for index, isolator in enumerate(pod.isolators):
        if isolator.name == "os/unix/sysctl":
            fields["sysctls"] = [{"name": key, "value": value} for key, value in isolator.value.items()]
        else:
            lost.append((f"isolators[{index}]", f"there is nothing for {isolator.name} of a whole pod"))
    return fields


def _restart(pod: PodManifest, lost: Lost) -> str:
    policies = set()
    for index, entry in enumerate(pod.apps):
        policy = next((item.value for item in entry.annotations if item.name == RESTART), "no")
        word, _, most = policy.partition(":")
        policies.add(_RESTARTS.get(word, "Never"))
        if most:
            lost.append((f"apps[{index}].annotations", "how often a container runs again is not limited"))
    if len(policies) > 1:
        lost.append(("apps", "all containers have one restart policy"))
    return policies.pop() if len(policies) == 1 else "Always"


def _labels(pod: PodManifest, lost: Lost) -> dict[str, str]:
    labels = {}
    for key, value in pod.user_labels.items():
        if _is_label(key.rpartition("/")[2]) and (not value or _is_label(value)):
            labels[key] = value
        else:
            lost.append((f"userLabels.{key}", "is not what a label of Kubernetes may be"))
    return labels


def _annotations(pod: PodManifest, lost: Lost) -> dict[str, str]:
    annotations = {}
    own = {str(item.name): item.value for item in pod.annotations if not item.name.startswith(_OF_THIS_HOST)}
    for path, entries in (("annotations", own), ("userAnnotations", pod.user_annotations)):
        for key, value in entries.items():
            prefix, _, name = key.rpartition("/")
            if _is_label(name) and not set("/_") & set(prefix) and (not prefix or _is_label(prefix)):
                annotations[key] = value
            else:
                lost.append((f"{path}.{key}", "is not what an annotation of Kubernetes may be called"))
    return annotations


def _is_label(text: str) -> bool:
    plain = text.replace("-", "a").replace("_", "a").replace(".", "a")
    return bool(text) and len(text) <= _LONGEST_NAME and plain.isascii() and plain.isalnum() and text[0].isalnum()
