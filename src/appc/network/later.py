"""Ports of the host for apps that come to a pod later: open as long as the app is there."""

from __future__ import annotations

from appc.errors import Unenforceable, UsageError
from appc.network import default, ports
from appc.network.mapping import PortMapping, mappings
from appc.network.setup import Record
from appc.schema.cni import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.schema.pod import ExposedPort, PodManifest

Opening = dict[str, list[tuple["ExposedPort", PortMapping]]]


def check(directory: str, uuid: str, whole: PodManifest, apps: Sequence[str], new: int) -> Opening:
    """Return the last `new` ports of the manifest that a pod which runs will have, by the app of `apps`, which come to
    it, that each leads to. Raises AppcError for what cannot be opened.
    """
    found: Opening = {}
    if not new:
        return found
    record = Record.read(directory, uuid)
    if record is None:
        raise UsageError("the pod has no network of its own, to which ports could lead", "--port")
    if all("config" in link or "program" in link for link in record.links):
        hint = "name the port when the pod starts: appc run --port"
        raise Unenforceable("ports are opened later in the built-in network alone", "--port", hint)
    for exposed, mapping in list(zip(whole.ports, mappings(whole), strict=True))[-new:]:
        owner = next(
            str(entry.name)
            for entry in whole.apps
            if entry.app and any(port.name == exposed.name for port in entry.app.ports)
        )
        if owner not in apps:
            raise UsageError(f"port {exposed.name} is one of app {owner}, which is there already", "--port")
        found.setdefault(owner, []).append((exposed, mapping))
    return found


def open_later(directory: str, uuid: str, opening: Opening) -> None:
    """Open ports that `check` returned. Raises OSError."""
    record = Record.read(directory, uuid)
    if record is None or not opening:
        return
    for app, found in opening.items():
        record.later[app] = [(str(one.name), one.host_ip, one.host_port) for one, _ in found]
    record.write()
    link = next(link for link in record.links if "config" not in link)
    for app, found in opening.items():
        lead = [mapping for _, mapping in found]
        ports.open_ports(uuid, default.host_link(uuid), addresses(link["result"]), lead, app=app)


def close_later(directory: str, uuid: str, manifest: PodManifest, app: str) -> PodManifest:
    """Close the ports that came with an app; return the pod's `manifest` without them. Raises OSError."""
    record = Record.read(directory, uuid)
    if record is None or app not in record.later:
        return manifest
    ports.close_ports(uuid, app=app)
    closed = record.later.pop(app)
    record.write()
    left = (port for port in manifest.ports if (str(port.name), port.host_ip, port.host_port) not in closed)
    return manifest.replace(ports=tuple(left))
