"""What can be done to a pod that exists: wait for it, stop it, signal its apps, remove it.

Processes are addressed by pidfd after their identity was checked (start time, PID namespace), so a
pid that was used again is never signalled.
"""

from __future__ import annotations

import os
import time

from appc.errors import AppcError, PodNotFound, PodStateError
from appc.host import procs
from appc.pods import gc, records
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.host.probe import HostFacts
    from appc.plan.ops import Op

SIGKILL = 9
SIGTERM = 15
POLL_SECONDS = 0.02
LETTING_GO = 10.0  # seconds that a keeper takes at most between a pod's last phase and its own end
# States out of which nothing comes to run any more.
OVER = ("aborted prepare", "exited", "deleting", "garbage")


def wait(pod: Pod, timeout: float | None = None) -> bool:
    """Wait until the pod has run and nothing of it is alive; False when `timeout` seconds went by first.

    A pod that is removed meanwhile (--rm) has ended.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    delay = 0.001
    while _may_go_on(pod):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(delay)
        delay = min(delay * 2, POLL_SECONDS)
    return True


def _may_go_on(pod: Pod) -> bool:
    try:
        return pod.refresh().locked() or pod.phase == "prepared"
    except PodNotFound:
        return False


def wait_ready(pod: Pod, timeout: float | None = None) -> bool:
    """Wait until all apps of the pod are ready; False when it has ended, or `timeout` seconds went by first."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        state = pod.refresh().state()
        if state == "running" and records.is_ready(pod):
            return True
        if state in OVER or (deadline is not None and time.monotonic() >= deadline):
            return False
        time.sleep(POLL_SECONDS)


def stop(pod: Pod, *, force: bool = False, timeout: float | None = None) -> bool:
    """End a running pod: its apps get SIGTERM, then SIGKILL after the pod's grace time.

    `force` kills everything at once (post-stop handlers do not run then). A pod that has ended is
    fine; PodStateError for one that never ran. Returns False when `timeout` seconds went by first.
    """
    ask_to_stop(pod, force=force)
    return wait(pod, timeout)


def ask_to_stop(pod: Pod, *, force: bool = False) -> None:
    """Do what `stop` does, but do not wait for the pod's end."""
    if pod.phase in ("embryo", "prepare", "prepared"):
        raise PodStateError(f"is not running ({pod.state()})", f"pod {pod.uuid}")
    if pod.phase != "run" or not pod.locked():
        return
    try:
        target, number = (records.init_pid(pod), SIGKILL) if force else (records.keeper_pid(pod), SIGTERM)
    except PodNotFound:
        return  # it has ended since, and was removed (--rm)
    if target is None:
        raise PodStateError("is still being started", f"pod {pod.uuid}", "try again in a moment")
    procs.send_signal(*target, number)


def kill(pod: Pod, number: int, app: str = "") -> list[str]:
    """Send signal `number` to one app, or to all, of a running pod; return the apps it reached."""
    if pod.phase != "run" or not pod.locked():
        raise PodStateError(f"is not running ({pod.state()})", f"pod {pod.uuid}")
    names = chosen_apps(pod, (app,) if app else ())
    init = records.init_pid(pod)
    reached = []
    for name in names:
        record = records.app_record(pod, name)
        if record.pid is None or record.exited is not None or init is None:
            continue
        # Its start time is taken first, so that what is signalled is what was looked at.
        started = procs.start_time(record.pid)
        if _namespace(record.pid) == _namespace(init[0]) and procs.send_signal(record.pid, started, number):
            reached.append(name)
    return reached


def remove(pod: Pod) -> None:
    """Remove a pod that is not running, with all it wrote."""
    if pod.locked():
        hint = f"`appc stop {pod.uuid[:8]}` ends it first" if pod.phase == "run" else ""
        raise PodStateError(f"is {pod.state()}", f"pod {pod.uuid}", hint)
    if not gc.remove(pod):
        raise PodStateError("was taken by another process", f"pod {pod.uuid}")


def chosen_apps(pod: Pod, names: Sequence[str]) -> list[str]:
    """Return the apps of the pod that are meant by `names`, all when there are none; AppcError for unknown ones."""
    known = pod.app_names()
    for name in names:
        if name not in known:
            raise AppcError(f"has no app {name}", f"pod {pod.uuid}", f"its apps are {', '.join(known)}")
    return list(dict.fromkeys(names)) or known


def app_pid(pod: Pod, app: str) -> int:
    """Return the pid (on the host) of a running app; PodStateError when it is not running."""
    record, init = records.app_record(pod, app), records.init_pid(pod)
    running = pod.locked() and init is not None and record.pid is not None and record.exited is None
    # A number may have gone to another process, but none of those is in this pod.
    if not running or init is None or record.pid is None or _namespace(record.pid) != _namespace(init[0]):
        raise PodStateError(f"app {app} is not running", f"pod {pod.uuid}")
    return record.pid


def app_groups(pod: Pod, app: str, facts: HostFacts) -> list[str]:
    """Return the groups of an app as they are by now: in each hierarchy its own or, where it has none, the pod's."""
    from appc.host.cgroupfs import place

    name = pod.cgroup
    pods = [place(base, name) for base in facts.bases.values()]
    candidates = [next((path for path in (f"{one}/{app}", one) if os.path.isdir(path)), "") for one in pods]
    return [path for path in candidates if path]


def app_filter(pod: Pod, app: str) -> bytes | None:
    """Return the system call filter an app was started with."""
    ops = app_ops(pod, app)
    if ops[-1].name == "runtime":
        # That made it one, of the same description.
        from appc.executor.filters import app_filter as described

        return described(pod.read_json(f"config/{app}"), pod.root, os.uname().machine)
    found = [op.args[1] for op in ops if op.name == "seccomp"]
    return found[0] if found and isinstance(found[0], bytes) else None


def app_sockets(pod: Pod, app: str) -> int:
    """Return how many sockets an app was handed."""
    found = [op.args[0] for op in app_ops(pod, app) if op.name == "sockets"]
    return found[0] if found and isinstance(found[0], int) else 0


def app_ops(pod: Pod, app: str) -> list[Op]:
    """Return what an app was started by, as the plan that was performed has it."""
    from appc.plan import wire_read

    return wire_read.decode(pod.read("plan")).track(f"app {app}").ops


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return f"of process {pid}, which is gone"
