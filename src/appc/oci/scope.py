"""Control groups that systemd makes (--systemd-cgroup): a transient scope for each container (systemd.scope(5)).

systemd is told the limits that it knows, since it writes them again whenever it is reloaded; then they are written into
the scope's group, which is delegated, as into any other. A scope exists as long as processes are in it, and cannot be
made without: until the container's own is there a placeholder is.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, HostError
from appc.host import limits, systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from appc.host.probe import HostFacts

_WHERE = "linux.cgroupsPath"
_CGROUPFS = "use control groups of the engine's own: cgroupfs"
_DEFAULT_SLICE, _DEFAULT_PREFIX = "system.slice", "appc-oci"
ANNOTATION = "org.systemd.property."
_SECOND = 1_000_000  # µs
_INFINITY = (1 << 64) - 1
_HUNDREDTH = 10_000  # µs: what a quota of systemd's is a multiple of
_UNIFIED = dict.fromkeys(("", "cpu", "cpuset", "io", "memory", "pids"), 2)


class Scope:
    """The scope of a container that is being made."""

    def __init__(self, cgroups_path: str, name: str, facts: HostFacts) -> None:
        """`cgroups_path` is "SLICE:PREFIX:NAME", or "" for the usual ones with the container's `name`."""
        if not systemd.booted():
            raise AppcError("this host was not booted with systemd", "--systemd-cgroup", _CGROUPFS)
        if not facts.initial_userns:
            raise AppcError("only the host's root has systemd make control groups", "--systemd-cgroup", _CGROUPFS)
        if facts.cgroup != "v2" or facts.bases.get(facts.unified) != facts.unified:
            raise AppcError("needs a host with control groups of version 2 alone", "--systemd-cgroup", _CGROUPFS)
        self.slice, self.unit = _parts(cgroups_path, name)
        self.path = f"{_slice_path(self.slice)}/{self.unit}"
        self.started = False
        self._name = name
        self._placeholder = _Placeholder()

    def start(self, resources: Mapping[str, Any], annotations: Mapping[str, str], groups: Sequence[str]) -> None:
        """Have systemd make it, with a process that stays until `release`; `groups` are the directories expected."""
        properties: list[systemd.Property] = [
            ("Description", ("s", f"appc-oci container {self._name}")),
            ("Slice", ("s", self.slice)),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),
            # Forgotten when it has ended, however it ended.
            ("CollectMode", ("s", "inactive-or-failed")),
            *((f"{kind}Accounting", ("b", True)) for kind in ("CPU", "IO", "Memory", "Tasks")),
            *properties_of(resources),
            *annotated(annotations),
        ]
        pid = self._placeholder.start()
        with systemd.Manager() as manager:
            manager.start_scope(self.unit, [*properties, ("PIDs", ("au", [pid]))])
        self.started = True
        if not all(os.path.isdir(path) for path in groups):
            raise HostError("systemd made no control group where the slice should be", self.unit)

    def with_room(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Return `linux.resources` with room for the placeholder beside the container's own processes."""
        limit = (resources.get("pids") or {}).get("limit") or 0
        return {**resources, "pids": {"limit": limit + 1}} if limit > 0 else dict(resources)

    def settle(self, resources: Mapping[str, Any], facts: HostFacts) -> None:
        """The container's process is there: end the placeholder, and take back the room that it had."""
        self.release()
        if (resources.get("pids") or {}).get("limit"):
            from appc.host import cgroup_container

            try:
                cgroup_container.update(self.path, {"pids": resources["pids"]}, facts)
            except HostError:
                pass  # it has ended already, and its group with it

    def release(self) -> None:
        """End what held the place of the container's process."""
        self._placeholder.end()

    def give_up(self) -> None:
        """Have systemd forget it, because there will be no container; if it cannot, the reason for that is known."""
        self.release()
        try:
            stop(self.unit)
        except HostError:
            pass


class _Placeholder:
    """A process that waits for its end, or ours."""

    def __init__(self) -> None:
        self._pid = self._end = -1

    def start(self) -> int:
        reader, self._end = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._end)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
        return self._pid

    def end(self) -> None:
        if self._end >= 0:
            os.close(self._end)
            os.waitpid(self._pid, 0)
            self._end = -1


def update(unit: str, resources: Mapping[str, Any]) -> None:
    """Tell systemd other limits of a scope."""
    properties = properties_of(resources)
    if properties:
        with systemd.Manager() as manager:
            manager.set_properties(unit, properties)


def stop(unit: str) -> None:
    """Have systemd end a scope and forget it."""
    with systemd.Manager() as manager:
        manager.stop(unit)


def _parts(text: str, name: str) -> tuple[str, str]:
    """Return slice and unit for a cgroupsPath."""
    parts = text.split(":") if text else [_DEFAULT_SLICE, _DEFAULT_PREFIX, name]
    if len(parts) != 3 or "/" in text or not parts[2]:
        hint = "as in system.slice:podman:NAME"
        raise AppcError(f"{text!r} is not SLICE:PREFIX:NAME, which --systemd-cgroup wants", _WHERE, hint)
    slice_name, prefix, own = parts
    if own.endswith(".slice"):
        raise AppcError(f"{own!r} is a slice, which has no processes of its own", _WHERE)
    return slice_name or _DEFAULT_SLICE, f"{prefix}-{own}.scope" if prefix else f"{own}.scope"


