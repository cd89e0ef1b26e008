"""What there is to say of a pod: one document, the same for `status`, `list` and the Python API."""

from __future__ import annotations

from appc.pods import records
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def describe(pod: Pod) -> dict[str, Any]:
    """Return the pod's status document (times in nanoseconds since the epoch, None where unknown)."""
    state = pod.state()
    document: dict[str, Any] = {
        "uuid": pod.uuid,
        "state": state,
        "created": int(pod.created() * 1e9),
        "apps": [],
    }
    try:
        manifest = pod.read_json("pod")
        request = pod.read_json("request")
    except FileNotFoundError:
        # Still being prepared, or removed while we looked.
        return document
    keeper, init = records.keeper_pid(pod), records.init_pid(pod)
    document["networks"] = [request["net"]]
    document["pid"] = init[0] if init and state == "running" else None
    document["keeper"] = keeper[0] if keeper and state == "running" else None
    document["apps"] = [_app(pod, entry, state) for entry in manifest["apps"]]
    failure = records.read(pod, "_failure")
    document["exit-status"] = _exit_status(document["apps"], failure, state)
    document["failure"] = _failure(pod, failure)
    document["isolators"] = request.get("isolators", [])
    document["ready"] = state == "running" and keeper is not None
    return document


def _app(pod: Pod, entry: dict[str, Any], state: str) -> dict[str, Any]:
    name = entry["name"]
    record = records.app_record(pod, name)
    alive = state == "running" and record.pid is not None and record.exited is None
    if alive:
        app_state = "running"
    elif record.exited is not None:
        app_state = "exited"
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
        "started": record.started,
        "exited": record.exited,
        "exit-status": record.exit_status,
        "signal": record.signal,
        "post-stop": record.post_stop or None,
    }


def _exit_status(apps: list[dict[str, Any]], failure: dict[str, str], state: str) -> int | None:
    """The pod's status: of several apps, that of the first that failed."""
    if failure:
        return 125
    if state != "exited":
        return None
    failed = sorted((app["exited"], app["exit-status"]) for app in apps if app["exit-status"])
    if failed:
        return int(failed[0][1])
    return 0 if all(app["exit-status"] == 0 for app in apps) else None


def _failure(pod: Pod, fields: dict[str, str]) -> str | None:
    if not fields:
        return None
    from appc.executor.failure import explain

    return str(explain(pod, fields))
