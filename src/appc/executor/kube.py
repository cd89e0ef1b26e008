"""From a Kubernetes Pod to a pod that can be prepared: what one machine can do of it.

A container is an app of the image that is given for it; its command, arguments, variables and user go before the
image's. An init container called `NAME-pre-start` with the image of container NAME is that app's pre-start handler, as
`formats.kube_write` writes them; there is nothing for others.
"""

from __future__ import annotations

from appc.errors import ManifestError
from appc.formats.convert_image import command_of
from appc.formats.enforce import DEFAULT_CAPABILITIES
from appc.formats.kube_write import PRE_START_SUFFIX
from appc.network.names import Names
from appc.pods.reify import AC_VERSION, merged_isolators
from appc.pods.request import PodRequest
from appc.schema.common import Annotation
from appc.schema.image import PRE_START, App, EnvVar, EventHandler, MountPoint, Port
from appc.schema.isolators import CAPS_REMOVE, CAPS_RETAIN, SECCOMP_RETAIN, Isolator
from appc.schema.pod import ExposedPort, Mount, PodManifest, RuntimeApp, RuntimeImage, Volume
from appc.schema.policies import RESTART

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.schema.kube import Capabilities, Container, KubePod
    from appc.store.images import StoredImage

_RESTARTS = {"Always": "always", "OnFailure": "on-failure"}
# A volume with a group is writable by it, and new files in it have that group.
_GROUP_MODE = "2775"
_ROOTS = ("", "0", "root")


def check(pod: KubePod) -> None:
    """Raise ManifestError, with all paths, for what the schema allows and no pod here can be."""
    faults = []
    containers = {container.name: container for container in pod.spec.containers}
    for index, first in enumerate(pod.spec.init_containers):
        app = containers.get(first.name.removesuffix(PRE_START_SUFFIX))
        path = f"spec.initContainers[{index}]"
        if app is None or not first.name.endswith(PRE_START_SUFFIX) or first.image != app.image:
            faults.append((path, f"is not supported: only NAME{PRE_START_SUFFIX} with the image of container NAME is"))
        elif not first.command:
            faults.append((f"{path}.command", "is required"))
    volumes = {volume.name for volume in pod.spec.volumes}
    for index, container in enumerate(pod.spec.containers):
        for at, mount in enumerate(container.volume_mounts):
            if mount.name not in volumes:
                path = f"spec.containers[{index}].volumeMounts[{at}].name"
                faults.append((path, f"there is no volume {mount.name!r}"))
    if faults:
        raise ManifestError(faults)


def to_request(pod: KubePod, images: Mapping[str, StoredImage], **more: Any) -> PodRequest:
    """Return the request that runs a Pod which `check` found sound; `images` are its containers' by their names.

    A Pod with ports of the host that is not on the host's network is attached to the network `default`, any other
    is too, as it would be in a cluster. `more` are the request's fields that no Pod has. Raises ManifestError for a
    user that must not be root and is, and for a container without a command.
    """
    spec = pod.spec
    return PodRequest(
        manifest=to_manifest(pod, images),
        net="host" if spec.host_network else "default",
        hostname=spec.hostname or pod.metadata.name[:63],
        names=Names(
            spec.dns_config.nameservers,
            spec.dns_config.searches,
            tuple(f"{one.name}:{one.value}" if one.value else one.name for one in spec.dns_config.options),
            hosts=tuple((alias.ip, alias.hostnames) for alias in spec.host_aliases),
        ),
        **more,
    )


