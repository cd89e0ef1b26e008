"""Pods go to podman and come back: `appc pod kube`, `podman play kube`, `podman generate kube`, `appc run --kube`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import PATIENCE
from podman_kit import Podman, a_podman

from capabilities import need

pytestmark = pytest.mark.slow

# What a container sees of what its Pod says.
LOOK = """id -u; id -g; echo $A; pwd
while read -r key value; do case $key in CapBnd:|NoNewPrivs:) echo $key $value;; esac; done </proc/self/status
cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null
echo x >/x || echo root is read-only
echo x >/host/x || echo volume is read-only
exit 3"""
SEEN = ["7", "8", "b", "/etc", "CapBnd: 0000000000000020", "NoNewPrivs: 1"]


class Appc:
    """appc with a store of its own that has podman's image `box`."""

    def __init__(self, base: Path, podman: Podman) -> None:
        self._places = [option for name in ("root", "state") for option in (f"--{name}", str(base / name))]
        archive = f"oci-archive:{base}/box.tar"
        podman("save", "--quiet", "--format", "oci-archive", "--output", f"{base}/box.tar", "box")
        self("fetch", "--insecure", "image", archive)

    def __call__(self, *words: str, fails: int = 0) -> str:
        """Run a verb; return its output, without what it says on stderr."""
        command = [sys.executable, "-m", "appc", *self._places, *words]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
        assert done.returncode == fails, done
        return done.stdout.decode()


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    need("catatonit", "memory-controller")
    with a_podman() as made:
        yield made


@pytest.fixture
def appc(podman: Podman, tmp_path: Path) -> Iterator[Appc]:
    yield Appc(tmp_path, podman)
    podman.clear()


def check(said: str) -> None:
    """What LOOK tells is what was asked."""
    lines = [line for line in said.splitlines() if "sh: can't" not in line]
    assert lines[: len(SEEN)] == SEEN, said
    assert lines[len(SEEN) :] == [str(64 << 20), "root is read-only", "volume is read-only"], said


def test_a_pod_goes_to_podman_and_comes_back(podman: Podman, appc: Appc, tmp_path: Path) -> None:
    pod = ("--net", "host", "--volume", "host,kind=host,source=/usr,readOnly=true")
    limits = ("--memory", "64Mi", "--caps-retain", "CAP_KILL", "--no-new-privileges", "--readonly-rootfs")
    app = ("--exec", "/bin/sh", "--user", "7", "--group", "8", "--env", "A=b", "--working-dir", "/etc", *limits)
    words = (*pod, "--insecure", "image", "localhost/box:latest", "--mount", "volume=host,target=/host", *app)
    check(appc("run", *words, "--", "-c", LOOK, fails=3))
    (tmp_path / "there.yaml").write_text(appc("pod", "kube", appc("list", "--no-legend", "--full").split()[0]))
    podman("play", "kube", f"{tmp_path}/there.yaml")
    assert podman("wait", "box-box") == "3\n"
    check(podman("logs", "box-box"))
    podman("generate", "kube", "--filename", f"{tmp_path}/back.yaml", podman("pod", "ps", "--quiet").strip())
    check(appc("run", "--kube", f"{tmp_path}/back.yaml", "--insecure", "image", fails=3))


def test_a_pod_of_podmans_runs_here(podman: Podman, appc: Appc, tmp_path: Path) -> None:
    podman("pod", "create", "--name", "pod", "--network", "host")
    options = ("--pod", "pod", "--memory", "64m", "--user", "7:8", "--env", "A=b", "--workdir", "/etc")
    limits = ("--cap-drop", "all", "--cap-add", "kill", "--security-opt", "no-new-privileges")
    root = ("--read-only", "--read-only-tmpfs=false", "--volume", "/usr:/host:ro")
    podman("create", *options, *limits, *root, "box", "sh", "-c", LOOK)
    podman("generate", "kube", "--filename", f"{tmp_path}/made.yaml", "pod")
    check(appc("run", "--kube", f"{tmp_path}/made.yaml", "--insecure", "image", fails=3))
