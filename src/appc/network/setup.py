"""Networks of a pod, from beginning to end: made before it starts, recorded, taken away when it has ended.

What is about to be made is recorded in the pod's directory first, so whoever finds the pod can take it away, however
far its making came.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, HostError, Unenforceable, UsageError
from appc.host import netns
from appc.network import cni, configs, default, ports
from appc.network.addresses import Held, give_back, sweep, take
from appc.network.mapping import mappings
from appc.oserrors import explain
from appc.schema.cni import Network, addresses, from_document
from appc.schema.json import dumps, loads
from appc.schema.subnet import Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from appc.config import Directories
    from appc.network.bandwidth import Unlimited
    from appc.network.mapping import PortMapping
    from appc.schema.pod import PodManifest

# Below the state directory: held while plugins attach and detach pods, and alone while they collect.
PLUGINS = "plugins"
POD = "pod:"  # before the UUID of the pod whose network another joins
RECORD = "network"  # as pods.layout.NETWORK
BANDWIDTH = "resource/network-bandwidth"


class Record:
    """What has been, or is about to be, made for the pod `uuid`: a file of the directory `directory`.

    `links` are in the order of their making; `ports` tells whether ports of the host lead to the pod. `later` are those
    that came with apps that came later, by app: (name, address of the host or "", port of the host).
    """

    __slots__ = ("directory", "later", "links", "namespace", "ports", "uuid")

    def __init__(self, directory: str, uuid: str, namespace: str, *, ports: bool = False) -> None:
        self.directory = directory
        self.uuid = uuid
        self.namespace = namespace
        self.ports = ports
        self.links: list[dict[str, Any]] = []
        self.later: dict[str, list[tuple[str, str, int]]] = {}

    def write(self) -> None:
        """Put the record in place of the one before."""
        document = {"namespace": self.namespace, "ports": self.ports, "links": self.links}
        if self.later:
            document["later"] = self.later
        path = f"{self.directory}/{RECORD}"
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as stream:
            stream.write(dumps(document).encode())
        os.rename(f"{path}.new", path)

    @property
    def state(self) -> str:
        """The state directory of the command that made the pod."""
        return os.path.dirname(os.path.dirname(self.namespace))

    def remove(self) -> None:
        """Forget: all of it has been taken away."""
        os.unlink(f"{self.directory}/{RECORD}")

    @classmethod
    def read(cls, directory: str, uuid: str) -> Record | None:
        """Return the record of a pod, None when it has none."""
        try:
            with open(f"{directory}/{RECORD}", "rb") as stream:
                document = loads(stream.read())
        except FileNotFoundError:
            return None
        record = cls(directory, uuid, document["namespace"], ports=document["ports"])
        record.links = document["links"]
        record.later = {app: [tuple(port) for port in found] for app, found in document.get("later", {}).items()}
        return record


class Networked:
    """What a pod was given: the path of its network namespace, its addresses, and the results of its networks.

    `unlimited` says which limits of bandwidth are not as its isolators ask.
    """

    __slots__ = ("addresses", "namespace", "results", "unlimited")

    def __init__(self, namespace: str, results: Sequence[dict[str, Any]], unlimited: Unlimited | None = None) -> None:
        self.namespace = namespace
        self.results = results
        self.unlimited = unlimited
        self.addresses = [address for result in results for address in addresses(result)]


def expected(uuid: str, where: Directories) -> Networked:
    """Return what is known of a pod's networks before they are made, for a plan that is only looked at."""
    return Networked(_namespace(uuid, where.state), ())


def attached(directory: str, uuid: str) -> Networked | None:
    """Return what a running pod was given, from the record in its directory; None for a pod without networks."""
    record = Record.read(directory, uuid)
    if record is None:
        return None
    return Networked(record.namespace, [link["result"] for link in record.links if link["result"]])


