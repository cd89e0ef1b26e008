"""Kubernetes Pods run as pods, and pods are written as Kubernetes Pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pod_kit import PROBE, Appc, base_files, one_app, pod_manifest


def write(path: Path, container: dict[str, Any], **spec: Any) -> str:
    containers = [{"name": "probe", "image": PROBE, **container}]
    shared = {"restartPolicy": "Never", "hostNetwork": True, "containers": containers, **spec}
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": shared}))
    return str(path)


def report(appc: Appc, path: str) -> dict[str, str]:
    done = appc.run("--kube", path, "--insecure", "image")
    assert done.status == 0, done
    return done.report


def test_a_container_is_what_its_pod_says(appc: Appc, tmp_path: Path) -> None:
    path = write(
        tmp_path / "pod.json",
        {
            "command": ["/probe"],
            "args": ["report", "exit", "0", "$(WHERE)", "$$(WHERE)", "$(OTHER)"],
            "workingDir": "/work",
            "env": [{"name": "WHERE", "value": "here"}, {"name": "TWICE", "value": "$(WHERE)$(WHERE)"}],
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
            "securityContext": {
                "runAsUser": 1000,
                "runAsGroup": 1001,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["KILL"]},
            },
        },
        hostname="hosted",
        securityContext={"supplementalGroups": [50, 60]},
    )
    seen = report(appc, path)
    assert (seen["cwd"], seen["env.WHERE"], seen["env.TWICE"]) == ("/work", "here", "herehere")
    assert [seen[f"argv.{at}"] for at in (4, 5, 6)] == ["here", "$(WHERE)", "$(OTHER)"]
    assert (seen["uid"].split()[0], seen["gid"].split()[0]) == ("1000", "1001")
    assert seen["status.NoNewPrivs"] == "1"
    assert int(seen["status.CapBnd"], 16) == 1 << 5
    document = appc.status(appc.the_pod().uuid)
    assert {row["name"] for row in document["isolators"] if row["outcome"] == "enforced"} >= {
        "resource/memory",
        "resource/cpu",
    }


def test_ports_and_volumes_and_handlers(appc: Appc, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text("of the host\n")
    script = "cat /made/by-handler /outside/file; echo no > /outside/file"
    path = write(
        tmp_path / "pod.json",
        {
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [
                {"name": "made", "mountPath": "/made"},
                {"name": "outside", "mountPath": "/outside", "readOnly": True},
            ],
        },
        initContainers=[
            {
                "name": "probe-pre-start",
                "image": PROBE,
                "command": ["/bin/sh", "-c", "echo prepared > /made/by-handler"],
            }
        ],
        volumes=[
            {"name": "made", "emptyDir": {}},
            {"name": "outside", "hostPath": {"path": str(tmp_path / "host"), "type": "Directory"}},
        ],
    )
    done = appc.run("--kube", path, "--insecure", "image")
    assert done.out == "prepared\nof the host\n"
    assert done.status != 0
    assert (tmp_path / "host/file").read_text() == "of the host\n"


def test_a_user_that_must_not_be_root_is_not(appc: Appc, tmp_path: Path) -> None:
    path = write(tmp_path / "pod.json", {"securityContext": {"runAsNonRoot": True}})
    done = appc.run("--kube", path, "--insecure", "image")
    assert done.status == 1
    assert "spec.containers[0].securityContext.runAsNonRoot" in done.err
    assert appc.pods() == []


def test_a_pod_goes_to_kubernetes_and_back(appc: Appc, tmp_path: Path) -> None:
    app = one_app(
        ("/bin/sh", "-c", "exit 7"),
        eventHandlers=[{"name": "pre-start", "exec": ["/bin/true"]}, {"name": "post-stop", "exec": ["/bin/true"]}],
        environment=[{"name": "A", "value": "b"}],
        workingDirectory="/work",
        mountPoints=[{"name": "data", "path": "/data", "readOnly": True}],
        ports=[{"name": "web", "protocol": "tcp", "port": 8080}],
        isolators=[
            {"name": "resource/memory", "value": {"limit": "64Mi"}},
            {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
            {"name": "os/linux/no-new-privileges", "value": True},
        ],
    )
    image = appc.add(tmp_path / "full.aci", base_files(), "example.com/full", app=app)
    entry = {
        "name": "full",
        "image": {"id": image, "name": "example.com/full"},
        "app": app,
        "readOnlyRootFS": True,
        "mounts": [{"volume": "data", "path": "/data"}],
    }
    path = pod_manifest(tmp_path / "pod.json", [entry], volumes=[{"name": "data", "kind": "empty"}])
    written = appc("pod", "kube", path, "--format", "json")
    assert written.status == 0, written
    # What has no place there is said.
    assert [line.split(": ")[2] for line in written.err.splitlines()] == ["apps[0].app.eventHandlers"]
    kube = json.loads(written.out)
    container = kube["spec"]["containers"][0]
    assert container["resources"] == {"limits": {"memory": "64Mi"}}
    assert container["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["KILL"]},
        "allowPrivilegeEscalation": False,
    }
    assert kube["spec"]["initContainers"][0]["command"] == ["/bin/true"]
    (tmp_path / "kube.json").write_text(written.out)
    done = appc.run("--kube", str(tmp_path / "kube.json"), "--insecure", "image")
    assert done.status == 7, done
    assert json.loads(appc("pod", "kube", appc.the_pod().uuid, "--format", "json").out)["spec"]["containers"] == [
        container
    ]


def test_annotations_go_along_where_they_can(appc: Appc) -> None:
    """Also those of a pod with isolators of its own, which says what became of them."""
    yaml = pytest.importorskip("yaml")
    words = (
        "--isolator",
        "resource/pids,limit=100",
        "--annotation",
        "example.com/team=red",
        "--annotation",
        "a/b/c=lost",
    )
    assert appc.run(*words, "--user-annotation", "note=free text", PROBE, "--", "exit", "0").status == 0
    written = appc("pod", "kube", appc.the_pod().uuid)
    assert written.status == 0, written
    assert yaml.safe_load(written.out)["metadata"]["annotations"] == {"example.com/team": "red", "note": "free text"}
    told = [line.partition(": is left out: ")[0] for line in written.err.splitlines()]
    assert set(told) == {"appc: warning: annotations.a/b/c", "appc: warning: isolators[0]"}


def test_yaml_is_read_and_written(appc: Appc, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    path = write(tmp_path / "pod.json", {"command": ["/bin/true"]})
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(json.loads(Path(path).read_text())))
    done = appc.run("--kube", str(tmp_path / "pod.yaml"), "--insecure", "image")
    assert done.status == 0, done
    written = appc("pod", "kube", appc.the_pod().uuid)
    assert yaml.safe_load(written.out)["spec"]["containers"][0]["command"] == ["/bin/true"]