def _slice_path(name: str) -> str:
    """Return where a slice is: a-b.slice lies in a.slice (systemd.slice(5))."""
    stem = name.removesuffix(".slice")
    if stem == "-" and name != stem:
        return ""
    words = stem.split("-")
    if stem == name or not all(words):
        raise AppcError(f"{name!r} is not the name of a slice", _WHERE, "as in machine.slice or a-b.slice")
    return "".join(f"/{'-'.join(words[: count + 1])}.slice" for count in range(len(words)))


def properties_of(resources: Mapping[str, Any]) -> list[systemd.Property]:
    """Return the properties of systemd.resource-control(5) that say what `linux.resources` do."""
    found: dict[str, tuple[str, Any]] = {}
    for setting in limits.settings(resources, _UNIFIED, os.sysconf("SC_PAGESIZE")):
        for file, value in setting.choices:
            if file in _PROPERTIES:
                found.update(_PROPERTIES[file](value, f"linux.resources.{setting.field}"))
    return list(found.items())


def annotated(annotations: Mapping[str, str]) -> list[systemd.Property]:
    """Return the properties that annotations org.systemd.property.NAME give."""
    found: list[systemd.Property] = []
    for key, text in annotations.items():
        if not key.startswith(ANNOTATION):
            continue
        from appc.oci import gvariant

        name, where = key.removeprefix(ANNOTATION), f"annotations.{key}"
        if not (name.isascii() and name.isalnum() and name[0].isalpha()):
            raise AppcError(f"{name!r} is not the name of a property", where)
        kind, value = gvariant.parse(text, where)
        if name.endswith("Sec") and not name.endswith("USec") and kind in "ynqiuxt":
            # Units have seconds, D-Bus has microseconds.
            name, kind, value = f"{name.removesuffix('Sec')}USec", "t", value * _SECOND
        found.append((name, (kind, value)))
    return found


def _amount(name: str, least: int = 0) -> Callable[[str, str], dict[str, tuple[str, Any]]]:
    """Bytes, processes, weights: a number, or "max"."""

    def convert(text: str, where: str) -> dict[str, tuple[str, Any]]:
        return {name: ("t", _INFINITY if text == "max" else max(_number(text, where), least))}

    return convert


def _number(text: str, where: str) -> int:
    # io.weight may say of whom: "default 100".
    digits = text.removeprefix("default ").strip()
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > _INFINITY:
        raise AppcError(f"{text!r} is not a number or 'max'", where)
    return int(digits)


def _quota(text: str, where: str) -> dict[str, tuple[str, Any]]:
    """cpu.max: "QUOTA [PERIOD]" in microseconds."""
    quota, _, period = text.partition(" ")
    length = _number(period, where) if period.strip() else 100_000
    if quota == "max" or not length:
        return {"CPUQuotaPerSecUSec": ("t", _INFINITY)}
    # Rounded up, so that what is written into the group is not above what holds around it.
    per_second = -(-_number(quota, where) * _SECOND // length)
    per_second = -(-per_second // _HUNDREDTH) * _HUNDREDTH
    return {"CPUQuotaPerSecUSec": ("t", per_second), "CPUQuotaPeriodUSec": ("t", length)}


def _idle(text: str, where: str) -> dict[str, tuple[str, Any]]:
    return {"CPUWeight": ("t", 0)} if _number(text, where) else {}


def _places(name: str) -> Callable[[str, str], dict[str, tuple[str, Any]]]:
    """Processors or memory nodes: a list such as 0-3,5, as a bit mask whose bytes ascend."""

    def convert(text: str, where: str) -> dict[str, tuple[str, Any]]:
        mask = 0
        for part in text.replace("\n", "").split(","):
            first, dash, last = part.strip().partition("-")
            low = _number(first, where)
            high = _number(last, where) if dash else low
            if not low <= high < 1 << 13:
                raise AppcError(f"{text!r} is not a list such as 0-3,5", where)
            mask |= (1 << high + 1) - (1 << low)
        return {name: ("ay", mask.to_bytes((mask.bit_length() + 7) // 8, "little"))}

    return convert


# file of a group → what makes properties of its value
_PROPERTIES: dict[str, Callable[[str, str], dict[str, tuple[str, Any]]]] = {
    "memory.max": _amount("MemoryMax"),
    "memory.high": _amount("MemoryHigh"),
    "memory.low": _amount("MemoryLow"),
    "memory.min": _amount("MemoryMin"),
    "memory.swap.max": _amount("MemorySwapMax"),
    "cpu.weight": _amount("CPUWeight", 1),
    "cpu.idle": _idle,
    "cpu.max": _quota,
    "cpuset.cpus": _places("AllowedCPUs"),
    "cpuset.mems": _places("AllowedMemoryNodes"),
    "io.weight": _amount("IOWeight", 1),
    "pids.max": _amount("TasksMax", 1),
}
