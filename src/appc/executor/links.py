"""Limits of bandwidth of a pod's links, once its control groups are there, by which its apps are told apart."""

from __future__ import annotations

from appc.formats.enforce import knows_senders
from appc.network.bandwidth import Rates, Unlimited
from appc.network.bandwidth import limit as limit_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.host.probe import HostFacts
    from appc.pods.layout import Pod
    from appc.schema.pod import PodManifest

_ELSEWHERE = "another runtime makes the groups of apps"


def foreseen(manifest: PodManifest) -> Unlimited:
    """Return what could not be limited in a pod whose apps another runtime makes."""
    return Unlimited(apps=[_ELSEWHERE] if Rates.of(manifest).apps else [])


def limit(pod: Pod, manifest: PodManifest, facts: HostFacts) -> Unlimited:
    """Limit the pod's links, and its apps there, as `manifest` has it; return what cannot be. Raises OSError."""
    made_elsewhere = bool(pod.read_json("request").get("runtime"))
    cgroup = pod.cgroup if knows_senders(facts) and not made_elsewhere else ""
    unlimited = limit_networks(pod.path, pod.uuid, Rates.of(manifest), cgroup, facts)
    if made_elsewhere:
        unlimited.apps += foreseen(manifest).apps
    return unlimited


def limit_again(pod: Pod, old: PodManifest, new: PodManifest, facts: HostFacts) -> Unlimited:
    """Limit them as the `new` manifest has it if the `old` had it otherwise; return what cannot be. Raises OSError."""
    before, after = Rates.of(old), Rates.of(new)
    return Unlimited() if (before.pod, before.apps) == (after.pod, after.apps) else limit(pod, new, facts)
