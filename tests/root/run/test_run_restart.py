"""Apps that run again when they have ended (`--restart`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, one_app, wait_for

from appc.config import Directories
from appc.executor import api

pytestmark = pytest.mark.root

SHELL = ("--exec", "/bin/sh", "--", "-c")


def test_a_failing_app_runs_again_with_what_it_left(appc: Appc) -> None:
    script = 'echo x >> /count; [ "$(cat /count)" = "$(echo x; echo x; echo x)" ] || exit 7'
    done = appc.run(PROBE, "--name", "web", "--restart", "on-failure", *SHELL, script)
    assert done.status == 0, done
    (app,) = appc.status(appc.the_pod().uuid)["apps"]
    assert (app["state"], app["exit-status"], app["restarts"]) == ("exited", 0, 2)


def test_it_has_the_same_user_limits_and_privileges_as_at_first(appc: Appc) -> None:
    actions = ("report", "exit", "9")
    flags = ("--user", "alice", "--group", "staff", "--caps-retain", "NET_ADMIN", "--restart", "on-failure:1")
    done = appc.run(PROBE, *flags, "--", *actions)
    assert done.status == 9
    first, again = done.out.split("argv.0=")[1:]
    different = set(first.splitlines()) ^ set(again.splitlines())
    assert {line.partition("=")[0] for line in different} <= {"pid", "sid", "pgid", "fd.1", "fd.2"}, different


def test_the_number_of_restarts_is_bounded_and_then_the_pod_fails(appc: Appc) -> None:
    done = appc.run(
        PROBE, "--restart", "on-failure:2", "--", "echo", "run", "exit", "5", "---", PROBE, "--name", "b", "--", "wait"
    )
    assert done.status == 5
    assert done.out.count("run\n") == 3


def test_other_apps_go_on_meanwhile(appc: Appc) -> None:
    uuid = appc.detached(
        PROBE, "--name", "web", "--restart", "always", "--", "exit", "5", "---", PROBE, "--name", "b", "--", "wait"
    )
    wait_for(lambda: appc.status(uuid)["apps"][0]["restarts"] > 2)
    document = appc.status(uuid)
    assert document["apps"][0]["state"] in ("restarting", "running", "exited")
    assert document["apps"][1]["state"] == "running"
    assert appc("stop", uuid).status == 0
    assert appc.status(uuid)["apps"][0]["state"] == "exited"


def test_a_kill_is_a_failure(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--restart", "on-failure", "--", "wait")
    before = appc.status(uuid)["apps"][0]["pid"]
    assert appc("kill", uuid).status == 0
    after = wait_for(lambda: (app := appc.status(uuid)["apps"][0])["restarts"] == 1 and app["pid"])
    assert after != before
    assert appc("enter", uuid, "/probe", "exit", "4").status == 4


def test_handlers_run_around_every_run(appc: Appc, sandbox: Path) -> None:
    events = [
        {"name": "pre-start", "exec": ["/probe", "echo", "pre"]},
        {"name": "post-stop", "exec": ["/probe", "echo", "post"]},
    ]
    appc.add(
        sandbox / "x.aci",
        name="example.com/again",
        app=one_app(["/probe", "echo", "app", "exit", "1"], eventHandlers=events),
        dependencies=[{"imageName": PROBE}],
    )
    done = appc.run("example.com/again", "--restart", "on-failure:1")
    assert done.out.split() == ["pre", "app", "post"] * 2


def test_the_manifest_says_it_and_can_say_it(appc: Appc, tmp_path: Path) -> None:
    uuid = appc("prepare", PROBE, "--restart", "on-failure:1", "--", "echo", "run", "exit", "5").out.strip()
    manifest = json.loads(appc("manifest", uuid).out)
    assert manifest["apps"][0]["annotations"] == [{"name": "appc.io/restart", "value": "on-failure:1"}]
    path = tmp_path / "pod.json"
    path.write_text(json.dumps(manifest))
    assert appc.run("--pod-manifest", str(path)).out == "run\n" * 2
    manifest["apps"][0]["annotations"][0]["value"] = "sometimes"
    path.write_text(json.dumps(manifest))
    done = appc.run("--pod-manifest", str(path))
    assert done.status == 1
    assert "apps[0].annotations[0].value: 'sometimes' is not no, on-failure[:N] or always[:N]" in done.err


@pytest.mark.parametrize("policy", ["", "never", "no:3", "always:0", "always:x", "on-failure:"])
def test_what_is_no_policy(appc: Appc, policy: str) -> None:
    done = appc.run(PROBE, "--restart", policy)
    assert done.status == 2
    assert "is not no, on-failure[:N] or always[:N]" in done.err


def test_a_terminal_cannot_come_again(appc: Appc) -> None:
    done = appc.run("--interactive", PROBE, "--restart", "always")
    assert done.status == 2
    assert "its terminal ends with it" in done.err
    assert appc.pods() == []


def test_from_python(appc: Appc) -> None:
    where = Directories(str(appc.root), str(appc.state), (str(appc.config),))
    with api.run(PROBE, args=("exit", "3"), restart="on-failure:1", directories=where) as pod:
        assert pod.wait(20) == 3
        assert pod.status["apps"][0]["restarts"] == 1
