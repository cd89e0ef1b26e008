"""`appc update`: limits of a pod that runs, seen from inside and outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, pod_manifest, wait_for

from appc.config import Directories
from appc.executor import api
from appc.host import cgroupfs, probe
from capabilities import need

pytestmark = pytest.mark.root

FILES = {"memory": ("memory.max", "memory.limit_in_bytes"), "cpu": ("cpu.max", "cpu.cfs_quota_us")}


def setting(uuid: str, app: str, kind: str) -> str:
    """The value of a limit in the app's group, or with "" in the pod's."""
    for directory in cgroupfs.pod_directories(uuid, probe.facts()):
        for file in FILES[kind]:
            path = Path(directory, app, file)
            if path.exists():
                return path.read_text().strip()
    raise AssertionError(f"no group has a limit of {kind}")


def test_a_limit_that_was_there_changes(appc: Appc) -> None:
    need("memory-controller")
    uuid = appc.detached(PROBE, "--name", "web", "--memory", "64Mi", "--", "wait")
    done = appc("update", uuid, "--app", "web", "--memory", "128Mi")
    assert (done.status, done.out) == (0, "resource/memory=enforced\n")
    assert setting(uuid, "web", "memory") == str(128 << 20)


def test_a_limit_that_was_not_there_binds_what_runs(appc: Appc) -> None:
    """The app's processes move into the group that is made for it, also those it has started."""
    need("memory-controller")
    script = "sleep 60 & while :; do sleep 0.01; done"
    uuid = appc.detached(PROBE, "--name", "web", "--exec", "/bin/sh", "--", "-c", script)
    appc("update", uuid, "--app", "web", "--memory", "32Mi")
    eater = ("enter", uuid, "--app", "web", "/probe", "memory", "64")
    assert appc(*eater).status != 0
    assert setting(uuid, "web", "memory") == str(32 << 20)
    assert appc("stop", uuid).status == 0


def test_a_pod_that_removes_itself_leaves_no_group_that_came_late(appc: Appc) -> None:
    need("memory-controller")
    uuid = appc.detached("--rm", PROBE, "--name", "web", "--", "wait")
    assert appc("update", uuid, "--app", "web", "--memory", "32Mi").status == 0
    appc("stop", uuid)
    wait_for(lambda: appc.pods() == [])
    assert cgroupfs.pod_directories(uuid, probe.facts()) == []


def test_a_pods_limit_bounds_all_its_apps(appc: Appc) -> None:
    need("memory-controller")
    uuid = appc.detached(PROBE, "--name", "one", "--", "wait", "---", PROBE, "--name", "two", "--", "wait")
    assert appc("update", uuid, "--memory", "32Mi").status == 0
    assert setting(uuid, "", "memory") == str(32 << 20)
    assert appc("enter", uuid, "--app", "two", "/probe", "memory", "64").status != 0


def test_the_manifest_and_the_status_tell(appc: Appc) -> None:
    need("cpu-controller")
    uuid = appc.detached(PROBE, "--name", "web", "--cpu", "500m", "--", "wait")
    done = appc("update", uuid, "--app", "web", "--cpu", "250m", "--isolator", "os/linux/oom-score-adj,500")
    assert done.status == 0, done
    manifest = json.loads(appc("manifest", uuid).out)
    isolators = {entry["name"]: entry["value"] for entry in manifest["apps"][0]["app"]["isolators"]}
    assert isolators["resource/cpu"]["limit"] == "250m"
    rows = [(row["scope"], row["name"], row["outcome"]) for row in appc.status(uuid)["isolators"]]
    assert rows.count(("web", "resource/cpu", "enforced")) == 1
    assert ("web", "os/linux/oom-score-adj", "enforced") in rows
    pid = appc.status(uuid)["apps"][0]["pid"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    assert setting(uuid, "web", "cpu").split()[0] == "25000"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--app", "web", "--memory", "64Ki"), "are in use, more than the limit of 65536"),
        (("--app", "web", "--isolator", "os/linux/no-new-privileges,true"), "cannot be changed while the pod runs"),
        (("--app", "absent", "--memory", "64Mi"), "has no app absent"),
        (("--app", "web"), "nothing to change is named"),
        (("--app", "web", "--memory", "0"), "is not more than nothing"),
    ],
)
def test_what_is_refused_changes_nothing(appc: Appc, words: tuple[str, ...], what: str) -> None:
    need("memory-controller")
    uuid = appc.detached(PROBE, "--name", "web", "--memory", "64Mi", "--", "memory", "8", "wait")
    wait_for(lambda: "memory 8" in appc("logs", uuid).out)
    before = appc("manifest", uuid).out
    done = appc("update", uuid, *words)
    assert done.status in (1, 2, 125)
    assert what in done.err
    assert appc("manifest", uuid).out == before
    assert setting(uuid, "web", "memory") == str(64 << 20)


