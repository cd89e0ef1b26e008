"""What running apps use: measured by their control groups where these count, else summed over their processes."""

from __future__ import annotations

import os
import time

from appc.errors import PodNotFound
from appc.host import cgroupfs, probe, procs
from appc.pods import layout, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from appc.host.probe import HostFacts
    from appc.pods.layout import Pod

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # nanoseconds
_PAGE = os.sysconf("SC_PAGESIZE")


class Usage:
    """What one app uses at one moment.

    `cpu` is the processor time spent so far in nanoseconds; `memory` and `memory_limit` (0 = none) are bytes, as are
    `read` and `written` (to disks) of the processes that are there; `processes` counts them. `received` and `sent` are
    bytes of the pod's network, which its apps share; 0 on the host's network. `time` is nanoseconds of a clock.
    """

    __slots__ = (
        "app",
        "cpu",
        "memory",
        "memory_limit",
        "pod",
        "processes",
        "read",
        "received",
        "sent",
        "time",
        "written",
    )

    def __init__(self, pod: str, app: str) -> None:
        self.pod = pod
        self.app = app
        self.time = time.monotonic_ns()
        self.cpu = self.memory = self.memory_limit = self.processes = 0
        self.read = self.written = self.received = self.sent = 0

    def cpu_since(self, before: Usage) -> float:
        """Return the processors in use on average since `before`: 1.0 is one of them, all the time."""
        elapsed = self.time - before.time
        return max(0, self.cpu - before.cpu) / elapsed if elapsed > 0 else 0.0


def measure(root: str, prefixes: Iterable[str] = ()) -> list[Usage]:
    """Measure the running apps of the pods below `root` that `prefixes` name, of all pods when there are none.

    Raises PodNotFound for a prefix that names none. Pods that end meanwhile are left out.
    """
    facts = probe.facts()
    wanted = list(prefixes)
    pods = [layout.find(root, prefix) for prefix in wanted] if wanted else layout.every(root)
    found = []
    for pod in pods:
        try:
            if pod.phase == "run" and pod.locked():
                found += _pod(pod, facts)
        except (FileNotFoundError, PodNotFound):
            continue
    return found


def _pod(pod: Pod, facts: HostFacts) -> list[Usage]:
    init = records.init_pid(pod)
    traffic = _traffic(init[0]) if init and pod.read_json("request")["net"] != "host" else (0, 0)
    cgroup = pod.cgroup
    groups = [cgroupfs.place(base, cgroup) for base in facts.bases.values()]
    by_namespace: dict[str, list[int]] = {}
    for pid in {pid for group in groups for one in cgroupfs.tree(group, alone=True) for pid in cgroupfs.processes(one)}:
        by_namespace.setdefault(procs.mount_namespace(pid), []).append(pid)
    found = []
    for name in pod.app_names():
        record = records.app_record(pod, name)
        if record.pid is None or record.exited is not None:
            continue
        usage = Usage(pod.uuid, name)
        usage.received, usage.sent = traffic
        for pid in by_namespace.get(procs.mount_namespace(record.pid), ()):
            _add_process(usage, pid)
        counted = cgroupfs.stats(f"{group}/{name}" for group in groups)
        usage.cpu = counted.get("cpu", usage.cpu)
        usage.memory = counted.get("memory", usage.memory)
        usage.memory_limit = _limit(pod, name)
        found.append(usage)
    return found


def _add_process(usage: Usage, pid: int) -> None:
    try:
        stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        resident = int(_read(f"/proc/{pid}/statm").split()[1])
        counters: dict[str, int] = {}
        for line in _read(f"/proc/{pid}/io").splitlines():
            key, _, value = line.partition(": ")
            counters[key] = int(value)
    except (OSError, ValueError, IndexError):
        # It ended meanwhile.
        return
    usage.processes += 1
    usage.cpu += (int(stat[11]) + int(stat[12])) * _TICK
    usage.memory += resident * _PAGE
    usage.read += counters.get("read_bytes", 0)
    usage.written += counters.get("write_bytes", 0)


def _limit(pod: Pod, app: str) -> int:
    try:
        config: dict[str, Any] = pod.read_json(f"config/{app}")
    except FileNotFoundError:
        return 0
    return int(config["linux"]["resources"].get("memory", {}).get("limit", 0))


def _traffic(pid: int) -> tuple[int, int]:
    """Return the bytes received and sent in the network of a process, its loopback excepted."""
    received = sent = 0
    try:
        lines = _read(f"/proc/{pid}/net/dev").splitlines()[2:]
    except OSError:
        return 0, 0
    for line in lines:
        name, _, counters = line.partition(":")
        words = counters.split()
        if name.strip() != "lo" and len(words) > 8:
            received, sent = received + int(words[0]), sent + int(words[8])
    return received, sent


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read(65536)
