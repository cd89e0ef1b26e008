"""`resource/network-bandwidth`: every link of a pod, its loopback excepted, carries so much each way and no more.

Limits are set on the host's side of a link, where nothing in the pod can lift them. All apps of a pod share its links,
so an app's limit becomes the pod's.
"""

from __future__ import annotations

from appc.host import links, netns, traffic
from appc.host.netlink import Netlink
from appc.network import default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.schema.cni import Network

_CAPABILITY = "bandwidth"
# Of the bits per second these may come at once, but some ten packets may in any case.
_BURSTS = 100
_SMALLEST_BURST = 8 * 16 * 1024
# What plugins refuse more of.
_MOST_BITS = 2**31 - 1


def capability(network: Network, rate: int) -> dict[str, dict[str, int]]:
    """Return what a plugin of the network is told that limits bandwidth itself (CNI conventions, `bandwidth`).

    Bits per second, and bits at once, in each direction; nothing where no plugin does.
    """
    if not any((plugin.get("capabilities") or {}).get(_CAPABILITY) is True for plugin in network.plugins):
        return {}
    bits = rate * 8
    burst = min(max(bits // _BURSTS, _SMALLEST_BURST), _MOST_BITS)
    return {_CAPABILITY: {"ingressRate": bits, "ingressBurst": burst, "egressRate": bits, "egressBurst": burst}}


def through(uuid: str, number: int) -> str:
    """Return the name of the link through which a pod's link `number` is limited; links have at most 15 characters."""
    return f"appi{uuid.replace('-', '')[:9]}{number}"


def limit_links(uuid: str, namespace: str, made: Sequence[dict[str, Any]], rate: int) -> list[str]:
    """Let the links `made` (of the pod's record) carry `rate` bytes per second each way; return what cannot be.

    A limit that was set before is changed, or with a `rate` of 0 lifted. The name under "through" of each is one to
    `forget`.
    """
    problems = []
    for link in made:
        told = link.get("capabilities", {}).get(_CAPABILITY)
        if told is not None:
            if told["ingressRate"] != rate * 8:
                problems.append(f"network {link['name']}: its plugin cannot change the limit of a running pod")
            continue
        try:
            with Netlink() as netlink:
                name = _host_side(netlink, uuid, namespace, link)
                if not name:
                    problems.append(f"network {link['name']}: {link['interface']} has no other end on the host")
                    continue
                index = links.index_of(netlink, name)
                if not rate:
                    traffic.lift(netlink, index, link["through"])
                    continue
                traffic.limit_out(netlink, index, rate)
                traffic.limit_in(netlink, index, link["through"], rate)
        except OSError as error:
            problems.append(f"network {link['name']}: the kernel does not limit it: {error.strerror}")
    return problems


def forget(names: Sequence[str]) -> None:
    """Remove the links called `names` that `limit_links` made; what is gone already is fine."""
    with Netlink() as netlink:
        for name in names:
            links.delete(netlink, name)


def _host_side(netlink: Netlink, uuid: str, namespace: str, link: dict[str, Any]) -> str:
    """Return the name of the host's end of a link, "" when it has none (macvlan and its kind)."""
    if "config" not in link:
        return default.host_link(uuid)

    def ends() -> tuple[int, int]:
        with Netlink() as inside:
            return links.index_of(inside, link["interface"]), links.peer_of(inside, link["interface"])

    own, peer = netns.inside(namespace, ends)
    if not peer:
        return ""
    try:
        name = links.name_of(netlink, peer)
    except OSError:
        return ""
    # The index is one of the namespace where the other end is, which need not be ours.
    return name if links.peer_of(netlink, name) == own else ""
