"""This executor meets every demand that `appc conformance` knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from capabilities import need


def test_every_demand_is_met(sandbox: Path) -> None:
    need("root", "native", "overlay-tmp", "cgroup")
    command = [sys.executable, "-m", "appc", "conformance", "--format", "tap", "--keep", str(sandbox / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=sandbox)
    assert [line for line in done.stdout.splitlines() if line.startswith("not ok")] == [], done.stderr
    assert done.returncode == 0, done.stderr
