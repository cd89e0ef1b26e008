"""The bounds of a running pod as its apps feel them, the same on every cgroup version and kernel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import image_kit
from capabilities import need

IMAGE = "example.com/bounds"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(sandbox: Path) -> Run:
    """Run a shell script as the only app of a pod with the isolators given."""
    need("native", "cgroup", "memory-controller", "overlay-tmp", "busybox")

    def appc(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "appc", "--root", str(sandbox / "root"), "--state", str(sandbox / "state")]
        return subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False)

    def script(text: str, *isolators: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        busybox = Path(shutil.which("busybox") or "").read_bytes()
        files: dict[str, image_kit.Entry] = {"bin/busybox": ("file", busybox, {"mode": 0o755}), "tmp": ("dir", 0o1777)}
        app = {"exec": ["/bin/busybox", "sh", "-c", text], "user": "0", "group": "0", "isolators": list(isolators)}
        archive = sandbox / "bounds.aci"
        archive.write_bytes(image_kit.tar(files, image_kit.manifest(IMAGE, app=app)))
        fetched = appc("fetch", "--insecure", "image", str(archive))
        assert fetched.returncode == 0, fetched.stderr
        return appc("run", "--net", "none", "--insecure", "image", "--rm", fetched.stdout.split()[0])

    return script


def memory(limit: str) -> dict[str, Any]:
    return {"name": "resource/memory", "value": {"limit": limit}}


def test_an_app_over_its_memory_limit_is_killed(run: Run) -> None:
    """ace.md, resource/memory: what fits runs, what does not is ended by SIGKILL, and the pod says so."""
    assert run("busybox dd if=/dev/zero of=/dev/null bs=16M count=1", memory("64M")).returncode == 0
    assert run("exec busybox dd if=/dev/zero of=/dev/null bs=128M count=1", memory("64M")).returncode == 137


def test_devices_can_be_made_but_not_opened(run: Run) -> None:
    """CAP_MKNOD is among the default capabilities: the control group is what guards the host's devices."""
    done = run("echo x >/dev/null && busybox mknod /tmp/mem c 1 1 && busybox head -c 1 /tmp/mem")
    assert done.returncode != 0
    assert "Operation not permitted" in done.stdout + done.stderr
