"""The root tests again, in a virtual machine with pure cgroup v2, every controller and Debian's kernel."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from vm import boot

ROOT = Path(__file__).resolve().parents[2]

# What a different kernel and cgroup version is likeliest to break; the whole of tests/root takes minutes there.
SMOKE = ("tests/root/host/test_root_cgroups.py", "tests/root/host/test_root_pod_bounds.py")


def run_tests(*paths: str, timeout: float) -> str:
    """Run pytest in the VM; return its last line, after failing unless everything passed."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *paths]
    # Processes start some twenty times more slowly there, so faults are injected at fewer points.
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "APPC_KILLS": "8"}
    result = boot.run(argv, timeout=timeout, memory=2048, environment=environment, directory=str(ROOT))
    if result.status is None:
        pytest.fail(f"the VM did not end in {timeout:.0f} s:\n{result.output}\n{result.console}", pytrace=False)
    if result.status != 0:
        pytest.fail(result.output, pytrace=False)
    return result.output.rstrip().rsplit("\n", 1)[-1]


def test_control_groups_on_pure_v2() -> None:
    assert re.search(r"\d+ passed", run_tests(*SMOKE, timeout=300))


@pytest.mark.slow
def test_everything_that_needs_root() -> None:
    assert re.search(r"\d+ passed", run_tests("tests/root", timeout=3600))