def parse(text: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Parse `NAME[:KEY=VALUE;…],NAME…` into names with their arguments. Raises UsageError."""
    found: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for part in text.split(","):
        name, colon, rest = part.partition(":")
        if not name or name in ("none", "host"):
            raise UsageError(f"{text!r} is not none, host, or a list of networks", "net")
        if any(name == known for known, _ in found):
            raise UsageError(f"{name} is named twice", "net")
        found.append((name, configs.arguments(rest) if colon else ()))
    return found


def check(text: str, manifest: PodManifest, where: Directories, *, ordinary: bool = False) -> None:
    """Raise AppcError unless there are networks as `text` names them, one of which forwards ports if there are any.

    An `ordinary` user has the built-in one alone.
    """
    forwarded = mappings(manifest)
    if ordinary:
        from appc.network import usermode

        if [name for name, _ in parse(text)] != [configs.BUILT_IN] or configs.find(configs.BUILT_IN, where.config):
            hint = "--net default, where no file of net.d replaces it, needs nobody else"
            raise Unenforceable("only root can attach a pod to networks of plugins", f"--net {text}", hint)
        usermode.check(forwarded, where.settings.network_helper)
        return
    networks = [configs.find(name, where.config) for name, _ in parse(text)]
    for network in networks:
        if network is not None:
            cni.find_all(network, where.settings.network_plugin_path)
    if forwarded and not any(network is None or _forwards(network) for network in networks):
        hint = "a plugin with the capability portMappings does, such as portmap"
        raise HostError("none of the pod's networks forwards ports", f"net {text}", hint)


def attach(
    directory: str,
    uuid: str,
    text: str,
    manifest: PodManifest,
    where: Directories,
    users: tuple[int, int] | None = None,
    *,
    ordinary: bool = False,
) -> Networked:
    """Make the namespace of the pod `uuid` and attach it to the networks that `text` names; open its ports.

    It belongs to a user namespace of its own, if the pod has `users`: the first of them, and how many. An `ordinary`
    user's is connected by a program of the user's. What its isolators limit is limited
    when it has control groups (network/bandwidth.py).

    What was made is recorded in `directory`, the pod's. Raises AppcError; nothing is left then.
    """
    networks = [(name, arguments, configs.find(name, where.config)) for name, arguments in parse(text)]
    for _, _, network in networks:
        if network is not None:
            cni.status(network, where.settings.network_plugin_path)
    unforwarded = mappings(manifest)
    rate = bandwidth(manifest)
    record = Record(directory, uuid, _namespace(uuid, where.state), ports=bool(unforwarded))
    try:
        record.write()
        os.makedirs(os.path.dirname(record.namespace), 0o711, exist_ok=True)
        if ordinary:
            _connect(record, unforwarded, where.settings.network_helper)
            return Networked(record.namespace, [record.links[0]["result"]])
        if users is None:
            netns.make(record.namespace)
        else:
            from appc.host import userns

            userns.make_network(record.namespace, *users)
        for number, (name, arguments, network) in enumerate(networks):
            if network is None:
                _attach_default(record, name, f"eth{number}", where, unforwarded)
                unforwarded = ()
                continue
            capabilities: dict[str, Any] = {}
            if _forwards(network):
                capabilities["portMappings"] = [entry for mapping in unforwarded for entry in mapping.to_cni()]
                unforwarded = ()
            if rate:
                from appc.network.bandwidth import capability

                capabilities.update(capability(network, rate))
            link: dict[str, Any] = {
                "name": name,
                "interface": f"eth{number}",
                "result": None,
                "config": network.to_dict(),
                "arguments": [list(pair) for pair in arguments],
                "capabilities": capabilities,
                "plugins": list(where.settings.network_plugin_path),
            }
            record.links.append(link)
            with Held(f"{where.state}/{PLUGINS}"):
                record.write()
                link["result"] = cni.add(network, _attachment(record, link))
        record.write()
    except BaseException as error:
        release(directory, uuid)
        if isinstance(error, OSError) and error.errno is not None:
            _, what, why, hint = explain(error)
            raise HostError(why, f"network of pod {uuid[:8]}: {what}", hint) from None
        raise
    return Networked(record.namespace, [link["result"] for link in record.links])


def _connect(record: Record, forwarded: Sequence[PortMapping], wanted: str) -> None:
    from appc.host import userns
    from appc.network import usermode

    userns.make_network(record.namespace)
    link = usermode.planned(configs.BUILT_IN, wanted)
    record.ports = False  # the program opens them, and closes them by its end
    record.links.append(link)
    record.write()
    usermode.start(link, record.namespace, record.directory, forwarded)
    record.write()


def _unlimit(record: Record) -> list[str]:
    names = [link["through"] for link in record.links if "through" in link]
    if not names:
        return []
    from appc.network.bandwidth import forget

    return _try(forget, names)


def bandwidth(manifest: PodManifest) -> int:
    """Return the least of the limits of bandwidth of a pod and its apps, in bytes per second, 0 when there is none."""
    isolators = list(manifest.isolators)
    for entry in manifest.apps:
        isolators += entry.app.isolators if entry.app else ()
    limits = [one.value.limit for one in isolators if one.name == BANDWIDTH]
    return min((max(1, limit.value) for limit in limits if limit is not None), default=0)


def _attach_default(
    record: Record, name: str, interface: str, where: Directories, forwarded: Sequence[PortMapping]
) -> None:
    subnet = Subnet.parse(where.settings.network_subnet)
    taken = f"{where.state}/networks/{name}"
    with Held(taken):
        number = take(taken, subnet, record.uuid, where.root)
        link: dict[str, Any] = {
            "name": name,
            "interface": interface,
            "result": None,
            "taken": taken,
            "address": subnet.address(number),
        }
        record.links.append(link)
        record.write()
        link["result"] = default.attach(record.uuid, record.namespace, interface, subnet, number)
    if forwarded:
        ports.open_ports(record.uuid, default.host_link(record.uuid), addresses(link["result"]), forwarded)


def release(directory: str, uuid: str) -> list[str]:
    """Take away what `attach` made for a pod, as far as its record tells; return what went wrong.

    Nothing is wrong about what is gone already. The record is removed when all went well.
    """
    record = Record.read(directory, uuid)
    if record is None:
        return []
    problems = _unlimit(record)
    for link in reversed(record.links):
        if "config" in link:
            network = from_document(link["config"], link["name"])
            with Held(f"{record.state}/{PLUGINS}"):
                problems += cni.delete(network, _attachment(record, link), link["result"])
        elif "program" in link:
            from appc.network import usermode

            problems += _try(usermode.stop, record.namespace, link["pid"])
        else:
            problems += _try(default.detach, uuid)
            problems += _try(_leave_default, link["taken"], link["address"], uuid)
    if record.ports or record.later:
        problems += _try(ports.close_ports, uuid)
    problems += _try(netns.remove, record.namespace)
    if not problems:
        record.remove()
    return problems


def faults(directory: str, uuid: str) -> list[str]:
    """Return what of the networks of a pod that runs is not as it was made: what plugins find, or is gone."""
    record = Record.read(directory, uuid)
    if record is None:
        return []
    problems = []
    # The first of the networks that can has the ports.
    to_forward = record.ports
    for link in record.links:
        if "config" in link:
            network = from_document(link["config"], link["name"])
            problems += _try(cni.check, network, _attachment(record, link), link["result"])
            to_forward = to_forward and not _forwards(network)
        elif "program" in link:
            from appc.network import usermode

            problems += usermode.faults(link, record.namespace)
        else:
            found = default.faults(uuid)
            if to_forward and not ports.are_open(uuid):
                found.append("the rules that lead ports of the host to the pod are gone")
            for app in record.later:
                if not ports.are_open(uuid, app=app):
                    found.append(f"the rules that lead ports of the host to {app} are gone")
            problems += [f"network {link['name']}: {fault}" for fault in found]
            to_forward = False
    return problems


def collect(where: Directories, exists: Callable[[str], bool]) -> None:
    """Free what launches took that were killed before they could write it down; `exists` tells if there is a pod."""
    base = f"{where.state}/networks"
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return
    for name in names:
        with Held(f"{base}/{name}", alone=True) as network:
            sweep(f"{base}/{name}", where.root, exists)
            if network.unused():
                default.forget()


def _leave_default(taken: str, address: str, uuid: str) -> None:
    with Held(taken, alone=True) as network:
        give_back(taken, address, uuid)
        if network.unused():
            default.forget()


def _namespace(uuid: str, state: str) -> str:
    return f"{state}/netns/{uuid}"


def _forwards(network: Network) -> bool:
    return any((plugin.get("capabilities") or {}).get("portMappings") is True for plugin in network.plugins)


def _attachment(record: Record, link: dict[str, Any]) -> cni.Attachment:
    return cni.Attachment(
        record.uuid,
        # Of a namespace that is gone plugins clear what they know from elsewhere (SPEC.md, DEL).
        record.namespace if os.path.exists(record.namespace) else "",
        link["interface"],
        link["plugins"],
        arguments=[(key, value) for key, value in link["arguments"]],
        capabilities=link["capabilities"],
    )


def _try(step: Callable[..., None], *arguments: object) -> list[str]:
    try:
        step(*arguments)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)]
    except AppcError as error:
        return [str(error)]
    return []
