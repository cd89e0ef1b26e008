"""Pods in the network of another pod (`--net pod:UUID`)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from pod_kit import ASK_UUID, PROBE, Appc, pod_manifest, wait_for

from appc.host import cgroupfs, probe
from capabilities import need

pytestmark = pytest.mark.root


def namespace(appc: Appc, uuid: str, kind: str) -> str:
    return os.readlink(f"/proc/{appc.status(uuid)['apps'][0]['pid']}/ns/{kind}")


@pytest.fixture
def owner(appc: Appc) -> str:
    """A pod with a loopback interface, on which it serves a line."""
    serve = ("--exec", "/bin/sh", "--", "-c", "while true; do echo of the owner | nc -l -p 8080; done")
    return appc.detached(PROBE, *serve)


def test_the_loopback_is_the_same_and_nothing_else(appc: Appc, owner: str) -> None:
    uuid = appc.detached("--net", f"pod:{owner[:8]}", PROBE, "--", "wait")
    for kind in ("net", "pid", "ipc", "uts"):
        assert (namespace(appc, uuid, kind) == namespace(appc, owner, kind)) == (kind == "net")
    done = appc("enter", uuid, "/bin/sh", "-c", "until nc 127.0.0.1 8080; do sleep 0.01; done")
    assert done.out == "of the owner\n"
    assert f"networks=pod:{owner}" in appc("status", uuid).out


def test_each_has_its_own_metadata_service(appc: Appc, owner: str) -> None:
    pods = [owner, *(appc.detached("--net", f"pod:{owner}", PROBE, "--", "wait") for _ in range(2))]
    for uuid in pods:
        assert uuid in appc("enter", uuid, "/bin/sh", "-c", ASK_UUID).out


def test_a_network_that_was_joined_is_lent(appc: Appc, owner: str) -> None:
    second = appc.detached("--net", f"pod:{owner}", PROBE, "--", "wait")
    third = appc.detached("--net", f"pod:{second}", PROBE, "--", "wait")
    assert namespace(appc, third, "net") == namespace(appc, owner, "net")
    assert appc("app", "add", third, PROBE, "--name", "late", "--", "wait").status == 0


def test_the_owner_may_end_first(appc: Appc, owner: str) -> None:
    uuid = appc.detached("--net", f"pod:{owner}", PROBE, "--", "wait")
    assert appc("rm", "--force", owner).status in (0, 2)
    assert appc("stop", owner).status in (0, 1)
    wait_for(lambda: appc("status", owner).out == "" or appc.status(owner)["state"] == "exited")
    assert appc.status(uuid)["state"] == "running"
    assert appc("enter", uuid, "/probe", "exit", "3").status == 3
    assert appc("stop", uuid).status == 0
    assert appc("gc", "--grace-period", "0").status == 0
    assert appc.pods() == []


def test_the_plan_shows_it(appc: Appc, owner: str) -> None:
    done = appc("plan", "--net", f"pod:{owner}", PROBE)
    init = appc.status(owner)["pid"]
    assert f"/proc/{init}/ns/net" in done.out
    assert Path(f"/proc/{init}").exists()


def test_what_cannot_be_joined(appc: Appc, owner: str) -> None:
    host = appc.detached("--net", "host", PROBE, "--", "wait")
    ended = appc.detached(PROBE, "--", "exit", "0")
    wait_for(lambda: appc.status(ended)["state"] == "exited")
    for words, said in (
        (("--net", "pod:ffffffff"), "ffffffff"),
        (("--net", f"pod:{ended}"), "is not running (exited)"),
        (("--net", f"pod:{host}"), "is in the host's network"),
        (("--net", f"pod:{owner}", "--private-users"), "cannot be shared between users"),
        (("--net", f"pod:{owner}", "--port", "http:8080"), "ports"),
    ):
        done = appc.run(*words, PROBE)
        assert done.status in (1, 2), done
        assert said in done.err
    assert len(appc.pods()) == 3


@pytest.mark.parametrize("key", ["net.ipv4.ip_forward", "kernel.shmmax"])
def test_parameters_of_the_network_are_its_own_pods(appc: Appc, owner: str, tmp_path: Path, key: str) -> None:
    images = json.loads(appc("image", "list", "--format", "json").out)
    image = next(entry["id"] for entry in images if entry["name"] == PROBE)
    app = {"name": "web", "image": {"id": image}, "app": {"exec": ["/probe"], "user": "0", "group": "0"}}
    isolators = [{"name": "os/unix/sysctl", "value": {key: "0"}}]
    manifest = pod_manifest(tmp_path / "pod.json", [app], isolators=isolators)
    done = appc.run("--net", f"pod:{owner}", "--pod-manifest", manifest)
    if key.startswith("net."):
        assert done.status == 1
        assert "parameters of the network are its own pod's" in done.err
    else:
        assert done.status == 0, done


def test_limits_of_the_pod_that_was_joined_bound_both(appc: Appc) -> None:
    need("memory-controller")
    owner = appc.detached("--isolator", "resource/memory,limit=48Mi", PROBE, "--", "wait")
    uuid = appc.detached("--cgroup", f"pod:{owner[:8]}", PROBE, "--name", "eater", "--memory", "1Gi", "--", "wait")
    assert appc("enter", uuid, "--app", "eater", "/probe", "memory", "16").status == 0
    assert appc("enter", uuid, "--app", "eater", "/probe", "memory", "96").status != 0
    assert appc.status(owner)["state"] == appc.status(uuid)["state"] == "running"
    outcomes = {row["name"]: row["outcome"] for row in appc.status(uuid)["isolators"]}
    assert outcomes["resource/memory"] == "enforced"
    # Both stay what they are: changed, looked at and ended each for itself.
    assert appc("update", uuid, "--app", "eater", "--memory", "32Mi", "--pids", "50").status == 0
    assert appc("enter", uuid, "--app", "eater", "/probe", "memory", "40").status != 0
    assert appc("app", "add", uuid, PROBE, "--name", "late", "--memory", "24Mi", "--", "wait").status == 0
    assert appc("app", "add", owner, PROBE, "--name", "late", "--memory", "24Mi", "--", "wait").status == 0
    assert appc("app", "rm", "--force", owner, "late").status == 0
    assert {app["name"]: app["state"] for app in appc.status(uuid)["apps"]} == {"eater": "running", "late": "running"}
    assert appc("app", "rm", "--force", uuid, "late").status == 0
    assert {row["app"] for row in json.loads(appc("top", "--format", "json", owner).out)} == {"probe"}
    assert appc("stop", uuid).status == 0
    assert appc("rm", uuid).status == 0
    assert appc.status(owner)["state"] == "running"


def test_it_ends_with_the_pod_it_joined(appc: Appc) -> None:
    owner = appc.detached(PROBE, "--", "wait")
    second = appc.detached("--cgroup", f"pod:{owner}", PROBE, "--", "wait")
    third = appc.detached("--cgroup", f"pod:{second}", PROBE, "--memory", "64Mi", "--", "wait")
    assert appc("stop", owner).status == 0
    for uuid in (second, third):
        wait_for(lambda uuid=uuid: appc.status(uuid)["state"] == "exited")  # type: ignore[misc]
        assert appc.status(uuid)["apps"][0]["signal"] == 9
    assert appc("gc", "--grace-period", "0").status == 0
    assert appc.pods() == []


def test_groups_of_what_was_killed_are_collected(appc: Appc) -> None:
    owner = appc.detached(PROBE, "--", "wait")
    uuid = appc.detached("--cgroup", f"pod:{owner}", PROBE, "--memory", "64Mi", "--", "wait")
    os.kill(appc.status(uuid)["keeper"], signal.SIGKILL)
    wait_for(lambda: appc.status(uuid)["state"] == "exited")
    assert appc("gc", "--grace-period", "0").status == 0
    assert [pod.uuid for pod in appc.pods()] == [owner]
    assert appc.status(owner)["state"] == "running"
    assert not [group for group in cgroupfs.pod_directories(owner, probe.facts()) if uuid in group]


def test_groups_that_cannot_be_joined(appc: Appc) -> None:
    ended = appc.detached(PROBE, "--", "exit", "0")
    wait_for(lambda: appc.status(ended)["state"] == "exited")
    for words, status, said in (
        (("--cgroup", "pod:ffffffff"), 1, "ffffffff"),
        (("--cgroup", f"pod:{ended}"), 1, "is not running (exited)"),
        (("--cgroup", ended), 2, "is not pod:UUID"),
    ):
        done = appc.run(*words, PROBE)
        assert (done.status, said in done.err) == (status, True), done
    assert len(appc.pods()) == 1
