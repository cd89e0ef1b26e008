"""Programs for devices: what the kernel lets a control group use once one is attached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from planlib import Keeper, private_root, run_probe

from appc.host.device_program import program
from appc.plan.ops import Op, Plan, Track
from capabilities import need

INHERIT = ("inherit", "inherit", "inherit")
NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
# Says which of two devices it can open once it is in a group.
TRY = """
import sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
for device in ("null", "zero"):
    try:
        open("/dev/" + device, "rb", buffering=0)
    except PermissionError:
        print(device)
"""


@pytest.fixture
def unified() -> Iterator[Path]:
    """A group of cgroup2."""
    need("unified")
    base = next(path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if path.is_mount())
    group = base / f"appc-device-test-{os.getpid()}"
    group.mkdir()
    yield group
    group.rmdir()


def plan(tree: Path, group: Path, code: bytes) -> Plan:
    keeper = [
        Op("device-filter", str(group), code),
        Op("process", "container", 0, 0, *INHERIT, "", ""),
        *(Op("proceed", ""), Op("ready"), Op("wait")),
    ]
    inside = [*private_root(tree), Op("pivot"), Op("death-signal", 9), run_probe("exit", "0")]
    return Plan([Track("keeper", keeper), Track("container", inside)])


def test_a_group_may_use_what_its_program_allows(binaries: Path, pod: Path, tree: Path, unified: Path) -> None:
    keeper = Keeper(binaries, plan(tree, unified, program([NULL])), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    tried = subprocess.run([sys.executable, "-c", TRY, unified], capture_output=True, text=True, check=True)
    assert tried.stdout == "zero\n"


@pytest.mark.parametrize(("code", "errno"), [(b"\xff" * 8, 22), (b"", 7)])
def test_what_is_no_program_is_refused(
    binaries: Path, pod: Path, tree: Path, unified: Path, code: bytes, errno: int
) -> None:
    keeper = Keeper(binaries, plan(tree, unified, code), pod)
    assert keeper.report() == [f"fail keeper 0 {errno}"]
    keeper.wait()


def test_a_group_that_is_gone_is_named(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, plan(tree, Path("/sys/fs/cgroup/missing"), program([NULL])), pod)
    assert keeper.report() == ["fail keeper 0 2"]
    keeper.wait()
