"""Readiness: apps that say when they are ready, and who waits for that."""

from __future__ import annotations

import select
import socket
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, base_files, one_app, wait_for

import appc as api

NOTIFY = "appc.io/executor/supports-systemd-notify"


def test_a_pod_is_ready_when_each_app_that_says_so_has(appc: Appc) -> None:
    volume = ("--volume", "v,kind=empty")
    words = ("--mount", "volume=v,target=/v", "--user", "1234", "--group", "1234", "--annotation", f"{NOTIFY}=true")
    says = ("tell", "/dev/appc/notify", "STATUS=warming up", "await", "/v/go", "tell", "/dev/appc/notify", "READY=1")
    pod = ("--detach", *volume, PROBE, "--name", "web", *words, "--", *says, "wait", "---", PROBE, "--", "wait")
    uuid = appc.run(*pod).out.strip()
    wait_for(lambda: appc.status(uuid)["apps"][0]["status-text"] == "warming up")
    status = appc.status(uuid)
    assert (status["ready"], [app["ready"] for app in status["apps"]]) == (False, [False, True])
    assert "app-web=running, not ready (warming up), pid " in appc("status", uuid).out
    assert appc("status", "--wait-ready=50ms", uuid).status == 1
    waiting = appc.start("status", "--wait-ready", uuid)
    (Path(appc.the_pod().file("volumes")) / "v/go").touch()
    out, _ = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, b"not ready" in out) == (0, False)
    found = api.pod(uuid, directories=api.Directories(str(appc.root), str(appc.state), [str(appc.config)]))
    found.wait_ready(timeout=1)


@pytest.mark.parametrize(("annotation", "ready"), [("", False), ("true", False), ("false", True)])
def test_an_image_says_what_its_app_does_and_the_pod_may_say_else(
    appc: Appc, sandbox: Path, annotation: str, ready: bool
) -> None:
    appc.add(
        sandbox / "says.aci",
        base_files(),
        "example.com/says",
        app=one_app(),
        annotations=[{"name": NOTIFY, "value": "true"}],
    )
    words = ("--annotation", f"{NOTIFY}={annotation}") if annotation else ()
    uuid = appc.detached("example.com/says", *words, "--", "report", "wait")
    assert appc.status(uuid)["ready"] == ready
    wait_for(lambda: "env.AC_APP_NAME" in appc("logs", uuid).out)
    assert ("NOTIFY_SOCKET=/dev/appc/notify" in appc("logs", uuid).out) != ready


def test_a_pod_in_the_foreground_is_a_service_that_tells_when_it_is_ready(appc: Appc, sandbox: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(sandbox / "manager"))
        words = ("run", PROBE, "--annotation", f"{NOTIFY}=true", "--", "read", "/dev/null")
        env = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(sandbox / "manager")}
        pod = appc.start(*words, "await", "/go", "tell", "/dev/appc/notify", "READY=1", "report", "wait", env=env)
        wait_for(lambda: appc.pods() and appc.the_pod().phase == "run")
        assert select.select([manager], [], [], 0.3)[0] == []
        uuid = appc.the_pod().uuid
        wait_for(lambda: appc.status(uuid)["apps"][0]["pid"])
        (Path("/proc") / str(appc.status(uuid)["apps"][0]["pid"]) / "root/go").touch()
        assert select.select([manager], [], [], PATIENCE)[0]
        assert manager.recv(100).startswith(b"READY=1\n")
        assert appc("stop", uuid).status == 0
        assert manager.recv(100) == b"STOPPING=1"
        out, _ = pod.communicate(timeout=PATIENCE)
        assert str(sandbox).encode() not in out


def test_a_detached_pod_speaks_for_nobody(appc: Appc, sandbox: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(sandbox / "manager"))
        env = {"NOTIFY_SOCKET": str(sandbox / "manager")}
        done = appc.run("--detach", PROBE, "--", "exit", "0", env=env)
        assert done.status == 0
        appc("status", "--wait", done.out.strip())
        assert select.select([manager], [], [], 0)[0] == []


def test_an_app_that_runs_again_has_to_say_it_again(appc: Appc) -> None:
    script = (
        "if [ -e /once ]; then /probe await /go; else >/once; fi; "
        "/probe tell /dev/appc/notify READY=1; until [ -e /fail ]; do sleep 0.01; done; rm /fail; exit 3"
    )
    words = ("--annotation", f"{NOTIFY}=true", "--restart", "always", "--exec", "/bin/sh", "--", "-c", script)
    uuid = appc.detached(PROBE, *words)

    def state() -> tuple[str, bool, int]:
        app = appc.status(uuid)["apps"][0]
        return app["state"], app["ready"], app["restarts"]

    wait_for(lambda: state() == ("running", True, 0))
    root = Path("/proc") / str(appc.status(uuid)["apps"][0]["pid"]) / "root"
    (root / "fail").touch()
    wait_for(lambda: state() == ("running", False, 1))
    (Path("/proc") / str(appc.status(uuid)["apps"][0]["pid"]) / "root/go").touch()
    wait_for(lambda: state() == ("running", True, 1))
