"""What a launch really imports, lazy imports inside functions included, up to the moment the keeper takes over."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import image_kit
from capabilities import missing, need
from starter import BANNED, CODE, run

NAME = "example.com/true"
# Of ours; see tests/unit/test_launch_imports.py. On pure cgroup v2 also two for the program that says which
# devices an app may use.
MOST = 89 if missing("cgroup-v2") else 91


@pytest.fixture
def appc(sandbox: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line on a store of its own that holds one image, which nobody signed."""
    need("native", "overlay", "busybox", "cgroup")
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    app = {"exec": ["/bin/true"], "user": "0", "group": "0"}
    path = sandbox / "true.aci"
    image_kit.aci(path, {"bin/true": ("file", busybox, {"mode": 0o755})}, NAME, app=app)
    (sandbox / "config").mkdir()
    places = [f"--{name}={sandbox / name}" for name in ("root", "state", "config")]
    fetched = run(*places, "fetch", "--insecure", "image", str(path))
    assert fetched.returncode == 0, fetched.stderr

    def traced(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "importtime", "-I", "-S", "-c", CODE, *places, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return traced


def imported(result: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that `-X importtime` reported; its lines survive the exec of the keeper."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines}


def test_running_a_cached_image_imports_nothing_dear(appc: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The second run counts: the first makes the system call filter. What has an environment is always compiled."""
    words = ("run", "--insecure", "image", NAME, "--memory", "64Mi", "--cpu", "500m", "--env", "A=b")
    assert appc(*words).returncode == 0
    result = appc(*words)
    assert result.returncode == 0, result.stderr
    modules = imported(result)
    assert "appc.cli.run" in modules
    assert not modules & BANNED
    assert not {
        name for name in modules if name.split(".")[0] in ("deflate", "h11", "isal", "jeepney", "pysequoia", "rich")
    }
    assert "_socket" not in modules
    ours = sorted(name for name in modules if name.split(".")[0] == "appc")
    assert len(ours) <= MOST, ours


def test_running_it_once_more_imports_half_of_that(appc: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    words = ("run", "--insecure", "image", NAME, "--memory", "64Mi", "--cpu", "500m")
    assert appc(*words).returncode == 0
    result = appc(*words)
    assert result.returncode == 0, result.stderr
    modules = imported(result)
    assert "appc.executor.replay" in modules
    assert not {name for name in modules if name.startswith(("appc.cli.run", "appc.formats.", "appc.plan."))}
    assert not modules & BANNED
