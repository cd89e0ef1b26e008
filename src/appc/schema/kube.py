"""The part of a Kubernetes Pod (core/v1) that a pod here can be.

What a Pod says that changes how it runs and that has no place here is a fault with its path, since a pod that silently
runs with less than it asks for is worse than none. What only means something to a cluster (where to schedule it, whose
account it has) is accepted and without effect.
"""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema.isolators import quantity
from appc.schema.kinds import Faults, anything, boolean, choice, frozen_dict, integer, list_of, map_of, string, unique
from appc.schema.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.values import Quantity

_STRINGS = list_of(string)
_TEXTS = map_of(string)
_EMPTY: Any = frozen_dict({})
_ID = integer(0, (1 << 32) - 2)
_PORT = integer(1, 65535)


class Part(Record):
    """A part of a Pod; a field it does not name is a fault unless it is `idle`: without effect on one machine."""

    def _check(self, faults: Faults) -> None:
        for key, value in self.extra.items():
            if key not in IDLE and value not in (None, False, "", [], {}):
                faults.add("is not supported", key)


# Fields of several parts; none of them has another meaning in another part.
IDLE = frozenset(
    (
        "affinity",
        "automountServiceAccountToken",
        "creationTimestamp",
        "dnsPolicy",
        "enableServiceLinks",
        "generateName",
        "imagePullSecrets",
        "managedFields",
        "nodeName",
        "nodeSelector",
        "ownerReferences",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "resourceVersion",
        "schedulerName",
        "selfLink",
        "serviceAccount",
        "serviceAccountName",
        "status",
        "stdin",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "tolerations",
        "topologySpreadConstraints",
        "tty",
        "uid",
    )
)


class EnvVar(Part):
    """A variable; where its value comes from a cluster there is none."""

    name: str = field("name", string)
    value: str = field("value", string, default="")


class ContainerPort(Part):
    """A port that a container listens on, and the host's port that leads to it (0: none)."""

    name: str = field("name", string, default="")
    container_port: int = field("containerPort", _PORT)
    protocol: str = field("protocol", choice("TCP", "UDP"), default="TCP")
    host_port: int = field("hostPort", _PORT, default=0)
    host_ip: str = field("hostIP", string, default="")


class VolumeMount(Part):
    """A volume at a path of a container."""

    name: str = field("name", string)
    mount_path: str = field("mountPath", string)
    read_only: bool = field("readOnly", boolean, default=False)


class Resources(Part):
    """What a container may have at most, and needs at least."""

    limits: Mapping[str, Quantity] = field("limits", map_of(quantity), default=_EMPTY)
    requests: Mapping[str, Quantity] = field("requests", map_of(quantity), default=_EMPTY)

    def _check(self, faults: Faults) -> None:
        super()._check(faults)
        for key in ("limits", "requests"):
            for name in getattr(self, key):
                if name not in ("cpu", "memory"):
                    faults.add("is not supported: only cpu and memory are", f"{key}.{name}")


class Capabilities(Part):
    """Changes to the default capabilities; names come without their prefix."""

    add: tuple[str, ...] = field("add", _STRINGS, default=())
    drop: tuple[str, ...] = field("drop", _STRINGS, default=())


class SeLinuxOptions(Part):
    """The parts of a security context."""

    user: str = field("user", string)
    role: str = field("role", string)
    type: str = field("type", string)
    level: str = field("level", string)


class Profile(Part):
    """A seccomp or an AppArmor profile."""

    type: str = field("type", choice("RuntimeDefault", "Unconfined", "Localhost"))
    localhost_profile: str = field("localhostProfile", string, default="")


class SecurityContext(Part):
    """What a container may do, and as whom; None where the pod, or the image, decides."""

    run_as_user: int | None = field("runAsUser", _ID, default=None)
    run_as_group: int | None = field("runAsGroup", _ID, default=None)
    run_as_non_root: bool | None = field("runAsNonRoot", boolean, default=None)
    read_only_root_filesystem: bool = field("readOnlyRootFilesystem", boolean, default=False)
    allow_privilege_escalation: bool = field("allowPrivilegeEscalation", boolean, default=True)
    capabilities: Capabilities = field("capabilities", Capabilities.decode, default=Capabilities())
    se_linux_options: SeLinuxOptions | None = field("seLinuxOptions", SeLinuxOptions.decode, default=None)
    app_armor_profile: Profile | None = field("appArmorProfile", Profile.decode, default=None)
    seccomp_profile: Profile | None = field("seccompProfile", Profile.decode, default=None)

    def _check(self, faults: Faults) -> None:
        super()._check(faults)
        if self.seccomp_profile is not None and self.seccomp_profile.type == "Localhost":
            faults.add("there are no such files here", "seccompProfile.localhostProfile")
        profile = self.app_armor_profile
        if profile is not None and profile.type == "Localhost" and not profile.localhost_profile:
            faults.add("is required", "appArmorProfile.localhostProfile")


class Sysctl(Part):
    """A parameter of the pod's kernel namespaces."""

    name: str = field("name", string)
    value: str = field("value", string)


