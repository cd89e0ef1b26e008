"""The validation programs of opencontainers/runtime-tools, run against `appc-oci`.

APPC_RUNTIME_TOOLS names a checkout of theirs in which its own Makefile's `runtimetest` and `validation-executables`
were made. What fails for a reason of the machine's or of a test's own is named here, and in docs/oci-runtime.md;
anything else that fails is a fault of ours.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from engine_kit import write_runtime

from capabilities import need

pytestmark = pytest.mark.slow

PATIENCE = 120  # seconds that no program takes
# Program → why it fails, here or everywhere.
EXPLAINED = {
    "delete": "engines delete what was created and never started, and so it is here",
    "delete_resources": "it compares addresses of numbers",
    "hooks": "its hook and its process write one file, in whatever order",
    "hooks_stdin": 'it wants "created" while the container is being created',
    "killsig": "it signals a shell that has no trap yet",
    "linux_cgroups_blkio": "it needs the CFQ scheduler",
    "linux_cgroups_devices": "it finds rules by their position",
    "linux_cgroups_hugetlb": "it needs huge pages of every size under cgroup v1",
    "linux_cgroups_memory": "it needs kernel memory limits, which kernels no longer have",
    "linux_cgroups_network": "it needs net_cls and net_prio",
    "linux_cgroups_pids": "it compares addresses of numbers",
    "linux_cgroups_relative_blkio": "it needs the CFQ scheduler",
    "linux_cgroups_relative_devices": "it finds rules by their position",
    "linux_cgroups_relative_hugetlb": "it needs huge pages of every size under cgroup v1",
    "linux_cgroups_relative_memory": "it needs kernel memory limits, which kernels no longer have",
    "linux_cgroups_relative_network": "it needs net_cls and net_prio",
    "linux_cgroups_relative_pids": "it compares addresses of numbers",
    "linux_mount_label": "it needs SELinux; a label that cannot be had is refused",
    "linux_process_apparmor_profile": "it needs AppArmor; a profile that cannot be had is refused",
    "misc_props": "its first bundle lacks the program it runs",
    "pidfile": "it kills a process that has ended",
    "poststart": "its hook and its process write one file, in whatever order",
    "poststart_fail": "it wants the rule before runtime-spec 1.3, a warning",
    "prestart": "it wants the rule before runtime-spec 1.0.2, a hook at the start",
    "process_capabilities": "it needs every capability there is",
    "process_capabilities_fail": "it wants the rule before runtime-spec 1.1, an error for unknown capabilities",
    "process_rlimits": "its program is of a Go that raises its own limit of descriptors",
    "start": "it takes the error of starting what has no process for a failure",
}


def sources() -> Path | None:
    given = os.environ.get("APPC_RUNTIME_TOOLS")
    return Path(given).resolve() if given else None


def programs() -> list[str]:
    """The names of the programs that were built."""
    found = sources()
    return sorted(path.stem for path in found.glob("validation/*/*.t")) if found else []


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("root", "native", "cgroup")
    return write_runtime(tmp_path_factory.mktemp("runtime") / "appc-oci")


def test_the_programs_are_there() -> None:
    if sources() is None:
        pytest.skip("APPC_RUNTIME_TOOLS does not name a checkout of opencontainers/runtime-tools")
    assert len(programs()) > 50
    assert set(programs()) >= set(EXPLAINED)


@pytest.mark.parametrize("name", programs())
def test_a_program_finds_nothing_wrong(runtime: Path, name: str) -> None:
    directory = sources()
    assert directory is not None
    done = subprocess.run(
        [directory / "validation" / name / f"{name}.t"],
        cwd=directory,
        env={**os.environ, "RUNTIME": str(runtime)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    checks = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "not ok "))]
    # Some say only what is wrong.
    wrong = [line for line in checks if line.startswith("not ok")] or (not checks and "error" in done.stdout)
    if done.returncode == 0 and not wrong:
        return
    if name in EXPLAINED:
        pytest.xfail(EXPLAINED[name])
    pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)


def test_nothing_is_left() -> None:
    """The programs name their containers by random UUIDs, in the usual place."""
    if sources() is None:
        pytest.skip("APPC_RUNTIME_TOOLS does not name a checkout of opencontainers/runtime-tools")
    root = Path("/run/appc/oci")
    running = [path for path in root.iterdir() if (path / "start").exists()] if root.exists() else []
    # One gives up waiting for the end of a container that it could not start.
    assert len(running) <= 1
