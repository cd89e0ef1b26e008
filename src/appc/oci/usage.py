"""What a container uses, by its control groups, in the form engines parse (runc's `events`)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NANOSECONDS = 1000  # in a microsecond
_UNLIMITED = (1 << 64) - 1
# io.stat of cgroup2: key → (list, operation)
_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
# Files of cgroup v1's cpuset with a number
_CPUSET = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab"),
    *("memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
)
_IO_V1 = {
    "ioServiceBytesRecursive": "blkio.throttle.io_service_bytes_recursive",
    "ioServicedRecursive": "blkio.throttle.io_serviced_recursive",
}


def usage(groups: list[str]) -> dict[str, Any]:
    """Return what the groups count, by controller; what no controller of these counts is 0 or left out."""
    return {
        "cpu": _cpu(groups),
        "cpuset": _cpuset(groups),
        "memory": {**_memory(groups), **_pressure(groups, "memory.pressure")},
        "pids": _without_zeros({"current": _number(groups, "pids.current"), "limit": _limit(groups, "pids.max")}),
        "blkio": {**_blkio(groups), **_pressure(groups, "io.pressure")},
        "hugetlb": _hugetlb(groups),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu(groups: list[str]) -> dict[str, Any]:
    unified = _words(groups, "cpu.stat")
    if "usage_usec" in unified:
        total, kernel, user = (
            unified.get(name, 0) * _NANOSECONDS for name in ("usage_usec", "system_usec", "user_usec")
        )
    else:
        total, kernel, user = (_number(groups, f"cpuacct.usage{suffix}") for suffix in ("", "_sys", "_user"))
    percpu = [int(word) for word in _read(groups, "cpuacct.usage_percpu").split()]
    counted: dict[str, Any] = {"total": total, "kernel": kernel, "user": user}
    if percpu:
        counted["percpu"] = percpu
    throttled = unified.get("throttled_usec", 0) * _NANOSECONDS or unified.get("throttled_time", 0)
    throttling = {
        "periods": unified.get("nr_periods", 0),
        "throttledPeriods": unified.get("nr_throttled", 0),
        "throttledTime": throttled,
    }
    return {"usage": counted, "throttling": _without_zeros(throttling), **_pressure(groups, "cpu.pressure")}


def _cpuset(groups: list[str]) -> dict[str, Any]:
    """Return what cgroup v1 says of processors and memory nodes, under the names of its files; of v2 the two lists."""
    found: dict[str, Any] = {name: _members(_read(groups, f"cpuset.{name}")) for name in ("cpus", "mems")}
    found = {name: members for name, members in found.items() if members}
    return {**found, **{name: _number(groups, f"cpuset.{name}") for name in _CPUSET}}


def _members(text: str) -> list[int]:
    """Return the numbers in a list such as 0-3,5."""
    members: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            members += range(int(first), int(last or first) + 1)
    return members


def _pressure(groups: list[str], file: str) -> dict[str, Any]:
    """Return how much time was lost by waiting (Documentation/accounting/psi.rst), nothing where nobody counts it."""
    found: dict[str, dict[str, float]] = {}
    for line in _read(groups, file).splitlines():
        kind, *pairs = line.split()
        values = (pair.partition("=") for pair in pairs)
        found[kind] = {name: int(value) if name == "total" else float(value) for name, _, value in values}
    return {"psi": found} if found else {}


def _memory(groups: list[str]) -> dict[str, Any]:
    raw = _words(groups, "memory.stat")
    unified = bool(_read(groups, "memory.current"))
    if unified:
        swap = _number(groups, "memory.current") + _number(groups, "memory.swap.current")
        swap_limit = _limit(groups, "memory.swap.max")
        if swap_limit != _UNLIMITED:
            swap_limit = min(_UNLIMITED, swap_limit + _limit(groups, "memory.max"))
        return {
            "cache": raw.get("file", 0),
            "usage": {
                "limit": _limit(groups, "memory.max"),
                "usage": _number(groups, "memory.current"),
                "max": _number(groups, "memory.peak"),
                "failcnt": _words(groups, "memory.events").get("max", 0),
            },
            "swap": {"limit": swap_limit, "usage": swap, "failcnt": 0},
            "raw": raw,
        }
    return {
        "cache": raw.get("cache", 0),
        "usage": _entry(groups, "memory"),
        "swap": _entry(groups, "memory.memsw"),
        "kernel": _entry(groups, "memory.kmem"),
        "kernelTCP": _entry(groups, "memory.kmem.tcp"),
        "raw": raw,
    }


def _entry(groups: list[str], prefix: str) -> dict[str, int]:
    """Return the four numbers that cgroup v1 keeps of one kind of memory."""
    names = {"limit": "limit_in_bytes", "usage": "usage_in_bytes", "max": "max_usage_in_bytes", "failcnt": "failcnt"}
    return {name: _number(groups, f"{prefix}.{file}") for name, file in names.items()}


def _blkio(groups: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in _read(groups, "io.stat").splitlines():
        device, *pairs = line.split()
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in _IO and value.isdecimal():
                name, operation = _IO[key]
                found.setdefault(name, []).append(_transfer(device, operation, value))
    for name, file in _IO_V1.items():
        for line in _read(groups, file).splitlines():
            words = line.split()
            if len(words) == 3 and words[2].isdecimal():
                found.setdefault(name, []).append(_transfer(*words))
    return found


def _transfer(device: str, operation: str, value: str) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}


def _hugetlb(groups: list[str]) -> dict[str, dict[str, int]]:
    """Return use of huge pages by page size, as the kernel writes that: 2MB."""
    found: dict[str, dict[str, int]] = {}
    for group in groups:
        for name in _names(group):
            prefix, size, rest = ("", "", "") if name.count(".") < 2 else name.split(".", 2)
            if prefix != "hugetlb" or rest not in ("current", "usage_in_bytes"):
                continue
            failures = _words([group], f"hugetlb.{size}.events").get("max", 0) or _number(
                [group], f"hugetlb.{size}.failcnt"
            )
            found[size] = {
                "usage": _number([group], name),
                "max": _number([group], f"hugetlb.{size}.max_usage_in_bytes"),
                "failcnt": failures,
            }
    return found


def _names(group: str) -> list[str]:
    try:
        return os.listdir(group)
    except OSError:
        return []


def _read(groups: list[str], file: str) -> str:
    """Return the content of a file in whichever group has it, "" when none has."""
    for group in groups:
        try:
            with open(f"{group}/{file}", encoding="ascii") as stream:
                return stream.read()
        except OSError:
            continue
    return ""


def _number(groups: list[str], file: str) -> int:
    text = _read(groups, file).strip()
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _limit(groups: list[str], file: str) -> int:
    text = _read(groups, file).strip()
    return _UNLIMITED if text == "max" else int(text) if text.isdecimal() else 0


def _words(groups: list[str], file: str) -> dict[str, int]:
    """Return the lines "KEY NUMBER" of a file."""
    pairs = (line.split() for line in _read(groups, file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _without_zeros(values: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value}