class PodSecurityContext(Part):
    """What holds for all containers that do not say otherwise."""

    run_as_user: int | None = field("runAsUser", _ID, default=None)
    run_as_group: int | None = field("runAsGroup", _ID, default=None)
    run_as_non_root: bool | None = field("runAsNonRoot", boolean, default=None)
    fs_group: int | None = field("fsGroup", _ID, default=None)
    supplemental_groups: tuple[int, ...] = field("supplementalGroups", list_of(_ID), default=())
    sysctls: tuple[Sysctl, ...] = field("sysctls", list_of(Sysctl.decode), default=())
    se_linux_options: SeLinuxOptions | None = field("seLinuxOptions", SeLinuxOptions.decode, default=None)
    app_armor_profile: Profile | None = field("appArmorProfile", Profile.decode, default=None)
    seccomp_profile: Profile | None = field("seccompProfile", Profile.decode, default=None)


class Container(Part):
    """An image, and how it is run; without `command` the image says."""

    name: str = field("name", string)
    image: str = field("image", string)
    image_pull_policy: str = field("imagePullPolicy", choice("Always", "IfNotPresent", "Never"), default="")
    command: tuple[str, ...] = field("command", _STRINGS, default=())
    args: tuple[str, ...] = field("args", _STRINGS, default=())
    working_dir: str = field("workingDir", string, default="")
    env: tuple[EnvVar, ...] = field("env", list_of(EnvVar.decode), default=())
    ports: tuple[ContainerPort, ...] = field("ports", list_of(ContainerPort.decode), default=())
    resources: Resources = field("resources", Resources.decode, default=Resources())
    volume_mounts: tuple[VolumeMount, ...] = field("volumeMounts", list_of(VolumeMount.decode), default=())
    security_context: SecurityContext = field("securityContext", SecurityContext.decode, default=SecurityContext())


class HostPath(Part):
    """A path of the host; of what type it is is seen when it is mounted."""

    path: str = field("path", string)
    type: str = field("type", string, default="")


class Volume(Part):
    """A directory of the pod's own (`empty_dir`), or a path of the host."""

    name: str = field("name", string)
    empty_dir: Any = field("emptyDir", anything, default=None)
    host_path: HostPath | None = field("hostPath", HostPath.decode, default=None)

    def _check(self, faults: Faults) -> None:
        super()._check(faults)
        if self.host_path is None and not self.given("emptyDir") and not self.extra:
            faults.add("is neither emptyDir nor hostPath")
        if isinstance(self.empty_dir, dict) and any(self.empty_dir.values()):
            faults.add("a medium and a size are not supported", "emptyDir")


class HostAlias(Part):
    """A line of /etc/hosts."""

    ip: str = field("ip", string)
    hostnames: tuple[str, ...] = field("hostnames", _STRINGS, default=())


class DNSOption(Part):
    """An option of resolv.conf."""

    name: str = field("name", string)
    value: str = field("value", string, default="")


class DNSConfig(Part):
    """What resolv.conf says."""

    nameservers: tuple[str, ...] = field("nameservers", _STRINGS, default=())
    searches: tuple[str, ...] = field("searches", _STRINGS, default=())
    options: tuple[DNSOption, ...] = field("options", list_of(DNSOption.decode), default=())


def _some(items: tuple[Container, ...], faults: Faults) -> tuple[Container, ...]:
    if not items:
        raise InvalidValue("must not be empty")
    unique(items, "name", "container", faults)
    return items


class PodSpec(Part):
    """The containers of a pod, and what they share."""

    containers: tuple[Container, ...] = field("containers", list_of(Container.decode, _some))
    init_containers: tuple[Container, ...] = field("initContainers", list_of(Container.decode), default=())
    volumes: tuple[Volume, ...] = field("volumes", list_of(Volume.decode), default=())
    restart_policy: str = field("restartPolicy", choice("Always", "OnFailure", "Never"), default="Always")
    hostname: str = field("hostname", string, default="")
    host_network: bool = field("hostNetwork", boolean, default=False)
    share_process_namespace: bool = field("shareProcessNamespace", boolean, default=False)
    host_aliases: tuple[HostAlias, ...] = field("hostAliases", list_of(HostAlias.decode), default=())
    dns_config: DNSConfig = field("dnsConfig", DNSConfig.decode, default=DNSConfig())
    grace: int | None = field("terminationGracePeriodSeconds", integer(0, 86400), default=None)
    security_context: PodSecurityContext = field(
        "securityContext", PodSecurityContext.decode, default=PodSecurityContext()
    )


class Metadata(Part):
    """What the pod is called."""

    name: str = field("name", string, default="")
    namespace: str = field("namespace", string, default="")
    labels: Mapping[str, str] = field("labels", _TEXTS, default=_EMPTY)
    annotations: Mapping[str, str] = field("annotations", _TEXTS, default=_EMPTY)


class KubePod(Part):
    """A Pod of Kubernetes."""

    api_version: str = field("apiVersion", choice("v1"))
    kind: str = field("kind", choice("Pod"))
    metadata: Metadata = field("metadata", Metadata.decode, default=Metadata())
    spec: PodSpec = field("spec", PodSpec.decode)
