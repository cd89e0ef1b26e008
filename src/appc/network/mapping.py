"""Which ports of the host lead to which of a pod (pods.md, "ports")."""

from __future__ import annotations

from appc.errors import AppcError
from appc.host.links import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.schema.image import Port
    from appc.schema.pod import PodManifest

_PROTOCOLS = ("tcp", "udp")


class PortMapping:
    """`count` ports of the host, from `host_port` on, that lead to as many of the pod, from `pod_port` on.

    `host_ip` is the address of the host they are open at: "" for all, 0.0.0.0 for those of IPv4, :: for those of IPv6.
    `protocol` is tcp or udp.
    """

    __slots__ = ("count", "host_ip", "host_port", "pod_port", "protocol")

    def __init__(self, protocol: str, host_ip: str, host_port: int, pod_port: int, count: int = 1) -> None:
        self.protocol = protocol
        self.host_ip = host_ip
        self.host_port = host_port
        self.pod_port = pod_port
        self.count = count

    def to_cni(self) -> list[dict[str, Any]]:
        """Return the CNI convention's form, `portMappings`: one entry for each port."""
        return [
            {
                "hostPort": self.host_port + offset,
                "containerPort": self.pod_port + offset,
                "protocol": self.protocol,
                **({"hostIP": self.host_ip} if self.host_ip else {}),
            }
            for offset in range(self.count)
        ]


def mappings(manifest: PodManifest) -> tuple[PortMapping, ...]:
    """Return what the `ports` of a pod manifest mean: each opens the port of that name, of whichever app has it.

    Raises AppcError for a name that no app has, or several, for protocols other than tcp and udp, and for ports of
    the host that two of them would open.
    """
    found: list[PortMapping] = []
    for index, exposed in enumerate(manifest.ports):
        where = f"ports[{index}]"
        port = exposed.pod_port or _port(manifest, str(exposed.name), where)
        if port.protocol not in _PROTOCOLS:
            raise AppcError(f"{port.protocol} is not tcp or udp, which can be forwarded", f"{where} ({exposed.name})")
        if exposed.host_port + port.count > 65536:
            raise AppcError(f"its {port.count} ports end beyond 65535", f"{where} ({exposed.name})")
        mapping = PortMapping(port.protocol, exposed.host_ip, exposed.host_port, port.port, port.count)
        clash = next((other for other in found if _overlap(other, mapping)), None)
        if clash is not None:
            raise AppcError(f"port {clash.host_port}/{clash.protocol} of the host is asked for twice", where)
        found.append(mapping)
    return tuple(found)


def _port(manifest: PodManifest, name: str, where: str) -> Port:
    declared = [(entry.name, port) for entry in manifest.apps for port in (entry.app.ports if entry.app else ())]
    matching = [(app, port) for app, port in declared if port.name == name]
    if len(matching) == 1:
        return matching[0][1]
    if matching:
        apps = ", ".join(str(app) for app, _ in matching)
        raise AppcError(
            f"several apps have a port {name}: {apps}", where, "a pod manifest's podPort can tell them apart"
        )
    known = ", ".join(sorted({str(port.name) for _, port in declared}))
    hint = f"there are {known}" if known else "no app of the pod declares a port"
    raise AppcError(f"no app has a port {name}", where, hint)


def _overlap(one: PortMapping, other: PortMapping) -> bool:
    if one.protocol != other.protocol or not _meet(one.host_ip, other.host_ip):
        return False
    return one.host_port < other.host_port + other.count and other.host_port < one.host_port + one.count


def _meet(one: str, other: str) -> bool:
    """Tell whether an address of the host is meant by both."""
    if not one or not other:
        return True
    if (":" in one) != (":" in other):
        return False
    return packed(one) == packed(other) or is_every(one) or is_every(other)


def is_every(address: str) -> bool:
    """Tell whether it stands for all addresses of its version of IP."""
    return not any(packed(address))
