"""The programs under test, built twice: as shipped, and with sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from planlib import InitResult, private_root, probe_tree, run_init, run_probe

from appc.plan.ops import Op
from capabilities import need

NATIVE = Path(__file__).parents[2] / "native"


def _build(directory: Path, *targets: str) -> Path:
    done = subprocess.run(
        ["make", "-j2", "-C", str(NATIVE), f"OUT={directory}", *targets], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"native/ does not build:\n{done.stdout}\n{done.stderr}", pytrace=False)
    return directory


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs as they are shipped."""
    return _build(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session", params=["release", "asan"])
def binaries(request: pytest.FixtureRequest, release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs: as they are shipped, then with sanitizers."""
    if request.param == "release":
        return release
    if shutil.which("gcc") is None:
        need("gcc")
    return _build(tmp_path_factory.mktemp("asan"), "asan")


@pytest.fixture
def tree(sandbox: Path, release: Path) -> Path:
    """A small root directory that holds the probe at /probe."""
    return probe_tree(sandbox / "root", release / "appc-probe")


@pytest.fixture
def pod(sandbox: Path) -> Iterator[Path]:
    """An empty pod directory."""
    directory = sandbox / "pod"
    directory.mkdir()
    return directory


@pytest.fixture
def inside(binaries: Path, tree: Path) -> Callable[..., InitResult]:
    """Perform ops with `tree` as the root, in a mount namespace of their own; then let the probe act there."""

    def perform(*ops: Op, probe: tuple[str, ...] = ("exit", "0"), **options: object) -> InitResult:
        track = [*private_root(tree), *ops, Op("pivot"), run_probe(*probe)]
        return run_init(binaries / "appc-init", track, **options)  # type: ignore[arg-type]

    return perform


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group to move processes to."""
    need("cgroup")
    hierarchies = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    base = next(path for path in hierarchies if (path / "cgroup.procs").exists())
    directory = base / f"appc-native-test-{os.getpid()}"
    directory.mkdir()
    yield directory
    if directory.exists():
        directory.rmdir()