def to_manifest(pod: KubePod, images: Mapping[str, StoredImage]) -> PodManifest:
    """Return the reified manifest of a Pod; see `to_request`."""
    faults: list[tuple[str, str]] = []
    apps = []
    for index, container in enumerate(pod.spec.containers):
        image = images[container.name]
        restart = _RESTARTS.get(pod.spec.restart_policy)
        app = _app(pod, container, image, f"spec.containers[{index}]", faults)
        if app is None:
            continue
        apps.append(
            RuntimeApp(
                name=container.name,
                image=RuntimeImage(name=image.name, id=image.id, labels=image.labels),
                app=app,
                read_only_root_fs=container.security_context.read_only_root_filesystem,
                mounts=tuple(Mount(volume=one.name, path=one.mount_path) for one in container.volume_mounts),
                annotations=(Annotation(name=RESTART, value=restart),) if restart else (),
            )
        )
    if faults:
        raise ManifestError(faults)
    sysctls = {one.name: one.value for one in pod.spec.security_context.sysctls}
    return PodManifest(
        ac_version=AC_VERSION,
        ac_kind="PodManifest",
        apps=tuple(apps),
        volumes=tuple(_volume(pod, index) for index in range(len(pod.spec.volumes))),
        isolators=(Isolator.parse({"name": "os/unix/sysctl", "value": sysctls}),) if sysctls else (),
        ports=tuple(
            ExposedPort(name=_port_name(container, index), host_port=port.host_port, host_ip=port.host_ip)
            for container in pod.spec.containers
            for index, port in enumerate(container.ports)
            if port.host_port
        ),
        user_annotations=dict(pod.metadata.annotations),
        user_labels=dict(pod.metadata.labels),
    )


def _app(
    pod: KubePod, container: Container, image: StoredImage, path: str, faults: list[tuple[str, str]]
) -> App | None:
    own = image.manifest.app or App(exec=(), user="0", group="0")
    context, shared = container.security_context, pod.spec.security_context
    environment = {str(variable.name): variable.value for variable in own.environment}
    for variable in container.env:
        environment[variable.name] = _expanded(variable.value, environment)
    command = _command(container, image, own, environment)
    if not command:
        faults.append((f"{path}.command", f"is required: image {image.name} has none"))
        return None
    user = _first(context.run_as_user, shared.run_as_user, own.user)
    non_root = shared.run_as_non_root if context.run_as_non_root is None else context.run_as_non_root
    if non_root and user in _ROOTS:
        faults.append((f"{path}.securityContext.runAsNonRoot", f"image {image.name} runs as root"))
    groups = (*own.supplementary_gids, *shared.supplemental_groups)
    if shared.fs_group is not None:
        groups = (*groups, shared.fs_group)
    fields = {
        "exec": command,
        "user": user,
        "group": _first(context.run_as_group, shared.run_as_group, own.group),
        "supplementary_gids": tuple(dict.fromkeys(groups)),
        "event_handlers": (
            *(handler for handler in own.event_handlers if handler.name != PRE_START or not _handler(pod, container)),
            *_handler(pod, container),
        ),
        "working_directory": container.working_dir or own.working_directory,
        "environment": tuple(EnvVar(name=name, value=value) for name, value in environment.items()),
        "mount_points": tuple(
            MountPoint(name=f"mount-{index}", path=mount.mount_path, read_only=mount.read_only)
            for index, mount in enumerate(container.volume_mounts)
        ),
        "ports": tuple(
            Port(name=_port_name(container, index), protocol=port.protocol.lower(), port=port.container_port)
            for index, port in enumerate(container.ports)
        ),
        "isolators": merged_isolators(tuple(own.isolators), tuple(_isolators(pod, container))),
    }
    return own.replace(**fields)


def _first(mine: int | None, shared: int | None, image: str) -> str:
    chosen = shared if mine is None else mine
    return image if chosen is None else str(chosen)