def test_an_app_that_runs_again_has_what_it_was_given_since(appc: Appc) -> None:
    need("memory-controller")
    uuid = appc.detached(PROBE, "--name", "web", "--restart", "always", "--", "wait")
    words = ("--memory", "64Mi", "--isolator", "os/linux/oom-score-adj,500")
    assert appc("update", uuid, "--app", "web", *words).status == 0

    def groups_and_score(restarts: int) -> tuple[list[bool], str]:
        document = wait_for(
            lambda: (one := appc.status(uuid)["apps"][0])["restarts"] == restarts and one["pid"] and one
        )
        groups = [path for path in cgroupfs.pod_directories(uuid, probe.facts()) if path.endswith("/web")]
        inside = [document["pid"] in cgroupfs.processes(path) for path in groups]
        return inside, Path(f"/proc/{document['pid']}/oom_score_adj").read_text().strip()

    before = groups_and_score(0)
    assert (all(before[0]), before[1]) == (True, "500")
    assert appc("kill", uuid).status == 0
    assert groups_and_score(1) == before
    assert appc("app", "stop", uuid, "web").status == 0
    assert appc("app", "start", uuid, "web").status == 0
    assert groups_and_score(1) == before


def test_a_pod_that_does_not_run(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "exit", "0")
    wait_for(lambda: appc.status(uuid)["state"] == "exited")
    assert "is not running (exited)" in appc("update", uuid, "--memory", "64Mi").err


def test_a_pod_manifests_block_limits_are_set(appc: Appc, tmp_path: Path, shared: Appc) -> None:
    need("disks")
    image = appc("image", "list", "--format", "json").out
    image_id = next(entry["id"] for entry in json.loads(image) if entry["name"] == PROBE)
    app = {
        "name": "web",
        "image": {"id": image_id},
        "app": {
            "exec": ["/probe", "wait"],
            "user": "0",
            "group": "0",
            "isolators": [{"name": "resource/block-iops", "value": {"limit": "1000", "default": True}}],
        },
    }
    done = appc.run("--detach", "--pod-manifest", pod_manifest(tmp_path / "pod.json", [app]))
    assert done.status == 0, done
    rows = appc.status(done.out.strip())["isolators"]
    outcome = "modified" if "blkio" in probe.facts().controllers else "enforced"
    assert [(row["name"], row["outcome"]) for row in rows if "block" in row["name"]] == [
        ("resource/block-iops", outcome)
    ]


def test_from_python(appc: Appc) -> None:
    need("memory-controller")
    where = Directories(str(appc.root), str(appc.state), (str(appc.config),))
    with api.run(PROBE, name="web", args=("wait",), memory="64Mi", directories=where) as pod:
        pod.update("web", memory="96Mi")
        assert setting(pod.uuid, "web", "memory") == str(96 << 20)
        assert pod.manifest["apps"][0]["app"]["isolators"][0]["value"]["limit"] == "96Mi"
