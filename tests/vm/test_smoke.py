"""The root tests again, in a virtual machine with pure cgroup v2, every controller and Debian's kernel."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vm import boot

ROOT = Path(__file__).resolve().parents[2]

# What a different kernel and cgroup version is likeliest to break; the whole of tests/root takes minutes there.
SMOKE = ("tests/root/host/test_root_cgroups.py", "tests/root/host/test_root_pod_bounds.py")

# Emulated, a process starts some twenty times more slowly: fewer faults are injected, fewer containers made.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "APPC_KILLS": "10", "APPC_CYCLES": "100"}

# Why a test may be skipped there; any other reason is a fault of the machine or of the test.
REASONS = (
    "there is no /dev/net/tun",
    "the processor is emulated",
    "no cgroup v1 controllers here",
    "this kernel has no such file",
    "SELinux is not enabled",
    "cannot have its owners mapped before Linux",
    "systemd is not PID 1 of a machine made for tests",
)


def run_tests(
    paths: Sequence[str],
    timeout: float,
    kernel_options: str = "",
    variables: Mapping[str, str] | None = None,
    init: str = "command",
    marks: str = "not interop",
) -> str:
    """Run pytest in the VM, with `variables` in its environment; return what it says, after failing unless everything
    passed. `init` is what boot.run takes, `marks` what pytest does: comparisons with other tools are made on the host,
    since they say nothing of the kernel."""
    select = ("-m", marks, "-rs", "--durations", "10", "-o", f"faulthandler_timeout={timeout:.0f}")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *select, *paths]
    environment = {**ENVIRONMENT, **(variables or {}), "PATH": f"{Path(sys.executable).parent}:{boot.PATH}"}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    result = boot.run(
        argv,
        timeout=timeout,
        memory=2048,
        environment=environment,
        directory=str(ROOT),
        kernel_options=kernel_options,
        init=init,
    )
    if result.status is None:
        pytest.fail(f"the VM did not end in {timeout:.0f} s:\n{result.output}\n{result.console}", pytrace=False)
    if result.status != 0:
        pytest.fail(result.output, pytrace=False)
    print(result.output)
    skipped = [line for line in result.output.splitlines() if line.startswith("SKIPPED")]
    assert [line for line in skipped if not any(reason in line for reason in REASONS)] == []
    return result.output


def test_control_groups_on_pure_v2() -> None:
    assert re.search(r"\d+ passed", run_tests(SMOKE, timeout=300))


@pytest.mark.slow
def test_everything_that_needs_root() -> None:
    """In two machines at once, for emulation keeps one processor busy: pods in the one, the rest in the other."""
    pods = "tests/root/run"
    # pytest finds the others itself: of directories that are named it would load all fixtures at once.
    with ThreadPoolExecutor() as pool:
        halves = pool.map(lambda paths: run_tests(paths, timeout=5400), ([pods], ["tests/root", f"--ignore={pods}"]))
        results = list(halves)
    assert all(re.search(r"\d+ passed", output) for output in results)
