"""OCI `linux.resources` → the control files and values that mean it, for cgroup v1 and v2: pure functions.

Nothing is read or written here. Each field of the resources ends as one or more `Setting`s: a file to
write, or the reason why the host cannot enforce it. Zero means "unset" where OCI engines mean so
(sizes, shares, quotas, weights); it is a value for `pids.limit`, `swappiness` and `idle`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_DEFAULT_PERIOD = 100000  # µs, the kernel's
_MIN_SHARES, _MAX_SHARES = 2, 262144


class Setting:
    """One write for one field.

    `choices` are (file, value) pairs of which the first whose file exists is written; none means the field
    cannot be enforced (`note` says why) or needs no write. `status` is what a successful write amounts to:
    "enforced", or "modified" with the `note` saying how. An `optional` setting may lack its file in silence.
    """

    __slots__ = ("choices", "controller", "field", "note", "optional", "status")

    def __init__(
        self,
        field: str,
        controller: str = "",
        choices: tuple[tuple[str, str], ...] = (),
        status: str = "enforced",
        note: str = "",
        optional: bool = False,
    ) -> None:
        self.field = field
        self.controller = controller
        self.choices = choices
        self.status = status
        self.note = note
        self.optional = optional


class Translation:
    """Collects the settings of one resources object for controllers of known versions."""

    def __init__(self, versions: Mapping[str, int], page_size: int) -> None:
        self.versions = versions
        self.page_size = page_size
        self.settings: list[Setting] = []

    def put(
        self, field: str, controller: str, file: str, value: object, note: str = "", optional: bool = False
    ) -> None:
        """Write `value` to `file`; a note says how it differs from what was asked."""
        self.choose(field, controller, ((file, str(value)),), note, optional)

    def choose(
        self, field: str, controller: str, choices: tuple[tuple[str, str], ...], note: str = "", optional: bool = False
    ) -> None:
        status = "modified" if note else "enforced"
        self.settings.append(Setting(field, controller, choices, status, note, optional))

    def accept(self, field: str) -> None:
        """The field holds already."""
        self.settings.append(Setting(field))

    def refuse(self, field: str, reason: str) -> None:
        self.settings.append(Setting(field, status="ignored", note=reason))

    def version(self, controller: str, fields: list[str]) -> int:
        """Return 1 or 2, or 0 after refusing the fields because the host lacks the controller."""
        found = self.versions.get(controller, 0)
        if not found:
            for field in fields:
                self.refuse(field, f"this host has no usable {controller} controller")
        return found

    def bytes(self, field: str, controller: str, file: str, count: int, unlimited: str) -> None:
        """A number of bytes: negative is unlimited; the kernel rounds down to whole pages."""
        if count < 0:
            self.put(field, controller, file, unlimited)
        else:
            rounded = count - count % self.page_size
            self.put(field, controller, file, count, f"{rounded} bytes: whole pages" if rounded != count else "")


def settings(resources: Mapping[str, Any], versions: Mapping[str, int], page_size: int = 4096) -> list[Setting]:
    """Translate a validated OCI `linux.resources` object, its devices excepted.

    `versions` maps each controller the host has to 1 or 2, and "" to 2 when there is a cgroup2 mount. The
    result is in the order to write in.
    """
    translation = Translation(versions, page_size)
    for name, value in resources.items():
        if name == "devices" or not value:
            continue
        section = _SECTIONS.get(name) or _rare(name)
        if section is None:
            translation.refuse(name, "not a resource that appc knows")
        else:
            section(translation, value)
    return translation.settings


def weight_of_shares(shares: int) -> int:
    """Convert cpu.shares (2…262144, 1024 is normal) to cpu.weight (1…10000, 100 is normal).

    The curve through (2, 1), (1024, 100) and (262144, 10000) that OCI runtimes agreed on.
    """
    if shares <= _MIN_SHARES:
        return 1
    if shares >= _MAX_SHARES:
        return 10000
    import math

    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def _memory(to: Translation, memory: Mapping[str, Any]) -> None:
    fields = [f"memory.{name}" for name, value in memory.items() if value is not None]
    version = to.version("memory", fields)
    if not version:
        return
    limit = memory.get("limit") or 0
    swap = memory.get("swap") or 0
    reservation = memory.get("reservation") or 0
    files = ("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "-1")
    if version == 2:
        files = ("memory.max", "memory.low", "max")
    # The memory limit comes before memory+swap: v1 refuses a memory+swap limit below the memory limit.
    if limit:
        to.bytes("memory.limit", "memory", files[0], limit, files[2])
    if reservation:
        to.bytes("memory.reservation", "memory", files[1], reservation, "0" if version == 2 else files[2])
    _swap(to, version, limit, swap)
    swappiness = memory.get("swappiness")
    if swappiness is not None and version == 1:
        to.put("memory.swappiness", "memory", "memory.swappiness", swappiness)
    elif swappiness is not None:
        to.refuse("memory.swappiness", "cgroup v2 has no swappiness of a group's own")
    if memory.get("disableOOMKiller") and version == 1:
        to.put("memory.disableOOMKiller", "memory", "memory.oom_control", 1)
    elif memory.get("disableOOMKiller"):
        to.refuse("memory.disableOOMKiller", "cgroup v2 always has the OOM killer")
    if memory.get("useHierarchy") is False:
        to.refuse("memory.useHierarchy", "memory is always accounted hierarchically")
    for name in ("kernel", "kernelTCP"):
        if memory.get(name):
            to.refuse(f"memory.{name}", "the kernel counts this in the memory limit, it has no limit of its own")
    for name in ("useHierarchy", "checkBeforeUpdate"):
        if memory.get(name):
            to.accept(f"memory.{name}")


def _swap(to: Translation, version: int, limit: int, swap: int) -> None:
    """`swap` is memory+swap as v1 counts it; v2 limits swap alone."""
    if limit < 0 and not swap and version == 2:
        swap = -1
    if not swap:
        return
    if swap > 0 and limit <= 0:
        to.refuse("memory.swap", "a limit on memory+swap needs a memory limit")
    elif 0 < swap < limit:
        to.refuse("memory.swap", f"memory+swap ({swap}) is less than memory ({limit})")
    elif version == 1:
        to.bytes("memory.swap", "memory", "memory.memsw.limit_in_bytes", swap, "-1")
    else:
        to.bytes("memory.swap", "memory", "memory.swap.max", swap - limit if swap > 0 else -1, "max")


def _cpu(to: Translation, cpu: Mapping[str, Any]) -> None:
    given = [name for name, value in cpu.items() if value not in (None, "") and (value or name == "idle")]
    for name in ("cpus", "mems"):
        if name in given and to.version("cpuset", [f"cpu.{name}"]):
            to.put(f"cpu.{name}", "cpuset", f"cpuset.{name}", cpu[name])
    times = [name for name in given if name not in ("cpus", "mems")]
    version = to.version("cpu", [f"cpu.{name}" for name in times]) if times else 0
    if "idle" in times and version:
        to.put("cpu.idle", "cpu", "cpu.idle", cpu["idle"])
    if "shares" in times and version:
        _shares(to, version, cpu["shares"], cpu.get("idle") == 1)
    if version == 1:
        _cpu_times_v1(to, cpu, times)
    elif version == 2:
        _cpu_times_v2(to, cpu, times)


def _shares(to: Translation, version: int, shares: int, idle: bool) -> None:
    if idle:
        to.refuse("cpu.shares", "an idle group (cpu.idle = 1) has no shares")
        return
    clamped = min(max(shares, _MIN_SHARES), _MAX_SHARES)
    note = f"{clamped}: shares lie between {_MIN_SHARES} and {_MAX_SHARES}" if clamped != shares else ""
    if version == 1:
        to.put("cpu.shares", "cpu", "cpu.shares", clamped, note)
    else:
        to.put("cpu.shares", "cpu", "cpu.weight", weight_of_shares(clamped), note)


def _cpu_times_v1(to: Translation, cpu: Mapping[str, Any], given: list[str]) -> None:
    # The period first, as the quota is judged by it; the burst last, as it must not exceed the quota.
    for name, file in (
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
    ):
        if name in given:
            to.put(f"cpu.{name}", "cpu", file, max(cpu[name], -1))


def _cpu_times_v2(to: Translation, cpu: Mapping[str, Any], given: list[str]) -> None:
    if "quota" in given or "period" in given:
        quota = cpu.get("quota") or -1
        value = f"{quota if quota > 0 else 'max'} {cpu.get('period') or _DEFAULT_PERIOD}"
        to.put("cpu.quota" if "quota" in given else "cpu.period", "cpu", "cpu.max", value)
    if "burst" in given:
        to.put("cpu.burst", "cpu", "cpu.max.burst", cpu["burst"])
    for name in ("realtimeRuntime", "realtimePeriod"):
        if name in given:
            to.refuse(f"cpu.{name}", "cgroup v2 has no realtime budget")


def _pids(to: Translation, pids: Mapping[str, Any]) -> None:
    limit = pids.get("limit")
    if limit is not None and to.version("pids", ["pids.limit"]):
        to.put("pids.limit", "pids", "pids.max", limit if limit >= 0 else "max")


_SECTIONS: dict[str, Callable[[Translation, Any], None]] = {
    "memory": _memory,
    "cpu": _cpu,
    "pids": _pids,
}


def _rare(name: str) -> Callable[[Translation, Any], None] | None:
    from appc.host.limits_rare import SECTIONS

    return SECTIONS.get(name)
