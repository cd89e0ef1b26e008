"""Pods that share with another pod its network (`--net pod:UUID`) or its control groups (`--cgroup pod:UUID`)."""

from __future__ import annotations

from appc.errors import PodStateError, Unenforceable, UsageError
from appc.network import setup
from appc.network.setup import Networked
from appc.plan import wire_read
from appc.pods import layout, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.layout import Pod
    from appc.pods.request import PodRequest
    from appc.schema.pod import PodManifest


def check(root: str, request: PodRequest, manifest: PodManifest) -> None:
    """Write into `request` whose network it is; a pod that has joined another's lends that one.

    Raises PodNotFound, PodStateError for a pod that does not run, UsageError and Unenforceable for what the network's
    own pod alone decides.
    """
    owner = _running(root, request.joined)
    theirs = owner.read_json("request")
    if theirs["net"].startswith(setup.POD):
        owner = _running(root, theirs["net"].removeprefix(setup.POD))
        theirs = owner.read_json("request")
    if theirs["net"] == "host":
        raise UsageError(f"pod {owner.uuid[:8]} is in the host's network", "--net", "--net host is the same")
    if request.private_users or theirs.get("private-users"):
        raise UsageError("a network cannot be shared between users", "--net", "--private-users goes without pod:UUID")
    if manifest.ports:
        raise UsageError("ports are opened by the pod whose network it is", "--port")
    for isolator in manifest.isolators:
        if isolator.name == "os/unix/sysctl" and any(key.startswith("net.") for key in isolator.value):
            raise Unenforceable("parameters of the network are its own pod's", f"isolator {isolator.name}")
    request.net = setup.POD + owner.uuid


def network(root: str, request: PodRequest, manifest: PodManifest) -> Networked:
    """Return the network that `request`, which was checked, joins; PodStateError when its pod has ended since."""
    owner = _running(root, request.joined)
    init = records.init_pid(owner)
    assert init is not None, "a pod that is ready has a first process"
    made = setup.attached(owner.path, owner.uuid)
    networked = Networked(f"/proc/{init[0]}/ns/net", made.results if made else ())
    if setup.bandwidth(manifest):
        from appc.network.bandwidth import Unlimited

        networked.unlimited = Unlimited(["the network is another pod's"])
    return networked


def ports_in_use(root: str, request: PodRequest) -> set[int]:
    """Return the ports at which the pods in that network ask their metadata service."""
    found = set()
    for pod in layout.every(root):
        if pod.phase != "run" or not pod.locked():
            continue
        try:
            if pod.uuid == request.joined or pod.read_json("request")["net"] == request.net:
                found.add(service_port(pod))
        except FileNotFoundError:
            # Not there yet, or no more.
            continue
    return found


def service_port(pod: Pod) -> int:
    """Return the port at which a running pod asks its metadata service."""
    keeper = wire_read.decode(pod.read("plan")).track("keeper")
    port = next(op.args[1] for op in keeper.ops if op.name == "listen")
    assert isinstance(port, int)
    return port


def check_groups(root: str, request: PodRequest) -> None:
    """Write into `request` in whose control groups it is; a pod that has joined another's lends those.

    Raises PodNotFound, PodStateError for a pod that does not run.
    """
    owner = _running(root, request.cgroup)
    theirs = owner.read_json("request").get("cgroup", "")
    request.cgroup = _running(root, theirs).uuid if theirs else owner.uuid


def _running(root: str, prefix: str) -> Pod:
    pod = layout.find(root, prefix)
    if pod.phase != "run" or not pod.locked() or records.init_pid(pod) is None:
        raise PodStateError(
            f"is not running ({pod.state()})", f"pod {pod.uuid}", "what others would join is gone, or not yet there"
        )
    return pod
