"""What happens to pods and their apps, told while it happens.

Nobody sends events: a change shows in the pods' directories, which are looked at when the kernel says that something
in them changed. So there is nothing to lose when nobody listens, and what changes back between two looks is not seen.
"""

from __future__ import annotations

import os
import time

from appc.errors import PodNotFound
from appc.executor.status import describe
from appc.host.inotify import Watcher
from appc.pods import layout
from appc.pods.layout import PHASES, Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

# How often pods that run are looked at without being told: a keeper that was killed changes nothing in a directory.
LOOK_SECONDS = 1.0
_OVER = ("exited", "aborted prepare", "deleting", "garbage")


class Event:
    """One thing that happened: `time_ns` since the epoch, pod, kind, app ("" for the pod's own), and details."""

    __slots__ = ("app", "details", "kind", "pod", "time_ns")

    def __init__(self, time_ns: int, pod: str, kind: str, app: str = "", **details: Any) -> None:
        self.time_ns = time_ns
        self.pod = pod
        self.kind = kind
        self.app = app
        self.details = details

    def __repr__(self) -> str:
        return f"<{self.kind} {self.pod[:8]} {self.app} {self.details}>"


def follow(root: str, uuids: Sequence[str] = ()) -> Iterator[Event]:
    """Yield what happens to the pods below `root` from now on; with `uuids`, to these until all of them are over."""
    watcher = Watcher()
    try:
        for phase in PHASES:
            os.makedirs(f"{root}/pods/{phase}", 0o700, exist_ok=True)
            watcher.add(f"{root}/pods/{phase}", "")
        known: dict[str, dict[str, Any]] = {}
        for pod in layout.every(root):
            _look(pod, known, watcher, uuids)
        while not uuids or any(known[uuid]["state"] not in _OVER for uuid in uuids if uuid in known):
            changed = watcher.wait(LOOK_SECONDS)
            if changed is None:
                wanted = {pod.uuid for pod in layout.every(root)} | set(known)
            else:
                wanted = {key or name for key, name in changed}
                if not changed:
                    wanted = {uuid for uuid in known if _lost(root, known[uuid])}
            for uuid in sorted(wanted):
                if layout.is_uuid(uuid):
                    yield from _look(Pod(root, PHASES[0], uuid), known, watcher, uuids)
    finally:
        watcher.close()


def _lost(root: str, document: dict[str, Any]) -> bool:
    """Tell whether a pod that ran has nothing alive any more."""
    return document["state"] == "running" and not Pod(root, "run", document["uuid"]).locked()


def _look(pod: Pod, known: dict[str, dict[str, Any]], watcher: Watcher, uuids: Sequence[str]) -> list[Event]:
    if uuids and pod.uuid not in uuids:
        return []
    before = known.get(pod.uuid)
    now = time.time_ns()
    try:
        if before is None or before["state"] in ("embryo", "preparing"):
            pod.refresh()
            try:
                watcher.add(pod.file("status"), pod.uuid)
            except FileNotFoundError:
                pass  # it has none yet; its next phase tells
        after = describe(pod.refresh())
    except PodNotFound:
        known.pop(pod.uuid, None)
        return [] if before is None else [Event(now, pod.uuid, "removed")]
    known[pod.uuid] = after
    return differences(before, after, now)


def differences(before: dict[str, Any] | None, after: dict[str, Any], now: int) -> list[Event]:
    """Return what must have happened between two status documents of a pod, in order; `now` is when it was seen."""
    uuid = after["uuid"]
    earlier = before or {"state": "embryo", "apps": [], "ready": False}
    found = []
    started = after["state"] != earlier["state"] and after["state"] == "running"
    if after["state"] == "prepared" and earlier["state"] != "prepared":
        found.append(Event(now, uuid, "prepared"))
    apps = {app["name"]: app for app in earlier["apps"]}
    told = [event for app in after["apps"] for event in _app_differences(uuid, apps.get(app["name"]), app, now)]
    if started or (told and earlier["state"] not in ("running", *_OVER)):
        found.append(Event(min([event.time_ns for event in told] or [now]), uuid, "started"))
    found += sorted(told, key=lambda event: event.time_ns)
    if after["ready"] and not earlier["ready"]:
        found.append(Event(now, uuid, "ready"))
    if after["state"] in _OVER[:2] and earlier["state"] not in _OVER:
        details = {"status": after["exit-status"]}
        if after["failure"]:
            details["failure"] = after["failure"]
        found.append(Event(now, uuid, "exited", **details))
    return found


def _app_differences(uuid: str, before: dict[str, Any] | None, after: dict[str, Any], now: int) -> list[Event]:
    earlier = before or {"started": None, "exited": None, "ready": False}
    name = after["name"]
    found = []
    if after["started"] and after["started"] != earlier["started"]:
        found.append(Event(after["started"], uuid, "app-started", name, pid=after["pid"]))
    if after["ready"] and not (earlier["ready"] and after["started"] == earlier["started"]):
        found.append(Event(now, uuid, "app-ready", name))
    if after["exited"] and after["exited"] != earlier["exited"]:
        if after["out-of-memory"]:
            found.append(Event(after["exited"], uuid, "out-of-memory", name, limit=after["memory-limit"]))
        details = {"status": after["exit-status"], "signal": after["signal"], "death": after["death"]}
        found.append(Event(after["exited"], uuid, "app-exited", name, **details))
    return found
