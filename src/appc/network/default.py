"""The built-in network: a link from the host to each pod, routes between them, and the host's own address outside.

Nothing has to be installed for it. A pod has one IPv4 address, and one IPv6 address where the kernel has that, each
routed to its own link; pods reach each other through the host. Beyond the host they are seen with its address.
"""

from __future__ import annotations

import errno
import os

from appc.errors import HostError
from appc.host import links, netns, nftables
from appc.host.links import packed
from appc.host.netlink import Netlink
from appc.schema.subnet import Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TABLE = "appc-masquerade-"
_IPV6_NETWORK = "fd61:7070:6300:"  # unique local addresses (RFC 4193)
_IPV6_PREFIX = 64
_IPV6_GATEWAY = "fe80::1"
_SYSCTL = "/proc/sys/net"


def host_link(pod: str) -> str:
    """Return the name of the host's end of a pod's link; links have at most 15 characters."""
    return "appc" + pod.replace("-", "")[:11]


def attach(pod: str, namespace: str, interface: str, subnet: Subnet, number: int) -> dict[str, Any]:
    """Give the pod its link and the addresses of `number`; return what was made in the form of a CNI result.

    Raises OSError and HostError; `detach` then clears what had been done.
    """
    name = host_link(pod)
    address, address6 = subnet.address(number), f"{_IPV6_NETWORK}:{number:x}"
    with_ipv6 = _has_ipv6()
    with Netlink() as netlink:
        fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            links.make_veth(netlink, name, interface, fd)
        finally:
            os.close(fd)
        index = links.index_of(netlink, name)
        links.set_up(netlink, index)
        links.add_address(netlink, index, subnet.gateway, 32)
        links.add_route(netlink, index, address, 32, source=subnet.gateway)
        if with_ipv6:
            links.add_address(netlink, index, _IPV6_GATEWAY, 64)
            links.add_route(netlink, index, address6, 128)
    netns.inside(namespace, lambda: _configure(interface, subnet, address, address6 if with_ipv6 else ""))
    _forward(with_ipv6)
    _translate(subnet, with_ipv6)
    ips = [{"address": f"{address}/32", "gateway": subnet.gateway, "interface": 0}]
    if with_ipv6:
        ips.append({"address": f"{address6}/128", "gateway": _IPV6_GATEWAY, "interface": 0})
    return {"interfaces": [{"name": interface, "sandbox": namespace}], "ips": ips}


def detach(pod: str) -> None:
    """Take the pod's link away, and its routes with it; one that is gone is fine."""
    with Netlink() as netlink:
        links.delete(netlink, host_link(pod))


def faults(pod: str) -> list[str]:
    """Return what is gone of what `attach` made on the host."""
    found = []
    try:
        with Netlink() as netlink:
            links.index_of(netlink, host_link(pod))
    except OSError:
        found.append(f"the pod's link {host_link(pod)} is gone")
    if not any(name.startswith(_TABLE) for name in nftables.table_names()):
        found.append("the rules that translate addresses are gone")
    return found


def forget() -> None:
    """Take away what the pods of the network share, when none is left."""
    for name in nftables.table_names():
        if name.startswith(_TABLE):
            nftables.remove_table(name)


def _configure(interface: str, subnet: Subnet, address: str, address6: str) -> None:
    """Set up the pod's side, from inside its namespace."""
    with Netlink() as netlink:
        index = links.index_of(netlink, interface)
        links.set_up(netlink, index)
        links.add_address(netlink, index, address, 32)
        links.add_route(netlink, index, subnet.gateway, 32)
        links.add_route(netlink, index, "0.0.0.0", 0, gateway=subnet.gateway)
        if address6:
            links.add_address(netlink, index, address6, 128)
            links.add_route(netlink, index, "::", 0, gateway=_IPV6_GATEWAY)


def _has_ipv6() -> bool:
    try:
        with open(f"{_SYSCTL}/ipv6/conf/all/disable_ipv6", "rb") as stream:
            return stream.read().strip() == b"0"
    except FileNotFoundError:
        return False


def _forward(with_ipv6: bool) -> None:
    """Have the host forward packets between its links."""
    _set("ipv4/ip_forward", "1")
    if not with_ipv6:
        return
    # A host that forwards no longer listens to routers, unless it is told to: it would lose its default route.
    for name in os.listdir(f"{_SYSCTL}/ipv6/conf"):
        if _get(f"ipv6/conf/{name}/accept_ra") == "1" and _get(f"ipv6/conf/{name}/forwarding") == "0":
            _set(f"ipv6/conf/{name}/accept_ra", "2")
    _set("ipv6/conf/all/forwarding", "1")


def _get(key: str) -> str:
    try:
        with open(f"{_SYSCTL}/{key}", "rb") as stream:
            return stream.read().decode().strip()
    except FileNotFoundError:
        # The link went meanwhile.
        return ""


def _set(key: str, value: str) -> None:
    if _get(key) in (value, ""):
        return
    try:
        with open(f"{_SYSCTL}/{key}", "wb") as stream:
            stream.write(value.encode())
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise HostError(f"cannot be set to {value}: {error.strerror}", f"net.{key.replace('/', '.')}") from None


def _translate(subnet: Subnet, with_ipv6: bool) -> None:
    """Have packets of pods leave the host with its address; done once, and again after somebody cleared the rules."""
    table = f"{_TABLE}{packed(subnet.address(0)).hex()}-{subnet.prefix}"
    if table in nftables.table_names():
        return
    rules = [_leaving(subnet.address(0), subnet.prefix, "224.0.0.0", 4)]
    if with_ipv6:
        rules.append(_leaving(f"{_IPV6_NETWORK}:", _IPV6_PREFIX, "ff00::", 8))
    chain = nftables.Chain("postrouting", "nat", nftables.POSTROUTING, nftables.SRCNAT, rules)
    nftables.make_table(table, [chain])


def _leaving(address: str, prefix: int, multicast: str, multicast_prefix: int) -> list[bytes]:
    return [
        *nftables.source(address, prefix),
        *nftables.destination(address, prefix, equal=False),
        *nftables.destination(multicast, multicast_prefix, equal=False),
        *nftables.masquerade(),
    ]
