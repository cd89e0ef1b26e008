"""Readiness: what an app says at its socket, and what the keeper says to a service manager (sd_notify)."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest
from planlib import Keeper, app_ops, pod_plan, wait_for

from appc.plan.ops import Op, Plan

pytestmark = pytest.mark.root


def plan(pod: Path, tree: Path, *actions: str) -> Plan:
    """A pod of two apps, of which `web` is to say that it is ready, at /dev/notify."""
    (tree / "dev/notify").touch()
    bind = [Op("bind", str(pod / "notify/0"), "/dev/notify", 0, 0)]
    ops = app_ops(tree, *actions, "await", "/tmp/end")
    at = next(index for index, op in enumerate(ops) if op.name == "pivot")
    apps = {"web": ops[:at] + bind + ops[at:], "db": app_ops(tree, "await", "/tmp/end")}
    made = pod_plan(pod, apps)
    keeper = made.track("keeper").ops
    keeper.insert(next(index for index, op in enumerate(keeper) if op.name == "app"), Op("notify", "web", "notify/0"))
    return made


def test_a_pod_is_ready_when_its_apps_have_said_so(binaries: Path, pod: Path, tree: Path) -> None:
    actions = ("await", "/tmp/go", "tell", "/dev/notify", "STATUS=half\tway\nMAINPID=1", "await", "/tmp/on")
    keeper = Keeper(binaries, plan(pod, tree, *actions, "tell", "/dev/notify", "X=1\nREADY=1\n"), pod)
    assert keeper.report() == ["ready"]
    assert keeper.status("db")["ready"] == "1"
    assert keeper.status("web")["ready"] == "0"
    (tree / "tmp/go").touch()
    wait_for(lambda: keeper.status("web").get("said") == "half way")
    assert "ready" not in keeper.status("_keeper")
    (tree / "tmp/on").touch()
    wait_for(lambda: keeper.status("_keeper").get("ready") == "1")
    assert keeper.status("web")["ready"] == "1"
    (tree / "tmp/end").touch()
    assert keeper.wait()[0] == 0


@pytest.mark.parametrize("message", ["READY=0", "READY=1x", "A" * 5000 + "\nREADY=1", "\n\n", "READY"])
def test_what_does_not_say_it_does_not_count(binaries: Path, pod: Path, tree: Path, message: str) -> None:
    actions = ("tell", "/dev/notify", message, "tell", "/dev/notify", "STATUS=" + "é" * 400)
    keeper = Keeper(binaries, plan(pod, tree, *actions), pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: "said" in keeper.status("web"))
    assert len(os.fsencode(keeper.status("web")["said"])) < 130
    assert keeper.status("web")["ready"] == "0"
    (tree / "tmp/end").touch()
    assert keeper.wait()[0] == 0


def test_one_that_ended_at_once_was_ready_all_the_same(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "tmp/end").touch()
    keeper = Keeper(binaries, plan(pod, tree, "tell", "/dev/notify", "READY=1"), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    assert keeper.status("web")["ready"] == "1"


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(
    binaries: Path, pod: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@appc-test-{os.getpid()}-{binaries.name}" if abstract else str(tmp_path / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        keeper = Keeper(binaries, plan(pod, tree, "await", "/tmp/go", "tell", "/dev/notify", "READY=1"), pod)
        assert keeper.report() == ["ready"]
        assert select.select([manager], [], [], 0)[0] == []
        (tree / "tmp/go").touch()
        assert manager.recv(100).startswith(b"READY=1\n")
        keeper.process.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        keeper.wait()
        # Once each.
        assert select.select([manager], [], [], 0)[0] == []
