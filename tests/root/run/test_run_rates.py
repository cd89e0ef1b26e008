"""Rates as an app gets them: processor time and direct input and output, beside what was asked.

Networks are in tests/root/network/test_network_bandwidth.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, wait_for

from appc.executor.usage import Usage, measure
from appc.host.disks import whole_disks
from capabilities import need

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_processor_time(appc: Appc) -> None:
    need("cpu-controller", "own-speed")
    cores = 0.2
    uuid = appc.detached(PROBE, "--cpu", f"{cores * 1000:.0f}m", "--", "spin", "60")

    def used() -> Usage:
        return measure(str(appc.root), [uuid])[0]

    wait_for(lambda: used().cpu > 0)
    before = used()
    time.sleep(5)
    rate = used().cpu_since(before) / cores
    assert rate < 1.1
    # Where others wait for processors, too, nobody gets all that it may have.
    assert rate > 0.9 or os.getloadavg()[0] > (os.cpu_count() or 1)


def disk(path: Path) -> str:
    """Create a directory on a whole disk and return it; tests that need one are skipped where there is none."""
    need("disks", "own-speed")
    device = os.stat(path).st_dev
    if (os.major(device), os.minor(device)) not in whole_disks():
        pytest.skip("the temporary directory is not on a whole disk")
    (path / "disk").mkdir()
    return str(path / "disk")


def seconds(appc: Appc, volume: str, limit: str, *words: str) -> float:
    """Run dd in an app with a limit and return how long it took."""
    mounted = ("--volume", f"disk,kind=host,source={volume}")
    app = (PROBE, "--mount", "volume=disk,target=/disk", "--isolator", limit, "--exec", "/bin/busybox")
    uuid = appc.detached(*mounted, *app, "--", "dd", *words)
    assert appc("status", "--wait", uuid).status == 0
    (ended,) = appc.status(uuid)["apps"]
    assert ended["exit-status"] == 0
    return float(ended["exited"] - ended["started"]) / 1e9


@pytest.mark.parametrize(
    ("limit", "count", "size", "expected"),
    [
        ("resource/block-bandwidth,limit=4M", 320, 64 << 10, 320 * (64 << 10) / 4e6),
        ("resource/block-iops,limit=50", 200, 4096, 4.0),
    ],
)
def test_direct_input_and_output(appc: Appc, sandbox: Path, limit: str, count: int, size: int, expected: float) -> None:
    volume = disk(sandbox)
    amount = (f"bs={size}", f"count={count}")
    written = seconds(appc, volume, limit, "if=/dev/zero", "of=/disk/file", "oflag=direct", *amount)
    assert abs(written / expected - 1) < 0.15
    read = seconds(appc, volume, limit, "if=/disk/file", "of=/dev/null", "iflag=direct", *amount)
    assert abs(read / expected - 1) < 0.15