def _command(container: Container, image: StoredImage, own: App, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Command and arguments, each the container's or else the image's; a command leaves the image's arguments out."""
    entrypoint, arguments = command_of(image.manifest, own) or (list(own.exec), [])
    words = (
        [*container.command, *container.args] if container.command else [*entrypoint, *(container.args or arguments)]
    )
    given = container.command or container.args
    return tuple(_expanded(word, environment) for word in words) if given else tuple(words)


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """Put in the values of `$(NAME)`; one that is not known stays, and `$$` is a dollar sign."""
    parts, at = [], 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        parts.append(text[at:dollar])
        end = text.find(")", dollar)
        name = text[dollar + 2 : end] if text[dollar + 1] == "(" and end > 0 else None
        if text[dollar + 1] == "$":
            parts.append("$")
            at = dollar + 2
        elif name is not None and name in environment:
            parts.append(environment[name])
            at = end + 1
        else:
            parts.append("$")
            at = dollar + 1
    return "".join(parts) + text[at:]


def _handler(pod: KubePod, container: Container) -> tuple[EventHandler, ...]:
    for first in pod.spec.init_containers:
        if first.name == container.name + PRE_START_SUFFIX:
            return (EventHandler(name=PRE_START, exec=(*first.command, *first.args)),)
    return ()


def _port_name(container: Container, index: int) -> str:
    port = container.ports[index]
    return port.name or f"{container.name}-{port.protocol.lower()}-{port.container_port}"


def _volume(pod: KubePod, index: int) -> Volume:
    volume, group = pod.spec.volumes[index], pod.spec.security_context.fs_group
    if volume.host_path is not None:
        return Volume(name=volume.name, kind="host", source=volume.host_path.path)
    if group is not None:
        return Volume(name=volume.name, kind="empty", mode=_GROUP_MODE, gid=group)
    return Volume(name=volume.name, kind="empty", mode="0777")


def _isolators(pod: KubePod, container: Container) -> list[Isolator]:
    context, shared = container.security_context, pod.spec.security_context
    found: list[tuple[str, Any]] = []
    for resource in ("cpu", "memory"):
        limit, request = container.resources.limits.get(resource), container.resources.requests.get(resource)
        amounts = {key: str(value) for key, value in (("limit", limit), ("request", request)) if value is not None}
        if amounts:
            found.append((f"resource/{resource}", amounts))
    if context.capabilities.add or context.capabilities.drop:
        found.append(_capabilities(context.capabilities))
    if not context.allow_privilege_escalation:
        found.append(("os/linux/no-new-privileges", True))
    labels = context.se_linux_options or shared.se_linux_options
    if labels is not None:
        found.append(
            ("os/linux/selinux-context", {key: getattr(labels, key) for key in ("user", "role", "type", "level")})
        )
    profile = context.app_armor_profile or shared.app_armor_profile
    if profile is not None and profile.type != "RuntimeDefault":
        name = profile.localhost_profile if profile.type == "Localhost" else "unconfined"
        found.append(("os/linux/apparmor-profile", {"profile": name}))
    filtered = context.seccomp_profile or shared.seccomp_profile
    if filtered is not None and filtered.type == "Unconfined":
        found.append((SECCOMP_RETAIN, {"set": ["@appc.io/all"]}))
    return [Isolator.parse({"name": name, "value": value}) for name, value in found]


def _capabilities(changes: Capabilities) -> tuple[str, dict[str, list[str]]]:
    """The default capabilities without those that are dropped, with those that are added; ALL is every one."""
    dropped = {f"CAP_{name.removeprefix('CAP_')}" for name in changes.drop}
    added = {f"CAP_{name.removeprefix('CAP_')}" for name in changes.add}
    kept = (set() if "CAP_ALL" in dropped else DEFAULT_CAPABILITIES - dropped) | added
    if not kept:
        # A retain set may not be empty.
        return CAPS_REMOVE, {"set": sorted(DEFAULT_CAPABILITIES)}
    if not added and "CAP_ALL" not in dropped:
        return CAPS_REMOVE, {"set": sorted(dropped)}
    if "CAP_ALL" in added:
        from appc.abi import CAPABILITY_BITS

        kept = set(CAPABILITY_BITS) - dropped
    return CAPS_RETAIN, {"set": sorted(kept)}
