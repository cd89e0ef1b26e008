"""Resource isolators: enforced by the kernel, bounded by the pod's, told in the status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, one_app, pod_manifest, wait_for

from appc.host import cgroupfs, probe
from capabilities import need


def groups(uuid: str, app: str = "") -> list[Path]:
    """The control groups of a pod or of one of its apps."""
    found = [Path(path) for path in cgroupfs.pod_directories(uuid, probe.facts())]
    return [path for path in found if path.name == (app or uuid)]


def value(paths: list[Path], *names: str) -> str:
    """The first of the control files `names` that one of the groups has."""
    for path in paths:
        for name in names:
            if (path / name).exists():
                return (path / name).read_text().strip()
    raise AssertionError(f"none of {paths} has one of {names}")


def test_an_app_over_its_memory_limit_is_killed(appc: Appc) -> None:
    need("memory-controller")
    done = appc.run(PROBE, "--memory", "24Mi", "--", "memory", "100", "echo", "survived")
    assert done.status == 137, done
    assert "survived" not in done.out
    uuid = appc.the_pod().uuid
    app = appc.status(uuid)["apps"][0]
    assert (app["signal"], app["out-of-memory"], app["memory-limit"]) == (9, True, "24Mi")
    assert app["death"].startswith("killed: memory limit 24 MiB, peak 2")
    assert f"app-probe=exited, {app['death']}, started" in appc("status", uuid).out


def test_a_pod_over_its_memory_limit(appc: Appc, tmp_path: Path) -> None:
    need("memory-controller")
    image = appc("image", "list", "--format", "json").out
    limit = {"name": "resource/memory", "value": {"limit": "24Mi"}}
    app = {"name": "web", "image": {"id": next(one["id"] for one in json.loads(image) if one["name"] == PROBE)}}
    app["app"] = one_app(["/probe", "memory", "100"])
    manifest = pod_manifest(tmp_path / "pod.json", [app], isolators=[limit])
    assert appc.run("--pod-manifest", manifest).status == 137
    found = appc.status(appc.the_pod().uuid)["apps"][0]
    assert (found["out-of-memory"], found["memory-limit"]) == (True, None)
    assert found["death"].startswith("killed: the pod's memory limit 24 MiB, peak ")


def test_a_system_call_that_kills(appc: Appc) -> None:
    need("seccomp")
    if os.uname().machine != "x86_64":
        pytest.skip("the number is x86-64's")
    done = appc.run(PROBE, "--seccomp", "mode=remove,swapoff", "--", "syscall", "168")
    assert done.status == 128 + signal.SIGSYS
    death = appc.status(appc.the_pod().uuid)["apps"][0]["death"]
    # The kernel names processes by their numbers in the first namespace; elsewhere nobody can tell whose record it is.
    first = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
    assert death == "killed by SIGSYS" + (": system call swapoff is not allowed" if first else "")


def test_an_app_that_is_killed_otherwise_is_not_out_of_memory(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--memory", "24Mi", "--", "wait")
    assert appc("kill", "--signal", "KILL", uuid).status == 0
    assert appc("status", "--wait", uuid).status == 0
    app = appc.status(uuid)["apps"][0]
    assert (app["signal"], app["out-of-memory"], app["memory-limit"]) == (9, False, None)


def test_an_app_within_its_memory_limit_is_not(appc: Appc) -> None:
    need("memory-controller")
    assert appc.run(PROBE, "--memory", "64Mi", "--", "memory", "16").out == "memory 16\n"


def test_one_apps_limit_is_not_the_others(appc: Appc) -> None:
    need("memory-controller")
    hungry = ("--", "memory", "48", "sleep", "0.2")
    done = appc.run(
        *(PROBE, "--name", "small", "--memory", "16Mi", *hungry),
        *("---", PROBE, "--name", "large", "--memory", "256Mi", *hungry),
    )
    assert done.status == 137
    apps = {app["name"]: app["signal"] for app in appc.status(appc.the_pod().uuid)["apps"]}
    assert apps["small"] == 9


def test_limits_in_the_kernels_words(appc: Appc) -> None:
    need("memory-controller", "cpu-controller")
    uuid = appc.detached(PROBE, "--memory", "100Mi", "--cpu", "250m", "--", "wait")
    app = groups(uuid, "probe")
    assert value(app, "memory.limit_in_bytes", "memory.max") == str(100 << 20)
    quota = value(app, "cpu.cfs_quota_us", "cpu.max")
    assert quota.split()[0] == "25000"
    rows = {row["name"]: row["outcome"] for row in appc.status(uuid)["isolators"]}
    assert rows == {"resource/memory": "enforced", "resource/cpu": "enforced"}


def test_the_pods_limits_bound_its_apps(appc: Appc, sandbox: Path) -> None:
    need("memory-controller")
    image = next(entry["id"] for entry in json.loads(appc("image", "list", "--format", "json").out))
    manifest = pod_manifest(
        sandbox / "pod.json",
        [{"name": "main", "image": {"id": image}, "app": one_app(["/probe", "memory", "100"])}],
        isolators=[{"name": "resource/memory", "value": {"limit": "24Mi"}}],
    )
    assert appc.run("--pod-manifest", manifest).status == 137


def test_everything_of_an_app_is_in_its_group(appc: Appc) -> None:
    need("cgroup")
    uuid = appc.detached(PROBE, "--memory", "64Mi", "--exec", "/bin/sh", "--", "-c", "sleep 600 & sleep 601; true")
    app = groups(uuid, "probe")
    assert wait_for(lambda: max(len((path / "cgroup.procs").read_text().split()) for path in app) == 3)


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_no_group_outlives_its_pod(appc: Appc, how: str) -> None:
    need("cgroup")
    if how == "ended":
        assert appc.run(PROBE, "--memory", "64Mi", "--", "echo", "x").status == 0
    else:
        uuid = appc.detached(PROBE, "--memory", "64Mi", "--", "wait")
        assert groups(uuid)
        assert appc("stop", "--force", uuid).status == 0
    assert groups(appc.the_pod().uuid) == []


def test_a_limit_no_program_fits_in(appc: Appc) -> None:
    need("memory-controller")
    done = appc.run(PROBE, "--memory", "4Ki", "--", "echo", "survived")
    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines() == [
        "appc: app probe: was killed before its program ran",
        "hint: its memory limit of 4096 bytes may be too low to start anything",
    ]


def test_what_is_beyond_the_limit_is_not_swapped_out(appc: Appc, sandbox: Path) -> None:
    need("memory-controller")
    if not os.environ.get("APPC_EMULATED"):
        pytest.skip("the swap of this host is not a test's to change")
    area = sandbox / "swap"
    area.write_bytes(bytes(128 << 20))
    area.chmod(0o600)
    subprocess.run(["mkswap", area], check=True, capture_output=True)
    subprocess.run(["swapon", area], check=True)
    try:
        done = appc.run(PROBE, "--memory", "24Mi", "--", "memory", "80", "echo", "survived")
    finally:
        subprocess.run(["swapoff", area], check=True)
    assert (done.status, done.out) == (137, "")
    (row,) = appc.status(appc.the_pod().uuid)["isolators"]
    assert row["outcome"] == "enforced"
