"""A pod's directory as a launch and its keeper leave it, written by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from appc.plan import wire
from appc.plan.ops import Op, Plan, Track
from appc.pods.layout import Pod

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
IMAGE_ID = "sha512-" + "ab" * 64


def app_track(name: str, tree: str, *, files: tuple[str, ...] = ("/bin/x",), root: bool = True) -> Track:
    """The track of an app whose root is `tree` (below an upper layer of the pod's own)."""
    capabilities = 0xFFFF if root else 0
    return Track(
        name,
        [
            Op("root-overlay", "/target", (tree,), "/upper", "/work", ()),
            Op("bind", "/host/data", "/data", 0, 0),
            Op("bind", "@/proc/bus", "/proc/bus", 1, 1),
            Op("chdir", "/work", source="process.cwd"),
            Op("ids", 0 if root else 5, 0 if root else 5, ("7",)),
            Op("caps", capabilities, capabilities, 0, 0),
            Op("exec", files, ("/bin/x", "-v"), (), source="process.args"),
        ],
    )


def pod_plan(tree: str = "/nowhere", **changes: Any) -> Plan:
    """A plan of the app `web` with a pre-start handler."""
    web = app_track("app web", tree, **changes)
    handler = Track("pre-start web", app_track("x", tree, **changes).ops[3:])
    keeper = [
        Op("app", "web", "app web", "null", "log", "log", "logs/web.log", "", source="apps[0]"),
        Op("handler", "web", "pre-start web", "logs/web.log", 0, "", source="apps[0].app.eventHandlers pre-start"),
        Op("start", "web", source="apps[0]"),
        Op("mount-namespace", source="appc"),
    ]
    return Plan([Track("keeper", keeper), web, handler], {})


class OnDisk:
    """A pod whose files can be set."""

    def __init__(self, root: Path, phase: str = "exited", apps: tuple[str, ...] = ("web",)) -> None:
        self.pod = Pod(str(root), phase, UUID)
        for name in ("status", "config", "logs", "apps"):
            os.makedirs(self.pod.file(name))
        Path(self.pod.file("lock")).touch()
        entries = [{"name": name, "image": {"id": IMAGE_ID, "name": f"example.com/{name}"}} for name in apps]
        self.pod.write_json("pod", {"acKind": "PodManifest", "apps": entries})
        self.pod.write_json("request", {"net": "none", "images": []})
        self.pod.write("plan", wire.encode(pod_plan()))

    def status(self, name: str, **fields: int | str) -> None:
        """Write a status file."""
        text = "".join(f"{key.replace('_', '-')}={value}\n" for key, value in fields.items())
        Path(self.pod.file(f"status/{name}")).write_text(text)
