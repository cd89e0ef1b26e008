"""`resource/network-bandwidth`: every link of a pod, its loopback excepted, carries so much each way and no more.

Limits are set on the host's side of a link, where nothing in the pod can lift them. The apps of a pod share its links:
each with a limit has a queue of its own there, if the kernel can tell its packets from others'. Where it cannot, an
app's limit becomes the pod's.
"""

from __future__ import annotations

import os

from appc.host import classifier, links, marks, netns, traffic
from appc.host.netlink import Netlink
from appc.network import default
from appc.network.setup import BANDWIDTH, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from appc.host.classifier import Members
    from appc.host.probe import HostFacts
    from appc.schema.cni import Network
    from appc.schema.isolators import Isolator
    from appc.schema.pod import PodManifest

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


class Rates:
    """What a pod's links may carry in each direction, in bytes per second: the `pod`, 0 for no limit, and those of its
    `apps` that have one. The limit of an app that is alone is the pod's."""

    __slots__ = ("apps", "pod")

    def __init__(self, pod: int, apps: dict[str, int]) -> None:
        self.pod = pod
        self.apps = apps

    @classmethod
    def of(cls, manifest: PodManifest) -> Rates:
        """Return what a reified manifest asks for; of several limits in one place the least."""
        pod = _least(manifest.isolators)
        found = {str(entry.name): _least(entry.app.isolators) for entry in manifest.apps if entry.app}
        rates = cls(pod, {name: rate for name, rate in found.items() if rate})
        return rates if len(manifest.apps) > 1 else cls(rates.least, {})

    @property
    def least(self) -> int:
        """The limit of all together, where the apps cannot be told apart."""
        return min(filter(None, (self.pod, *self.apps.values())), default=0)


def _least(isolators: Iterable[Isolator]) -> int:
    limits = [one.value.limit for one in isolators if one.name == BANDWIDTH]
    return min((max(1, limit.value) for limit in limits if limit is not None), default=0)


class Unlimited:
    """Why limits of bandwidth are not as asked: reasons for `links` that have none, and for those at which the limits
    of `apps` became the pod's."""

    __slots__ = ("apps", "links")

    def __init__(self, links: Sequence[str] = (), apps: Sequence[str] = ()) -> None:
        self.links = list(links)
        self.apps = list(apps)

    def rows(self, scope: str) -> list[tuple[str, str, str, str]]:
        """Return what that comes to in a scope, an app or "" for the pod, as control groups report what they lack."""
        found = []
        if self.links:
            found.append((scope, "links", "ignored", "; ".join(self.links)))
        if self.apps and scope:
            found.append((scope, "links", "modified", f"applied to the pod: {'; '.join(self.apps)}"))
        return found


def limit(directory: str, uuid: str, rates: Rates, cgroup: str, facts: HostFacts) -> Unlimited:
    """Let each network of the pod with this directory carry `rates` each way, and return what cannot be.

    `cgroup` names the pod's control groups, as `host.cgroupfs.place` takes it; without one an app's limit is the pod's.
    Limits that were set before are changed, or with no rates lifted. Raises OSError when the record cannot be kept.
    """
    record = Record.read(directory, uuid)
    found = Unlimited()
    if record is None:
        return found
    programs = [link["program"] for link in record.links if "program" in link]
    if programs:
        found.links.append(f"{programs[0]} connects the pod, and has no limits")
        return found
    for number, link in enumerate(record.links):
        link["through"] = through(uuid, number)
    record.write()
    for link in record.links:
        about = f"network {link['name']}"
        told = link.get("capabilities", {}).get(_CAPABILITY)
        if told is None:
            try:
                _limit_link(record, link, rates, cgroup, facts, found)
            except OSError as error:
                found.links.append(f"{about}: the kernel does not limit it: {error.strerror}")
        elif told["ingressRate"] != rates.least * 8:
            found.links.append(f"{about}: its plugin cannot change the limit of a running pod")
        elif rates.apps:
            found.apps.append(f"{about}: its plugin limits no apps")
    return found


def _limit_link(
    record: Record, link: dict[str, Any], rates: Rates, cgroup: str, facts: HostFacts, found: Unlimited
) -> None:
    """Limit a link of the pod's record, and note what cannot be. Raises OSError."""
    about = f"network {link['name']}"
    with Netlink() as netlink:
        name = _host_side(netlink, record.uuid, record.namespace, link)
        if not name:
            found.links.append(f"{about}: {link['interface']} has no other end on the host")
            return
        index = links.index_of(netlink, name)
        if rates.apps and cgroup:
            try:
                members = classifier.members(cgroup, sorted(rates.apps), facts)
                for app in members.ids:
                    marks.keep(f"{members.path}/{app}", members.mark(app))
                _share(netlink, index, link["through"], record.namespace, rates, members)
                return
            except OSError as error:
                found.apps.append(f"{about}: the kernel does not tell apps apart: {error.strerror}")
        least = rates.least
        if not least:
            traffic.lift(netlink, index, link["through"])
            return
        traffic.limit_out(netlink, index, least)
        traffic.limit_in(netlink, index, link["through"], lambda inner: traffic.limit_out(netlink, inner, least))


def _share(netlink: Netlink, index: int, through: str, namespace: str, rates: Rates, members: Members) -> None:
    """Limit each app that has a limit, and the pod as a whole, at the link that is `index` on the host."""
    limits = [rates.apps[name] for name in members.ids]
    classes = {name: traffic.class_of(number) for number, name in enumerate(members.ids)}
    # What nobody is known for may be for any app, also for the one that has the least.
    strays = traffic.class_of(len(limits))
    programs = (
        classifier.receiver(members, classes, links.number_of(netlink, namespace), strays),
        classifier.sender(members, classes),
    )
    loaded: list[int] = []
    try:
        loaded += (program.load(classifier.KIND) for program in programs)
        to_pod, from_pod = loaded
        traffic.share_out(netlink, index, rates.pod, [*limits, min(limits)], to_pod)
        traffic.limit_in(
            netlink, index, through, lambda inner: traffic.share_out(netlink, inner, rates.pod, limits, from_pod)
        )
    finally:
        for fd in loaded:
            os.close(fd)


def obstacle_to_apps(facts: HostFacts) -> str:
    """Return why no app can have a limit of its own on this host, "" when it can: it is tried in a network namespace
    apart."""
    if facts.unified not in facts.bases:
        return "there is no cgroup2 mount in which apps have groups"

    def attempt() -> None:
        with Netlink() as netlink:
            links.make(netlink, "appc0", "ifb")
            index = links.index_of(netlink, "appc0")
            namespace = "/proc/thread-self/ns/net"
            _share(netlink, index, "appc1", namespace, Rates(0, {"app": 1}), classifier.Members("", {"app": 1}, 1))
        for fd in marks.programs(1):
            os.close(fd)

    try:
        netns.apart(attempt)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def forget(names: Sequence[str]) -> None:
    """Remove the links called `names` that `limit` made; what is gone already is fine."""
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
