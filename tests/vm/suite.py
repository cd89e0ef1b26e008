"""The root tests in the virtual machine: which of them run there, and what is said of those that fail or hang."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vm import boot

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/root"

# What a different kernel and cgroup version is likeliest to break: a minute of it in every run of the tests.
SMOKE = (f"{TESTS}/host/test_root_cgroups.py", f"{TESTS}/host/test_root_pod_bounds.py")

# What another kernel and another version of control groups have no say in is left to the host, by the reason. All else
# below TESTS, and what is written from now on, runs in the machine too.
HOST_ONLY = {
    "images and pods as files: made, read, signed, converted, fetched, stored": (
        "attacks/test_attacks_trust.py",
        "build",
        "convert",
        "fetching",
        "formats",
        "run/test_run_cp.py",
        "run/test_run_images.py",
        "run/test_run_places.py",
        "run/test_run_prepared.py",
        "run/test_run_rootless_build.py",
        "store",
    ),
    "words, documents and what is said of mistakes": (
        "cli",
        "oci/test_oci_modules.py",
        "run/test_run_api.py",
        "run/test_run_bad_input.py",
        "run/test_run_kube.py",
        "run/test_run_registered.py",
        "run/test_run_replay.py",
        "run/test_run_restart.py",
        "run/test_run_unit.py",
    ),
    "what processes say to each other by sockets, pipes, terminals and logs": (
        "attacks/test_attacks_metadata.py",
        "metadata",
        "run/test_run_attach.py",
        "run/test_run_events.py",
        "run/test_run_handlers.py",
        "run/test_run_health.py",
        "run/test_run_ready.py",
        "run/test_run_sockets.py",
        "run/test_run_streams.py",
    ),
}

# Emulated, a process starts some twenty times more slowly: fewer faults are injected, fewer containers made.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "APPC_KILLS": "6", "APPC_CYCLES": "40"}

# Seconds that no test takes there, however busy the host is: one that does is shown where it hangs, and ends the run.
PATIENCE = 1500

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


def halves() -> tuple[list[str], list[str]]:
    """What pytest is to be given for each of two machines that end about the same time: pods, and the rest.

    pytest finds the files itself: of directories that are named it would load all fixtures at once.
    """
    elsewhere = (*SMOKE, *(f"{TESTS}/{path}" for paths in HOST_ONLY.values() for path in paths))
    pods = {"run"}
    rest = {path.name for path in (ROOT / TESTS).iterdir() if path.is_dir()} - pods

    def without(directories: set[str]) -> list[str]:
        ignored = (*elsewhere, *(f"{TESTS}/{name}" for name in sorted(directories)))
        return [TESTS, *(f"--ignore={path}" for path in ignored)]

    return without(rest), without(pods)


def attempt(
    paths: Sequence[str],
    timeout: float,
    kernel_options: str = "",
    variables: Mapping[str, str] | None = None,
    init: str = "command",
    marks: str = "not interop",
    processors: int = 2,
) -> tuple[str, str]:
    """Run pytest in the VM, with `variables` in its environment, for `timeout` seconds at most; return what it printed,
    and what there is to complain of, "" when everything passed. `init` is what boot.run takes, `marks` what pytest
    does: comparisons with other tools are made on the host, since they say nothing of the kernel."""
    hanging = ("-o", f"faulthandler_timeout={PATIENCE}", "-o", "faulthandler_exit_on_timeout=true")
    told = ("-v", "--tb=short", "-rfEs", "--durations", "20", "--no-header")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, *told, *hanging, *paths]
    environment = {**ENVIRONMENT, **(variables or {}), "PATH": f"{Path(sys.executable).parent}:{boot.PATH}"}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    result = boot.run(
        argv,
        timeout=timeout,
        memory=2048,
        processors=processors,
        environment=environment,
        directory=str(ROOT),
        kernel_options=kernel_options,
        init=init,
    )
    if result.status is None:
        console = "\n".join(result.console.splitlines()[-20:])
        return result.output, f"no end in the VM after {result.seconds:.0f} s:\n{_why(result.output)}\n{console}"
    if result.status != 0:
        return result.output, _why(result.output)
    skipped = [line for line in result.output.splitlines() if line.startswith("SKIPPED")]
    unexpected = [line for line in skipped if not any(reason in line for reason in REASONS)]
    return result.output, "\n".join(("these ran nowhere:", *unexpected) if unexpected else ())


def run_tests(paths: Sequence[str], timeout: float, **how: Any) -> str:
    """Do the same, and fail unless everything passed; return what was printed."""
    output, complaint = attempt(paths, timeout, **how)
    print(output)
    if complaint:
        pytest.fail(complaint, pytrace=False)
    return output


def _why(output: str) -> str:
    """What of pytest's output is worth reading: all from the failures or the hanging test on, else the last lines."""
    lines = output.splitlines()
    heads = (n for n, line in enumerate(lines) if re.fullmatch("=+ (ERRORS|FAILURES) =+", line) or "Timeout (" in line)
    return "\n".join(lines[next(heads, max(0, len(lines) - 40)) :])
