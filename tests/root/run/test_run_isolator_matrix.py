"""System calls, no-new-privileges, capabilities and users together: none of them changes what another one means.

What privileges are dropped in which order depends on all four, so every combination is tried.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pod_kit import PROBE, Appc, one_app, pod_manifest

from appc.abi import capability_names, errno_number
from appc.formats.enforce import DEFAULT_CAPABILITIES
from capabilities import need

pytestmark = pytest.mark.root

GETPRIORITY = 140
SIGSYS = 31
# What the probe needs to report.
NEEDED = ["@systemd/default", "@systemd/basic-io", "@systemd/file-system", "ioctl", "getrlimit", "prctl", "uname"]
CAPABILITIES = {
    "default": (None, DEFAULT_CAPABILITIES),
    "retain": (["CAP_CHOWN", "CAP_NET_ADMIN"], {"CAP_CHOWN", "CAP_NET_ADMIN"}),
    "remove": (["CAP_CHOWN", "CAP_NET_ADMIN"], DEFAULT_CAPABILITIES - {"CAP_CHOWN"}),
}
FILTERS = [("none", ""), *((mode, errno) for mode in ("retain", "remove") for errno in ("EPERM", "ENOTSUP"))]


def isolators(filtered: str, errno: str, no_new_privileges: bool, capabilities: str) -> list[dict[str, Any]]:
    """The isolators of one combination."""
    found = []
    if filtered != "none":
        calls = NEEDED if filtered == "retain" else ["getpriority"]
        found.append({"name": f"os/linux/seccomp-{filtered}-set", "value": {"set": calls, "errno": errno}})
    if no_new_privileges:
        found.append({"name": "os/linux/no-new-privileges", "value": True})
    names, _ = CAPABILITIES[capabilities]
    if names:
        found.append({"name": f"os/linux/capabilities-{capabilities}-set", "value": {"set": names}})
    return found


@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize("capabilities", CAPABILITIES)
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_each_means_what_it_says(
    appc: Appc, sandbox: Path, user: str, capabilities: str, no_new_privileges: bool
) -> None:
    need("seccomp", "libseccomp")
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of system calls are those of x86-64")
    listed = json.loads(appc("image", "list", "--format", "json").out)
    image = next(entry["id"] for entry in listed if entry["name"] == PROBE)

    def entry(name: str, mode: str, errno: str) -> dict[str, Any]:
        own = isolators(mode, errno, no_new_privileges, capabilities)
        command = ["/probe", "report", "syscall", str(GETPRIORITY)]
        app = {**one_app(command, isolators=own), "user": user, "group": user}
        return {"name": name, "image": {"id": image}, "app": app}

    apps = {f"{mode}{errno.lower()}": (mode, errno) for mode, errno in FILTERS}
    entries = [entry(name, *words) for name, words in apps.items()]
    uuid = appc.detached("--pod-manifest", pod_manifest(sandbox / "pod.json", entries))
    assert appc("status", "--wait", uuid).status == 0
    assert [app["signal"] for app in appc.status(uuid)["apps"]] == [None] * len(apps)
    _, bounding = CAPABILITIES[capabilities]
    for name, (_, errno) in apps.items():
        out = appc("logs", "--app", name, uuid).out
        report = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        assert f"syscall: errno {errno_number(errno) if errno else 0} " in out, (name, out)
        assert report["uid"] == f"{user} {user} {user}"
        assert report["status.NoNewPrivs"] == str(int(no_new_privileges))
        assert report["status.Seccomp"] == "2"
        sets = {key: set(capability_names(int(report[f"status.Cap{key}"], 16))) for key in ("Bnd", "Eff", "Prm", "Inh")}
        held = bounding if user == "0" else set()
        assert sets == {"Bnd": set(bounding), "Eff": held, "Prm": held, "Inh": set()}, name
    assert {row["outcome"] for row in appc.status(uuid)["isolators"]} <= {"enforced"}
    for mode in ("retain", "remove"):
        manifest = pod_manifest(sandbox / f"{mode}.json", [entry("killed", mode, "")])
        assert appc.run("--pod-manifest", manifest).status == 128 + SIGSYS
