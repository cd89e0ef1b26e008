"""Ports of the host that lead to a pod: a table of the packet filter for each pod that has some.

One table, so that one request takes all of it away again; apps that come later have one of their own, which goes with
them.
"""

from __future__ import annotations

from appc.host import nftables
from appc.host.nftables import IPV4, IPV6, Chain
from appc.network.mapping import is_every

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.network.mapping import PortMapping

_LOOPBACK = ("127.0.0.0", 8)
_BEFORE_SRCNAT = nftables.SRCNAT - 1


def table(pod: str, app: str = "") -> str:
    """Return the name of a pod's table, or of that of an app which came later."""
    return f"appc-{pod}-{app}" if app else f"appc-{pod}"


def open_ports(
    pod: str, link: str, addresses: Sequence[str], mappings: Sequence[PortMapping], *, app: str = ""
) -> None:
    """Have the host's ports lead to the pod behind `link`, which has `addresses`; for an `app` that came later, in the
    place of those it had. Raises OSError."""
    forward: list[list[bytes]] = []
    back: list[list[bytes]] = []
    for address in addresses:
        version = IPV6 if ":" in address else IPV4
        whole = 128 if version == IPV6 else 32
        for mapping in mappings:
            if mapping.host_ip and (":" in mapping.host_ip) != (version == IPV6):
                continue
            forward += _redirections(address, version, mapping)
        # What a pod sends to its own port on the host comes back to it, and must not seem to come from itself.
        back.append([*nftables.source(address, whole), *nftables.destination(address, whole), *nftables.masquerade()])
    back.append([*nftables.source(*_LOOPBACK), *nftables.to_link(link), *nftables.masquerade()])
    # Packets for the host's loopback addresses may be routed to the pod, so those of the pod must not pass for them.
    guard = [[*nftables.from_link(link), *nftables.destination(*_LOOPBACK), *nftables.drop()]]
    chains = [
        Chain("guard", "filter", nftables.PREROUTING, nftables.RAW, guard),
        Chain("prerouting", "nat", nftables.PREROUTING, nftables.DSTNAT, forward),
        Chain("output", "nat", nftables.OUTPUT, nftables.DSTNAT, forward),
        Chain("postrouting", "nat", nftables.POSTROUTING, _BEFORE_SRCNAT, back),
    ]
    nftables.make_table(table(pod, app), chains)
    with open(f"/proc/sys/net/ipv4/conf/{link}/route_localnet", "wb") as stream:
        stream.write(b"1")


def close_ports(pod: str, *, app: str = "") -> None:
    """Take the pod's tables away, or that of an app alone; one that is gone is fine."""
    if app:
        nftables.remove_table(table(pod, app))
        return
    for name in nftables.table_names():
        if name == table(pod) or name.startswith(f"{table(pod)}-"):
            nftables.remove_table(name)


def are_open(pod: str, *, app: str = "") -> bool:
    """Whether the pod's table is there, or that of an app."""
    return table(pod, app) in nftables.table_names()


def _redirections(address: str, version: int, mapping: PortMapping) -> list[list[bytes]]:
    if mapping.host_ip and not is_every(mapping.host_ip):
        where = nftables.destination(mapping.host_ip, 128 if version == IPV6 else 32)
    else:
        where = [*nftables.family(version), *nftables.local_destination()]
    if mapping.host_port == mapping.pod_port:
        ports = nftables.port(mapping.protocol, mapping.host_port, mapping.count)
        return [[*where, *ports, *nftables.redirect_to(address)]]
    return [
        [
            *where,
            *nftables.port(mapping.protocol, mapping.host_port + offset),
            *nftables.redirect_to(address, mapping.pod_port + offset),
        ]
        for offset in range(mapping.count)
    ]
