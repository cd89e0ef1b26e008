"""What there is to say of a pod: one document, the same for `status`, `list` and the Python API."""

from __future__ import annotations

import os

from appc.errors import ManifestError, PodNotFound
from appc.pods import layout, records
from appc.pods.layout import NETWORK, Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def describe_all(root: str) -> list[dict[str, Any]]:
    """Return the status documents of all pods below `root`, newest first."""
    found = []
    for pod in layout.every(root):
        try:
            found.append(describe(pod))
        except PodNotFound:
            # Removed since.
            continue
    return sorted(found, key=lambda document: -document["created"])


def describe(pod: Pod) -> dict[str, Any]:
    """Return the pod's status document (times in nanoseconds since the epoch, None where unknown).

    PodNotFound when the pod is gone. A pod whose files cannot be read is described as far as possible.
    """
    while True:
        phase = pod.phase
        document = _document(pod)
        # What was read piece by piece holds together only when the pod has not moved on meanwhile.
        if pod.phase == phase and os.path.isdir(pod.path):
            return document
        pod.refresh()


def _document(pod: Pod) -> dict[str, Any]:
    state = pod.state()
    document: dict[str, Any] = {
        "uuid": pod.uuid,
        "state": state,
        "created": int(pod.created() * 1e9),
        "networks": [],
        "private-users": None,
        "runtime": None,
        "pid": None,
        "keeper": None,
        "apps": [],
        "exit-status": None,
        "failure": None,
        "isolators": [],
        "ready": False,
        "warnings": [],
    }
    try:
        manifest = pod.read_json("pod")
        request = pod.read_json("request")
        apps = [_app(pod, entry, state) for entry in manifest["apps"]]
        document["networks"] = _networks(pod, request["net"])
        document["isolators"] = _isolators(pod)
        document["runtime"] = request.get("runtime") or None
        if request.get("private-users"):
            document["private-users"] = pod.read("private-users").decode().strip()
    except FileNotFoundError:
        # Still being prepared, or interrupted while it was.
        return document
    except ManifestError as error:
        document["failure"] = f"its files are damaged: {error}"
        return document
    document["apps"] = apps
    if state == "running":
        keeper, init = records.keeper_pid(pod), records.init_pid(pod)
        document["pid"] = init[0] if init else None
        document["keeper"] = keeper[0] if keeper else None
        document["ready"] = records.is_ready(pod)
    document["exit-status"] = _exit_status(apps, state)
    if records.read(pod, "_failure"):
        # What explains a failure is not needed to list pods that fare well.
        from appc.executor.failure import recorded

        failure = recorded(pod)
        if failure is not None:
            document["failure"], document["exit-status"] = str(failure), failure.exit_status
    told = records.lines(pod, "_warnings")
    if told:
        from appc.executor.failure import warnings

        document["warnings"] = warnings(pod, told)
    return document


def _isolators(pod: Pod) -> list[dict[str, str]]:
    """What became of each isolator; nothing yet of a pod that was only prepared."""
    try:
        found: list[dict[str, str]] = pod.read_json("isolators")
    except FileNotFoundError:
        return []
    return found


def _networks(pod: Pod, net: str) -> list[dict[str, Any]]:
    """The networks of a pod that runs; afterwards their names alone are known."""
    try:
        links = pod.read_json(NETWORK)["links"]
    except FileNotFoundError:
        if net.startswith("pod:"):
            return [{"name": net, "interface": None, "addresses": []}]
        return [{"name": word.partition(":")[0], "interface": None, "addresses": []} for word in net.split(",")]
    from appc.schema.cni import addresses

    return [
        {"name": link["name"], "interface": link["interface"], "addresses": addresses(link["result"] or {})}
        for link in links
    ]


def network_words(document: dict[str, Any]) -> list[str]:
    """Return each network of a status document with the pod's address in it: `default:172.16.28.5`."""
    return [":".join((network["name"], *network["addresses"][:1])) for network in document["networks"]]


def _app(pod: Pod, entry: dict[str, Any], state: str) -> dict[str, Any]:
    name = entry["name"]
    record = records.app_record(pod, name)
    alive = state == "running" and record.pid is not None and record.exited is None
    if alive:
        app_state = "running"
    elif record.restarting and state == "running":
        app_state = "restarting"
    elif record.exited is not None:
        app_state = "stopped" if record.stopped and state == "running" else "exited"
    elif record.pid is not None:
        # It ran, and whoever would have recorded its end was killed.
        app_state = "ended, unrecorded"
    else:
        app_state = "not started"
    return {
        "name": name,
        "image": entry["image"].get("name"),
        "image-id": entry["image"]["id"],
        "state": app_state,
        "pid": record.pid if alive else None,
        "ready": bool(record.ready) and alive,
        "status-text": record.said or None,
        "started": record.started,
        "exited": record.exited,
        "exit-status": record.exit_status,
        "signal": record.signal,
        "death": _death(record),
        "out-of-memory": record.out_of_memory,
        "memory-peak": record.memory_peak,
        "memory-limit": _memory_limit(entry) if record.out_of_memory else None,
        "post-stop": record.post_stop or None,
        "restarts": record.restarts,
        "health": record.health or None,
        "stopped": record.stopped,
    }


def _death(record: records.AppRecord) -> str | None:
    """Why the app died; None while it runs, and when it ended by itself."""
    if record.exited is None or not (record.signal or record.out_of_memory or record.arch):
        return None
    from appc.executor.deaths import explain

    return explain(record)


def _memory_limit(entry: dict[str, Any]) -> str | None:
    """The limit of an app's memory, as its manifest says it; None when only the pod, or the host, has one."""
    isolators = (entry.get("app") or {}).get("isolators") or ()
    limits = [one["value"].get("limit") for one in isolators if one["name"] == "resource/memory"]
    return str(limits[-1]) if limits and limits[-1] else None


def _exit_status(apps: list[dict[str, Any]], state: str) -> int | None:
    """The pod's status: of several apps, that of the first that failed; None while it runs or when it is unknown.

    Apps whose end alone was asked for do not count.
    """
    if state != "exited":
        return None
    apps = [app for app in apps if not app["stopped"]]
    failed = sorted((app["exited"] or 0, app["exit-status"]) for app in apps if app["exit-status"])
    if failed:
        return int(failed[0][1])
    return 0 if all(app["exit-status"] == 0 for app in apps) else None
