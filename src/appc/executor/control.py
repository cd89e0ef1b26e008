"""What can be done to a pod that exists: wait for it, stop it, signal its apps, remove it.

Processes are addressed by pidfd after their identity was checked (start time, PID namespace), so a
pid that was used again is never signalled.
"""

from __future__ import annotations

import os
import time

from appc.errors import PodStateError
from appc.host import procs
from appc.pods import gc, records
from appc.pods.layout import Pod

SIGKILL = 9
SIGTERM = 15
POLL_SECONDS = 0.02


def wait(pod: Pod, timeout: float | None = None) -> bool:
    """Wait until nothing of the pod is alive; False when `timeout` seconds went by first."""
    deadline = None if timeout is None else time.monotonic() + timeout
    delay = 0.001
    while pod.refresh().locked():
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(delay)
        delay = min(delay * 2, POLL_SECONDS)
    return True


def stop(pod: Pod, *, force: bool = False, timeout: float | None = None) -> bool:
    """End a running pod: its apps get SIGTERM, then SIGKILL after the pod's grace time.

    `force` kills everything at once (post-stop handlers do not run then). A pod that has ended is
    fine; PodStateError for one that never ran. Returns False when `timeout` seconds went by first.
    """
    if pod.phase in ("embryo", "prepare", "prepared"):
        raise PodStateError(f"is not running ({pod.state()})", f"pod {pod.uuid}")
    if not pod.locked():
        return True
    if force:
        target = records.init_pid(pod)
        number = SIGKILL
    else:
        target = records.keeper_pid(pod)
        number = SIGTERM
    if target is None:
        raise PodStateError("is still being started", f"pod {pod.uuid}", "try again in a moment")
    procs.send_signal(*target, number)
    return wait(pod, timeout)


def kill(pod: Pod, number: int, app: str = "") -> list[str]:
    """Send signal `number` to one app, or to all, of a running pod; return the apps it reached."""
    if pod.phase != "run" or not pod.locked():
        raise PodStateError(f"is not running ({pod.state()})", f"pod {pod.uuid}")
    names = [str(entry["name"]) for entry in pod.read_json("pod")["apps"]]
    if app and app not in names:
        raise PodStateError(f"has no app {app}", f"pod {pod.uuid}", f"its apps are {', '.join(names)}")
    init = records.init_pid(pod)
    reached = []
    for name in [app] if app else names:
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
        raise PodStateError(f"is {pod.state()}", f"pod {pod.uuid}", f"`appc stop {pod.uuid[:8]}` ends it first")
    if not gc.remove(pod):
        raise PodStateError("was taken by another process", f"pod {pod.uuid}")


def app_pid(pod: Pod, app: str) -> int:
    """Return the pid (on the host) of a running app; PodStateError when it is not running."""
    record = records.app_record(pod, app)
    if record.pid is None or record.exited is not None or not os.path.isdir(f"/proc/{record.pid}"):
        raise PodStateError(f"app {app} is not running", f"pod {pod.uuid}")
    return record.pid


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return f"of process {pid}, which is gone"
