"""What a resident pod costs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from planlib import (
    Keeper,
    app_ops,
    pod_plan,
    wait_for,
    wait_idle,
)

from capabilities import need

pytestmark = pytest.mark.root

PSS_LIMIT = 1024  # KiB, keeper and PID 1 together


def pss(pid: int) -> int:
    """Proportional set size in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("no Pss line")


def test_a_resident_pod_is_small(release: Path, pod: Path, tree: Path, record_property: pytest.RecordProperty) -> None:
    need("musl-gcc")  # what another C library costs is not ours to say
    apps = {name: app_ops(tree, "lines", "1000", "80", "wait") for name in ("one", "two")}
    keeper = Keeper(release, pod_plan(pod, apps, log_size=1 << 20, log_files=2), pod)
    assert keeper.report() == ["ready"]
    pids = {"keeper": keeper.process.pid, "init": int(keeper.status("_keeper")["init"])}
    wait_for(lambda: all(len(keeper.log(name)) == 1000 for name in apps))
    for pid in pids.values():
        wait_idle(pid)
    sizes = {name: pss(pid) for name, pid in pids.items()}
    keeper.process.send_signal(signal.SIGTERM)
    keeper.wait()
    for name, size in sizes.items():
        record_property(f"pss-{name}-kib", size)
    print(sizes)
    assert sum(sizes.values()) <= PSS_LIMIT


def test_a_resident_pod_sleeps(release: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(release, pod_plan(pod, {"web": app_ops(tree, "wait")}), pod)
    assert keeper.report() == ["ready"]
    pids = (keeper.process.pid, int(keeper.status("_keeper")["init"]))
    for pid in pids:
        wait_idle(pid)

    def switches() -> list[str]:
        return [
            line
            for pid in pids
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if "_ctxt_switches" in line
        ]

    before = switches()
    time.sleep(0.5)
    assert switches() == before
    keeper.process.send_signal(signal.SIGTERM)
    keeper.wait()
