"""Clearing away what pods leave: directories, and the control groups of a pod whose keeper was killed.

Every step is idempotent and starts from what is on disk, so a collector that dies half-way is
finished by the next one. A pod is moved to `garbage` (one rename) before anything of it is deleted.
"""

from __future__ import annotations

import os
import time

from appc.errors import HostError, PodNotFound, PodStateError
from appc.pods import layout
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.changes import Clearing

EXPIRE_PREPARED_SECONDS = 24 * 3600.0


class Verdict:
    """What `gc` does with one pod, and why: action is "keep", "end" or "remove"."""

    __slots__ = ("action", "pod", "reason")

    def __init__(self, pod: Pod, action: str, reason: str) -> None:
        self.pod = pod
        self.action = action
        self.reason = reason


def judge(
    root: str, grace_seconds: float, now: float | None = None, prepared_seconds: float = EXPIRE_PREPARED_SECONDS
) -> list[Verdict]:
    """Return what a collection would do with every pod below `root`; nothing is changed.

    Pods are kept for `grace_seconds` after their end, and for `prepared_seconds` when nobody has run them.
    """
    moment = time.time() if now is None else now
    verdicts = []
    for pod in layout.every(root):
        try:
            verdicts.append(_judge(pod, grace_seconds, prepared_seconds, moment))
        except PodNotFound:
            # Removed by somebody else since.
            continue
    return verdicts


def _judge(pod: Pod, grace: float, prepared: float, now: float) -> Verdict:
    if pod.locked():
        return Verdict(pod, "keep", pod.state())
    if pod.phase == "prepared":
        age = now - pod.created()
        if age <= prepared:
            return Verdict(pod, "keep", "prepared, waits to be run")
        return Verdict(pod, "remove", f"prepared {int(age)} s ago and never run")
    if pod.phase == "exited":
        age = now - ended(pod)
        if age <= grace:
            return Verdict(pod, "keep", f"exited {int(age)} s ago, within the grace period")
        return Verdict(pod, "remove", "exited")
    if pod.phase == "run":
        return Verdict(pod, "end", "its keeper was killed")
    reasons = {
        "embryo": "creation was interrupted",
        "prepare": "preparation was interrupted",
        "garbage": "removal was interrupted",
    }
    return Verdict(pod, "remove", reasons[pod.phase])


def carry_out(verdict: Verdict) -> bool:
    """Do what the verdict says; False when the pod changed meanwhile (it is looked at again next time)."""
    if verdict.action == "keep":
        return True
    try:
        return end(verdict.pod) if verdict.action == "end" else remove(verdict.pod)
    except PodStateError:
        return False


def end(pod: Pod) -> bool:
    """Finish what a killed keeper could not: kill the rest, remove its control groups, mark it exited."""
    if not pod.acquire():
        return False
    try:
        with _clearing(pod):
            remove_cgroups(pod)
            release_network(pod)
            pod.move("exited")
            # The grace period begins now.
            os.utime(pod.file("status"))
    except FileNotFoundError:
        pass
    finally:
        pod.release()
    return True


def remove(pod: Pod) -> bool:
    """Remove a pod of which nothing is alive; False when something is, or another was first."""
    if not pod.acquire():
        return False
    try:
        with _clearing(pod):
            remove_cgroups(pod)
            discard(pod)
    finally:
        pod.release()
    return True


def clear(pod: Pod) -> None:
    """Remove a pod that ended in order, whose keeper waits for this; HostError as `discard` raises it."""
    if os.path.exists(pod.file(layout.CHANGED)):
        with _clearing(pod):
            remove_cgroups(pod)
    discard(pod)


def discard(pod: Pod) -> None:
    """Delete the directory of a pod that is locked by this process (or by its keeper, which waits for it).

    The lock goes last: without it another collector would take the pod for one that nobody removes. HostError when its
    networks cannot be taken away.
    """
    release_network(pod)
    if pod.phase != "garbage":
        try:
            pod.move("garbage")
        except OSError:
            # On a full disk there may be no room for the directory it would go to.
            pass
    from appc.store.deletion import delete_tree

    delete_tree(pod.path, last=layout.LOCK)


def remove_cgroups(pod: Pod) -> None:
    """Kill whatever is left in the pod's control groups and remove them (absent ones are fine)."""
    from appc.host import cgroupfs, probe

    facts = probe.facts()
    paths = cgroupfs.pod_directories(pod.cgroup, facts)
    if os.path.exists(pod.file(layout.RUNTIME)):
        places = [f"{place}/{cgroupfs.ROOT}/{pod.uuid}" for place in cgroupfs.others(facts)]
        paths += [group for place in places for group in cgroupfs.tree(place)]
    if paths:
        cgroupfs.kill(paths)
        cgroupfs.remove(paths)


def release_network(pod: Pod) -> None:
    """Take the pod's networks away; HostError, and the next collection tries again, when that fails."""
    if not os.path.exists(pod.file(layout.NETWORK)):
        return
    from appc.network.setup import release

    problems = release(pod.path, pod.uuid)
    if problems:
        raise HostError("; ".join(problems), f"network of pod {pod.uuid[:8]}", "the next appc gc tries again")


def _clearing(pod: Pod) -> Clearing:
    from appc.pods.changes import Clearing  # of no use to most who stop and list pods

    return Clearing(pod)


def ended(pod: Pod) -> float:
    """When an exited pod's keeper wrote its last record, or a collector marked it as exited."""
    try:
        return os.stat(pod.file("status")).st_mtime
    except FileNotFoundError:
        return 0.0
