"""What is left, and what is told, when a keeper or a pod's first process is killed; and what never leaks or lingers."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

from pod_kit import PROBE, Appc, one_app, wait_for

from appc.host import procs


def running(appc: Appc, *flags: str) -> dict[str, int]:
    """Start a pod with two apps; return its UUID and processes."""
    first = (PROBE, "--name", "a", "--", "echo", "up", "wait")
    uuid = appc.detached(*flags, *first, "---", PROBE, "--name", "b", "--", "wait")
    document = appc.status(uuid)
    apps = {app["name"]: app["pid"] for app in document["apps"]}
    return {"uuid": uuid, "keeper": document["keeper"], "init": document["pid"], **apps}


def alive(pid: int) -> bool:
    return procs.start_time(pid) > 0


def test_a_killed_keeper_takes_its_pod_along(appc: Appc) -> None:
    pod = running(appc)
    os.kill(pod["keeper"], signal.SIGKILL)
    wait_for(lambda: not any(alive(pod[name]) for name in ("init", "a", "b")))
    wait_for(lambda: appc.status(pod["uuid"])["state"] == "exited")
    document = appc.status(pod["uuid"])
    assert document["exit-status"] is None
    assert {app["state"] for app in document["apps"]} == {"ended, unrecorded"}
    assert appc("logs", "--app", "a", pod["uuid"]).out == "up\n"
    assert appc("enter", "--app", "a", pod["uuid"], "/probe").status == 1
    first = appc("gc")
    assert first.out == f"{pod['uuid']} end: its keeper was killed\n"
    assert appc.status(pod["uuid"])["state"] == "exited"
    assert appc("gc").out == ""
    assert appc("gc", "--grace-period", "0s").out == f"{pod['uuid']} remove: exited\n"


def test_a_pod_whose_keeper_was_killed_can_be_removed_at_once(appc: Appc) -> None:
    pod = running(appc)
    os.kill(pod["keeper"], signal.SIGKILL)
    wait_for(lambda: not appc.the_pod().locked())
    assert appc("stop", pod["uuid"]).status == 0
    assert appc("rm", pod["uuid"]).status == 0


def test_a_killed_first_process_ends_the_pod_in_good_order(appc: Appc, sandbox: Path) -> None:
    handler = [{"name": "post-stop", "exec": ["/probe", "echo", "post"]}]
    appc.add(
        sandbox / "x.aci",
        name="example.com/post",
        app=one_app(["/probe", "wait"], eventHandlers=handler),
        dependencies=[{"imageName": PROBE}],
    )
    uuid = appc.detached("example.com/post")
    os.kill(appc.status(uuid)["pid"], signal.SIGKILL)
    assert appc("status", "--wait", uuid).status == 0
    document = appc.status(uuid)
    assert (document["state"], document["exit-status"]) == ("exited", 137)
    assert document["apps"][0]["post-stop"] == "skipped"


def test_the_first_process_cannot_be_touched_from_inside(appc: Appc) -> None:
    script = (
        "kill -9 1; kill -TERM 1; cat /proc/1/environ; ls /proc/1/fd; ls -l /proc/1/exe; echo > /proc/1/mem; echo alive"
    )
    done = appc.run(PROBE, "--exec", "/bin/sh", "--", "-c", script)
    assert done.out.endswith("alive\n")
    assert done.err.count("ermission denied") >= 3


def test_appc_init_is_sealed(appc: Appc) -> None:
    pod = running(appc)
    exe = Path(f"/proc/{pod['init']}/exe")
    assert os.readlink(exe).startswith("/memfd:appc-init")
    for mode in (os.O_WRONLY, os.O_RDWR):
        try:
            os.close(os.open(exe, mode))
        except OSError:
            continue
        raise AssertionError("the program of PID 1 could be opened for writing")


def test_no_python_stays_and_a_pod_costs_little(appc: Appc) -> None:
    pod = running(appc)
    names = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(appc.root).encode() in word for word in words):
            names[pid] = words
    assert names == {}
    total = procs.pss(pod["keeper"]) + procs.pss(pod["init"])
    assert total <= 1 << 20, f"{total} bytes"


def test_keeper_and_first_process_hold_nothing_they_do_not_need(appc: Appc) -> None:
    pod = running(appc)
    keeper = {os.readlink(f"/proc/{pod['keeper']}/fd/{fd}") for fd in os.listdir(f"/proc/{pod['keeper']}/fd")}
    assert not [name for name in keeper if "store" in name or name.startswith("/dev/pts")]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pod['init']}/status").read_text().splitlines() if ":\t" in line
    )
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_secrets_are_for_root_alone_and_on_no_command_line(appc: Appc) -> None:
    pod = running(appc)
    directory = Path(appc.the_pod().path)
    token = (directory / "token").read_text()
    for name in ("token", "hmac-key", "plan", "pod", "request", "config/a"):
        status = (directory / name).stat()
        assert stat.S_IMODE(status.st_mode) == 0o600, name
    for path in (directory, directory.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        assert token.encode() not in words
    assert len(token) == 32
    assert token != (Path(directory) / "hmac-key").read_text(errors="replace")
    assert pod["uuid"]


def test_each_pod_has_a_token_of_its_own(appc: Appc) -> None:
    for _ in range(2):
        appc.run(PROBE, "--", "echo", "x")
    tokens = {(Path(pod.path) / "token").read_text() for pod in appc.pods()}
    assert len(tokens) == 2


def test_a_killed_app_is_no_zombie_and_orphans_are_reaped(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "orphan", "0.05", "echo", "up", "wait")
    init = appc.status(uuid)["pid"]
    wait_for(lambda: appc("logs", uuid).out == "up\n")
    # The orphan becomes the child of PID 1 and ends soon; a zombie would stay.
    children = Path(f"/proc/{init}/task/{init}/children")
    wait_for(lambda: children.read_text().split() == [], "PID 1 reaps the orphan")


def test_what_an_app_nested_too_deep_for_a_path_is_removed_all_the_same(appc: Appc) -> None:
    chain = "d/" * 1500
    script = f"mkdir -p b/{chain} a/{chain} && cd a/{chain} && mv /v/b . && echo deep"
    done = appc.run(
        *("--volume", "v,kind=empty", PROBE, "--mount", "volume=v,target=/v", "--working-dir", "/v"),
        *("--exec", "/bin/sh", "--", "-c", script),
    )
    assert done.out == "deep\n", done
    uuid = appc.the_pod().uuid
    assert appc("rm", uuid).status == 0
    assert appc.pods() == []
