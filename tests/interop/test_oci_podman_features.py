"""What users ask of podman beyond a single container, with our runtime: sharing, pods, checks, changes, Kubernetes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import PATIENCE
from podman_kit import COMMON, Podman, a_podman

from capabilities import need

pytestmark = pytest.mark.slow

FOREVER = ("/bin/sleep", "1000")
MEMORY = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with a_podman() as made:
        yield made


@pytest.fixture(autouse=True)
def cleared(podman: Podman) -> Iterator[None]:
    yield
    podman.clear()


def namespaces(podman: Podman, name: str, *kinds: str) -> list[str]:
    """The namespaces of a container's first process."""
    pid = podman("inspect", "--format", "{{.State.Pid}}", name).strip()
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]


def test_namespaces_are_shared_with_containers_and_the_host(podman: Podman) -> None:
    kinds = ("pid", "ipc", "net", "uts")
    podman.start("first", *FOREVER)
    without_network = [*COMMON[COMMON.index("--ulimit") :]]
    shared = ("--pid", "container:first", "--ipc", "container:first", "--network", "container:first")
    shared += ("--uts", "container:first")
    podman("run", "--detach", "--name", "second", *without_network, *shared, "box", *FOREVER)
    assert namespaces(podman, "second", *kinds) == namespaces(podman, "first", *kinds)
    assert podman("exec", "second", "/bin/sh", "-c", "cat /proc/1/cmdline").startswith("/bin/sleep")
    hosts = ("--pid", "host", "--ipc", "host", "--network", "host", "--uts", "host")
    podman("run", "--detach", "--name", "third", *without_network, *hosts, "box", *FOREVER)
    assert namespaces(podman, "third", *kinds) == [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    own = namespaces(podman, "first", *kinds)
    assert not set(own) & set(namespaces(podman, "third", *kinds))


def test_capabilities_are_dropped_and_added(podman: Podman) -> None:
    look = (
        "box",
        "/bin/sh",
        "-c",
        "while read -r key value; do [ $key != CapEff: ] || echo $value; done </proc/self/status",
    )
    told = {
        ("--cap-drop", "all"): 0,
        ("--cap-drop", "all", "--cap-add", "kill,net_raw"): 1 << 5 | 1 << 13,
        ("--cap-drop", "all", "--user", "7"): 0,
    }
    for options, capabilities in told.items():
        assert int(podman("run", "--rm", *COMMON, *options, *look), 16) == capabilities
    assert int(podman("run", "--rm", *COMMON, *look), 16) & 1 << 5


def test_an_init_reaps(podman: Podman) -> None:
    need("catatonit")
    script = "(sleep 0.1 &) ; sleep 0.5; cat /proc/1/comm; for at in /proc/[0-9]*; do cat $at/stat; done"
    said = podman("run", "--rm", "--init", *COMMON, "box", "/bin/sh", "-c", script)
    assert said.startswith(("podman-init\n", "catatonit\n")), said
    assert " Z " not in said


def test_volumes_keep_what_is_written(podman: Podman) -> None:
    podman("volume", "create", "kept")
    write = ("box", "/bin/sh", "-c", "echo content >/data/file")
    podman("run", "--rm", *COMMON, "--volume", "kept:/data", *write)
    read = ("--volume", "kept:/data:ro", "--tmpfs", "/scratch:size=1m", "box", "/bin/sh", "-c")
    said = podman("run", "--rm", *COMMON, *read, "cat /data/file; echo x >/scratch/x; echo x >/data/file", fails=1)
    assert said.startswith("content\n")
    assert "Read-only file system" in said
    podman("volume", "rm", "kept")


def test_limits_are_changed_and_use_is_told(podman: Podman) -> None:
    need("memory-controller", "cpu-controller")
    podman.start("limited", *FOREVER, options=("--memory", "64m"))
    assert podman("exec", "limited", "/bin/sh", "-c", MEMORY) == f"{64 << 20}\n"
    podman("update", "--memory", "48m", "--cpus", "0.5", "limited")
    assert podman("exec", "limited", "/bin/sh", "-c", MEMORY) == f"{48 << 20}\n"
    (stats,) = json.loads(podman("stats", "--no-stream", "--format", "json", "limited"))
    assert stats["name"] == "limited"
    assert not stats["mem_usage"].startswith("0B")
    assert int(stats["pids"]) >= 1


def test_what_runs_out_of_memory_is_killed(podman: Podman) -> None:
    need("memory-controller")
    script = 'a=x; while :; do a="$a$a"; done'
    limits = ("--memory", "8m", "--memory-swap", "8m")
    podman("run", "--rm", *COMMON, *limits, "box", "/bin/sh", "-c", script, fails=137)


def test_signals_arrive_and_a_container_starts_again(podman: Podman) -> None:
    podman.start("heeds", "/bin/sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done")
    podman("kill", "--signal", "USR1", "heeds")
    deadline = time.monotonic() + PATIENCE
    while podman("logs", "heeds") != "up\nusr1\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    podman("restart", "--time", "0", "heeds")
    assert podman("inspect", "--format", "{{.State.Running}}", "heeds") == "true\n"
    assert "/bin/sh" in podman("top", "heeds", "args")


def test_health_is_checked(podman: Podman) -> None:
    health = ("--health-cmd", "test -e /etc/well", "--health-interval", "disable", "--health-retries", "1")
    podman.start("patient", *FOREVER, options=health)
    podman("healthcheck", "run", "patient", fails=1)
    status = ("inspect", "--format", "{{.State.Healthcheck.Status}}", "patient")
    assert podman(*status) == "unhealthy\n"
    podman("exec", "patient", "/bin/sh", "-c", "echo >/etc/well")
    podman("healthcheck", "run", "patient")
    assert podman(*status) == "healthy\n"


def test_containers_of_a_pod_share_it(podman: Podman) -> None:
    need("catatonit")
    podman("pod", "create", "--name", "pod", "--network", "none", "--share", "pid,ipc,net,uts", "--hostname", "podded")
    for name in ("one", "two"):
        podman("run", "--detach", "--pod", "pod", "--name", name, "box", *FOREVER)
    kinds = ("pid", "ipc", "net", "uts")
    assert namespaces(podman, "one", *kinds) == namespaces(podman, "two", *kinds)
    assert podman("exec", "two", "/bin/sh", "-c", "cat /proc/sys/kernel/hostname") == "podded\n"
    podman("pod", "pause", "pod")
    assert podman("pod", "inspect", "--format", "{{.State}}", "pod") == "Paused\n"
    podman("pod", "unpause", "pod")
    podman("pod", "stop", "--time", "0", "pod")
    assert podman("pod", "inspect", "--format", "{{.State}}", "pod") == "Exited\n"


def test_files_are_copied_in_and_out(podman: Podman, tmp_path: Path) -> None:
    podman.start("source", *FOREVER)
    (tmp_path / "in").write_text("copied\n")
    podman("cp", str(tmp_path / "in"), "source:/etc/in")
    assert podman("exec", "source", "/bin/cat", "/etc/in") == "copied\n"
    podman("cp", "source:/etc/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "copied\n"
