"""Each isolator bites: what an app can no longer do, and what the kernel counted of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apparmor_kit import profile
from pod_kit import PROBE, Appc, one_app, pod_manifest, wait_for

from appc.abi import CAPABILITY_BITS
from appc.host import cgroupfs, libc, probe
from capabilities import need


def isolator(name: str, value: Any) -> dict[str, Any]:
    """An isolator as a manifest writes it."""
    return {"name": name, "value": value}


def pod(appc: Appc, path: Path, apps: dict[str, tuple[list[str], list[Any]]], isolators: Iterable[Any] = ()) -> str:
    """Write the manifest of a pod whose apps are `apps`: name → (command, isolators)."""
    listed = json.loads(appc("image", "list", "--format", "json").out)
    image = next(entry["id"] for entry in listed if entry["name"] == PROBE)
    entries = [
        {"name": name, "image": {"id": image}, "app": one_app(command, isolators=own)}
        for name, (command, own) in apps.items()
    ]
    return pod_manifest(path, entries, isolators=list(isolators))


def control(uuid: str, app: str, *files: str) -> str:
    """The content of the first control file of `files` that a group of the pod (app "") or of an app has."""
    for directory in cgroupfs.pod_directories(uuid, probe.facts()):
        for file in files:
            path = Path(directory, file)
            if path.parent.name == (app or uuid) and path.exists():
                return path.read_text()
    raise AssertionError(f"no group has one of {files}")


def outcomes(appc: Appc, uuid: str) -> dict[tuple[str, str], str]:
    """What the status says of each isolator, by scope and name."""
    return {(row["scope"], row["name"]): row["outcome"] for row in appc.status(uuid)["isolators"]}


def test_a_fork_bomb_is_stopped(appc: Appc) -> None:
    need("pids-controller")
    uuid = appc.detached(PROBE, "--pids", "8", "--exec", "/bin/sh", "--", "-c", "/probe forks 50; /probe wait")
    out = wait_for(lambda: appc("logs", uuid).out.partition("forks ")[2])
    assert int(out.split()[0]) < 8
    assert "errno 11" in appc("logs", uuid).out
    assert control(uuid, "probe", "pids.max") == "8\n"
    # How often a fork was refused.
    assert control(uuid, "probe", "pids.events").split("\n")[0] == "max 1"
    assert outcomes(appc, uuid) == {("probe", "resource/pids"): "enforced"}


def test_a_pods_limit_of_processes_is_that_of_its_apps_together(appc: Appc, sandbox: Path) -> None:
    need("pids-controller")
    apps: dict[str, Any] = {
        "one": (["/bin/sh", "-c", "sleep 60 & sleep 60 & sleep 60 & exec /probe wait"], []),
        "two": (["/probe", "wait"], []),
    }
    uuid = appc.detached(
        "--pod-manifest", pod(appc, sandbox / "pod.json", apps, [isolator("resource/pids", {"limit": 8})])
    )
    # PID 1 is counted in the group, but not in what was asked.
    assert control(uuid, "", "pids.max") == "9\n"
    wait_for(lambda: control(uuid, "", "pids.current") == "6\n")
    done = appc("enter", uuid, "--app", "two", "/probe", "forks", "6")
    assert "forks 2\n" in done.out
    assert "errno 11" in done.out + done.err


def test_the_pods_oom_score_is_the_least_an_app_has(appc: Appc, sandbox: Path) -> None:
    name = "os/linux/oom-score-adj"
    apps = {
        "none": (["/probe", "read", "/proc/self/oom_score_adj"], []),
        "less": (["/probe", "read", "/proc/self/oom_score_adj"], [isolator(name, 100)]),
        "more": (["/probe", "read", "/proc/self/oom_score_adj"], [isolator(name, 500)]),
    }
    done = appc.run("--pod-manifest", pod(appc, sandbox / "pod.json", apps, [isolator(name, 300)]))
    assert sorted(line.split()[-1] for line in done.out.splitlines()) == ["300", "300", "500"]
    rows = {key: state for key, state in outcomes(appc, appc.the_pod().uuid).items() if key[1] == name}
    assert rows == {("pod", name): "enforced", ("less", name): "modified", ("more", name): "enforced"}


def test_shares_of_the_processors(appc: Appc) -> None:
    need("cpu-controller")
    uuid = appc.detached(PROBE, "--isolator", "os/linux/cpu-shares,512", "--", "wait")
    # Of 1…10000, where 100 stands for 1024 shares.
    assert control(uuid, "probe", "cpu.shares", "cpu.weight") in ("512\n", "59\n")
    assert outcomes(appc, uuid)["probe", "os/linux/cpu-shares"] == "enforced"


def test_a_throttled_app_is_counted(appc: Appc) -> None:
    need("cpu-controller")
    uuid = appc.detached(PROBE, "--cpu", "100m", "--exec", "/bin/sh", "--", "-c", "/probe spin 0.1; /probe wait")

    def throttled() -> int:
        lines = control(uuid, "probe", "cpu.stat").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))

    wait_for(throttled)
    assert appc.status(uuid)["apps"][0]["state"] == "running"


def test_limits_of_disks_in_the_kernels_words(appc: Appc) -> None:
    need("disks")
    uuid = appc.detached(
        *(PROBE, "--isolator", "resource/block-bandwidth,limit=1M", "--isolator", "resource/block-iops,limit=50"),
        *("--", "wait"),
    )
    written = control(uuid, "probe", "io.max", "blkio.throttle.write_bps_device")
    assert "1000000" in written
    v1 = "blkio" in probe.facts().controllers
    for name in ("resource/block-bandwidth", "resource/block-iops"):
        assert outcomes(appc, uuid)["probe", name] == ("modified" if v1 else "enforced")
    if v1:
        assert "50\n" in control(uuid, "probe", "blkio.throttle.read_iops_device")
        assert "not what is written through the page cache" in appc("status", uuid).out
    else:
        assert "riops=50 wiops=50" in written


def test_a_sysctl_of_the_host_is_left_alone_and_told(appc: Appc, sandbox: Path) -> None:
    before = Path("/proc/sys/vm/swappiness").read_text()
    values = {"net.core.somaxconn": "99", "vm.swappiness": "1"}
    apps: dict[str, Any] = {"main": (["/probe", "read", "/proc/sys/net/core/somaxconn"], [])}
    manifest = pod(appc, sandbox / "pod.json", apps, [isolator("os/unix/sysctl", values)])
    done = appc.run("--pod-manifest", manifest)
    assert done.out == "99\n"
    assert "vm.swappiness" in done.err
    assert outcomes(appc, appc.the_pod().uuid) == {("pod", "os/unix/sysctl"): "modified"}
    assert Path("/proc/sys/vm/swappiness").read_text() == before
    strict = appc.run("--strict", "--pod-manifest", manifest)
    assert (strict.status, strict.out) == (1, "")
    assert "os/unix/sysctl modified: not of the pod's own namespaces: vm.swappiness" in strict.err


@pytest.mark.parametrize("key", ["net.core.no_such_key", "net.ipv4.ip_forward"])
def test_a_sysctl_the_kernel_does_not_take_is_named(appc: Appc, sandbox: Path, key: str) -> None:
    apps: dict[str, Any] = {"main": (["/probe", "echo", "ran"], [])}
    manifest = pod(appc, sandbox / "pod.json", apps, [isolator("os/unix/sysctl", {key: "not a number"})])
    done = appc.run("--pod-manifest", manifest)
    assert (done.status, done.out) == (125, "")
    assert key in done.err


def test_plan_status_and_manifest_tell_the_same(appc: Appc, sandbox: Path) -> None:
    need("memory-controller")
    apps: dict[str, Any] = {
        "web": (["/probe", "wait"], [isolator("resource/memory", {"limit": "64Mi"}), isolator("example.com/x", 1)]),
        "db": (["/probe", "wait"], [isolator("resource/network-bandwidth", {"default": True, "limit": "1M"})]),
    }
    own = [isolator("resource/pids", {"limit": 50}), isolator("os/linux/no-new-privileges", True)]
    manifest = pod(appc, sandbox / "pod.json", apps, own)
    planned = appc("plan", "--pod-manifest", manifest)
    begin = "# isolator-"
    foreseen = [line[len(begin) :] for line in planned.out.splitlines() if line.startswith(begin)]
    assert "web-example.com/x: ignored (appc does not know this isolator)" in foreseen
    assert "pod-os/linux/no-new-privileges: ignored (applies to apps only)" in foreseen
    uuid = appc.detached("--pod-manifest", manifest)
    lines = appc("status", uuid).out.splitlines()
    assert [line[9:].replace("=", ": ", 1) for line in lines if line.startswith("isolator-")] == foreseen
    document = json.loads(appc("manifest", uuid).out)
    told = {}
    for scope, holder in (("pod", document), *((entry["name"], entry) for entry in document["apps"])):
        (annotation,) = holder["annotations"]
        assert annotation["name"] == "appc.io/executor/isolators"
        told[scope] = annotation["value"].splitlines()
    assert told["web"] == ["resource/memory=enforced", "example.com/x=ignored (appc does not know this isolator)"]
    assert [f"{scope}-{line.replace('=', ': ', 1)}" for scope, some in told.items() for line in some] == foreseen
    assert appc("update", uuid, "--app", "web", "--memory", "63Mi", "--pids", "20").status == 0
    (annotation,) = json.loads(appc("manifest", uuid).out)["apps"][0]["annotations"]
    assert sorted(annotation["value"].splitlines())[1:] == ["resource/memory=enforced", "resource/pids=enforced"]


def test_the_pods_isolators_are_options_before_the_first_image(appc: Appc) -> None:
    words = ("--isolator", "os/unix/sysctl,net.core.somaxconn=99", "--isolator", "os/linux/oom-score-adj,300")
    read = ("read", "/proc/sys/net/core/somaxconn", "read", "/proc/self/oom_score_adj")
    done = appc.run("--strict", *words, PROBE, "--name", "one", "--", *read, "---", PROBE, "--name", "two", "--", *read)
    assert sorted(line.split()[-1] for line in done.out.splitlines()) == ["300", "300", "99", "99"], done
    uuid = appc.the_pod().uuid
    assert set(outcomes(appc, uuid)) == {("pod", "os/unix/sysctl"), ("pod", "os/linux/oom-score-adj")}
    first, _ = json.loads(appc("manifest", uuid).out)["isolators"]
    assert first == isolator("os/unix/sysctl", {"net.core.somaxconn": "99"})


def test_strict_refuses_in_plans_too(appc: Appc) -> None:
    if probe.facts().selinux:
        pytest.skip("needs a host without SELinux")
    context = "user=system_u,role=system_r,type=dhcpc_t,level=s0"
    words = ("--strict", PROBE, "--isolator", f"os/linux/selinux-context,{context}", "--", "echo", "ran")
    said = "app probe: os/linux/selinux-context ignored: SELinux is not enabled on this host"
    for verb in ("plan", "run"):
        done = appc(verb, *words)
        assert (done.status, done.out) == (1, ""), done
        assert said in done.err
    assert appc.pods() == []


@pytest.fixture
def profiles() -> Iterator[Path]:
    """Where the kernel lists the AppArmor profiles that are loaded."""
    if not probe.facts().apparmor:
        pytest.skip("AppArmor is not enabled")
    place = Path("/sys/kernel/security")
    ours = not list(place.iterdir())
    if ours:
        libc.mount("securityfs", str(place), "securityfs", 0)
    yield place / "apparmor/profiles"
    if ours:
        libc.umount2(str(place), libc.MNT_DETACH)


def test_an_apparmor_profile_that_is_not_loaded_is_refused(appc: Appc, profiles: Path) -> None:
    words = (PROBE, "--isolator", "os/linux/apparmor-profile,profile=absent", "--", "echo", "ran")
    for verb in ("plan", "run"):
        done = appc(verb, *words)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("appc: app probe: no AppArmor profile called absent is loaded\n")
    assert appc.pods() == []


@pytest.mark.parametrize("scope", ["app", "pod"])
def test_an_apparmor_profile_takes_away_what_capabilities_would_let(appc: Appc, profiles: Path, scope: str) -> None:
    name = "appc-test"
    mknod = 1 << CAPABILITY_BITS["CAP_MKNOD"]
    script = "cat /proc/self/attr/current; mknod /made c 1 3 && echo made; true"
    shell = ("--exec", "/bin/sh", "--", "-c", script)
    words = ("--isolator", f"os/linux/apparmor-profile,profile={name}")
    (profiles.parent / ".replace").write_bytes(profile(name, ((1 << len(CAPABILITY_BITS)) - 1) & ~mknod))
    try:
        free = appc.run(PROBE, *shell)
        bound = appc.run(*words, PROBE, *shell) if scope == "pod" else appc.run(PROBE, *words, *shell)
        told = outcomes(appc, next(one.uuid for one in appc.pods() if appc.status(one.uuid)["isolators"]))
    finally:
        (profiles.parent / ".remove").write_text(name)
    assert free.out == "unconfined\nmade\n"
    assert bound.out == f"{name} (enforce)\n", bound
    assert "mknod: /made: Operation not permitted" in bound.err
    assert told == {("probe" if scope == "app" else "pod", "os/linux/apparmor-profile"): "enforced"}
