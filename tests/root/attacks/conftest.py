"""A command line over one store for all attacks, an image of theirs, and the program that attacks from inside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities import need

sys.path.insert(0, str(Path(__file__).parent.parent / "run"))

from pod_kit import PROBE, Appc, base_files, file, one_app


@pytest.fixture(scope="session")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The attacking program, which needs nothing of the image it runs in."""
    need("cc")
    program = tmp_path_factory.mktemp("attacker") / "attacker"
    source = Path(__file__).with_name("attacker.c")
    subprocess.run(["cc", "-static", "-O1", "-o", program, source], check=True, capture_output=True)
    return program.read_bytes()


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory, attacker: bytes) -> Appc:
    """The command line over a root that holds the image PROBE, with /attack in it."""
    need("root", "native", "overlay-tmp", "cgroup", "busybox")
    base = tmp_path_factory.mktemp("attacks")
    made = Appc(base)
    made.add(base / "probe.aci", {**base_files(), "attack": file(attacker, 0o755)}, PROBE, app=one_app())
    return made


@pytest.fixture
def appc(stocked: Appc, sandbox: Path) -> Iterator[Appc]:
    """The same, with no pods before the test and none after it."""
    yield stocked
    stocked.clear()
    assert stocked.pods() == []
