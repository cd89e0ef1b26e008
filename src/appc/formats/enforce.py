"""Isolators (ace.md, "Isolators") as fields of an OCI configuration, and an account of each.

The account is what the specification demands: which isolators are enforced, modified or ignored,
and why. What only the kernel can tell (a controller that is missing) is added by whoever asks it.
"""

from __future__ import annotations

from appc.abi import CAPABILITY_BITS, is_own_sysctl
from appc.errors import AppcError
from appc.formats.seccomp import default_filter, remove_filter, retain_filter
from appc.schema.isolators import APP, CAPS_REMOVE, CAPS_RETAIN, KNOWN, POD, SECCOMP_REMOVE, SECCOMP_RETAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    from appc.schema.isolators import Isolator
    from appc.values import Quantity

    class Facts(Protocol):
        """What of the host's facts decides about isolators."""

        @property
        def arch(self) -> str: ...
        @property
        def bounding(self) -> int: ...
        @property
        def caps(self) -> int: ...
        @property
        def apparmor(self) -> bool: ...
        @property
        def seccomp(self) -> bool: ...
        @property
        def selinux(self) -> bool: ...
        @property
        def swap(self) -> bool: ...
        @property
        def cgroup(self) -> str: ...
        @property
        def controllers(self) -> dict[str, str]: ...
        @property
        def bases(self) -> dict[str, str]: ...
        @property
        def initial_userns(self) -> bool: ...
        @property
        def unified(self) -> str: ...

    Outcome = list[tuple[str, str, str]]


# ace.md, os/linux/capabilities-remove-set
DEFAULT_CAPABILITIES = frozenset(
    (
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    )
)

CPU_PERIOD = 100_000  # microseconds; the kernel's default
SHORTEST_QUOTA = 1_000  # microseconds; the kernel refuses less
_WAYS = ("Read", "Write")
FEWEST_SHARES, MOST_SHARES = 2, 262_144


class Enforcement:
    """What a list of isolators amounts to.

    `scope` is APP or POD; `namespaces` are those the pod has of its own ("network", "ipc", "uts");
    `block_devices` the (major, minor) of every whole disk, for the limits that apply to all of them. `pod` is what
    bounds the isolators of an app, where control groups alone would not; `alone` says that the app is its only one.
    Fields are OCI values: `memory`, `cpu`, `pids`, `block_io` of linux.resources; `sysctl`; `seccomp` or None;
    `capabilities`, the names in the bounding set; `selinux` and `apparmor` labels or "".
    """

    def __init__(
        self,
        scope: str,
        facts: Facts,
        namespaces: Iterable[str] = (),
        block_devices: tuple[tuple[int, int], ...] = (),
        pod: Enforcement | None = None,
        alone: bool = False,
    ) -> None:
        self.scope = scope
        self.outcome: Outcome = []
        self.memory: dict[str, int] = {}
        self.cpu: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self.block_io: dict[str, Any] = {}
        self.sysctl: dict[str, str] = {}
        self.seccomp: dict[str, Any] | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.no_new_privileges = False
        # Inherited by an app that has none of its own.
        self.oom_score_adj: int | None = pod.oom_score_adj if pod else None
        self.selinux = self.apparmor = ""
        self._facts = facts
        self._namespaces = frozenset(namespaces)
        self._block_devices = block_devices
        self._pod = pod
        self._alone = alone

    def apply(self, isolators: Iterable[Isolator], where: str) -> Enforcement:
        """Take `isolators` in; return self.

        Raises AppcError, its place below `where`, for a combination or amount that has no meaning.
        """
        isolators = list(isolators)
        for index, isolator in enumerate(isolators):
            name = isolator.name
            method = _METHODS.get(name)
            if method is None:
                self._report(name, "ignored", "appc does not know this isolator")
            elif self.scope not in KNOWN[name].scope:
                self._report(name, "ignored", f"applies to {KNOWN[name].scope}s only")
            else:
                method(self, name, isolator.value, f"{where}[{index}]")
        if self.scope == APP:
            self._capabilities(isolators, where)
            self._seccomp(isolators)
        return self

    def _report(self, name: str, state: str, reason: str = "") -> None:
        self.outcome.append((name, state, reason))

    def _memory(self, name: str, value: Any, where: str) -> None:
        limit, request = _amount(value.limit, f"{where}.value.limit"), _amount(value.request, f"{where}.value.request")
        if limit:
            # Several isolators bound each other: the smallest limit holds.
            self.memory["limit"] = min(limit, self.memory.get("limit", limit))
            # Memory and swap together: what is beyond the limit is refused, and not swapped out instead.
            if self._facts.swap:
                self.memory["swap"] = self.memory["limit"]
        note = ""
        if request and limit and request > limit:
            request, note = limit, "the request exceeds the limit and was lowered to it"
        # A request equal to the limit is what a limit alone means; the kernel needs nothing more for it.
        if request and request != limit:
            self.memory["reservation"] = max(request, self.memory.get("reservation", 0))
        self._report(name, "modified" if note else "enforced", note)

    def _cpu(self, name: str, value: Any, where: str) -> None:
        limit = _amount(value.limit, f"{where}.value.limit", milli=True)
        request = _amount(value.request, f"{where}.value.request", milli=True) or limit
        note = ""
        if limit:
            quota = limit * CPU_PERIOD // 1000
            if quota < SHORTEST_QUOTA:
                quota, note = SHORTEST_QUOTA, "the kernel limits to no less than 10m"
            self.cpu["quota"] = min(quota, self.cpu.get("quota", quota))
            self.cpu["period"] = CPU_PERIOD
        if request and "os/linux/cpu-shares" not in [entry[0] for entry in self.outcome]:
            self.cpu["shares"] = max(FEWEST_SHARES, min(MOST_SHARES, request * 1024 // 1000))
        self._report(name, "modified" if note else "enforced", note)

    def _cpu_shares(self, name: str, value: int, _where: str) -> None:
        self.cpu["shares"] = value
        self._report(name, "enforced")

    def _pids(self, name: str, value: Any, where: str) -> None:
        limit = _amount(value.limit, f"{where}.value.limit")
        if limit:
            # PID 1 of a pod is not one of its apps' processes, but it is in the pod's group.
            limit += self.scope == POD
            self.pids["limit"] = min(limit, self.pids.get("limit", limit))
        self._report(name, "enforced")

    def _block(self, name: str, value: Any, where: str) -> None:
        limit = _amount(value.limit, f"{where}.value.limit")
        if not self._block_devices:
            self._report(name, "ignored", "no block device of this host is known")
            return
        notes = []
        read, write = (f"throttle{way}{'Bps' if name.endswith('bandwidth') else 'IOPS'}Device" for way in _WAYS)
        if limit:
            # In a v1 hierarchy the limits of a group do not hold for those below it.
            bounds = (self._pod.block_io if self._pod else {}).get(read)
            if bounds and bounds[0]["rate"] < limit:
                limit = bounds[0]["rate"]
                notes.append("the pod's own limit is lower")
            rates = [{"major": major, "minor": minor, "rate": limit} for major, minor in self._block_devices]
            self.block_io[read] = self.block_io[write] = rates
        if "blkio" in self._facts.controllers:
            notes.append("cgroup v1 limits reads and direct writes, not what is written through the page cache")
        self._report(name, "modified" if notes else "enforced", "; ".join(notes))

    def _network(self, name: str, value: Any, where: str) -> None:
        _amount(value.limit, f"{where}.value.limit")
        if "network" not in self._namespaces:
            self._report(name, "ignored", "the network is not the pod's own")
        elif self.scope == APP and not self._alone and not knows_senders(self._facts):
            self._report(name, "modified", "applied to the pod: its apps have no groups in a hierarchy of cgroup2")
        else:
            self._report(name, "enforced")

    def _no_new_privileges(self, name: str, value: bool, _where: str) -> None:
        self.no_new_privileges = self.no_new_privileges or value
        self._report(name, "enforced")

    def _oom_score_adj(self, name: str, value: int, _where: str) -> None:
        bound = self._pod.oom_score_adj if self._pod else None
        note = f"raised to the pod's {bound}" if bound is not None and bound > value else ""
        self.oom_score_adj = bound if note else value
        self._report(name, "modified" if note else "enforced", note)

    def _selinux(self, name: str, value: Any, _where: str) -> None:
        if self._facts.selinux:
            self.selinux = value.context
            self._report(name, "enforced")
        else:
            self._report(name, "ignored", "SELinux is not enabled on this host")

    def _apparmor(self, name: str, value: Any, _where: str) -> None:
        if self._facts.apparmor:
            self.apparmor = str(value.profile)
            self._report(name, "enforced")
        else:
            self._report(name, "ignored", "AppArmor is not enabled on this host")

    def _sysctl(self, name: str, value: Any, _where: str) -> None:
        refused = []
        for key, text in value.items():
            if is_own_sysctl(key, self._namespaces):
                self.sysctl[key] = text
            else:
                refused.append(key)
        if not refused:
            self._report(name, "enforced")
        else:
            reason = f"not of the pod's own namespaces: {', '.join(refused)}"
            self._report(name, "modified" if self.sysctl else "ignored", reason)

    def _settled_later(self, _name: str, _value: Any, _where: str) -> None:
        """Capabilities and seccomp are reported when all of them are known."""

    def _capabilities(self, isolators: list[Isolator], where: str) -> None:
        retained, removed = _sets(isolators, CAPS_RETAIN), _sets(isolators, CAPS_REMOVE)
        if retained and removed:
            raise AppcError("a retain-set and a remove-set of capabilities exclude each other", where, "keep one")
        # Several sets of a kind bound each other, as several limits do.
        wanted = frozenset.intersection(*retained) if retained else DEFAULT_CAPABILITIES.difference(*removed)
        granted = self._facts.caps & self._facts.bounding
        lacking = sorted(name for name in wanted if not granted >> CAPABILITY_BITS.get(name, 63) & 1)
        self.capabilities = wanted.difference(lacking)
        note = f"this host does not grant {', '.join(lacking)}" if lacking else ""
        for isolator in isolators:
            if isolator.name in (CAPS_RETAIN, CAPS_REMOVE):
                self._report(isolator.name, "modified" if lacking else "enforced", note)
        if lacking and not (retained or removed):
            self._report(CAPS_RETAIN, "modified", f"of the default set, {note}")

    def _seccomp(self, isolators: list[Isolator]) -> None:
        found = [isolator for isolator in isolators if isolator.name in (SECCOMP_RETAIN, SECCOMP_REMOVE)]
        arch = self._facts.arch
        if not self._facts.seccomp:
            for isolator in found:
                self._report(isolator.name, "ignored", "this kernel has no seccomp filters")
            return
        if not found:
            self.seccomp = default_filter(self.capabilities, arch)
            return
        name, value = str(found[0].name), found[0].value
        names, errno = [str(entry) for entry in value.set], str(value.errno or "")
        if name == SECCOMP_RETAIN:
            self.seccomp, notes = retain_filter(names, errno, arch)
        else:
            self.seccomp, notes = remove_filter(names, errno, self.capabilities, arch)
        self._report(name, "modified" if notes else "enforced", "; ".join(notes))


def knows_senders(facts: Facts) -> bool:
    """Whether packets of the apps of one pod can be told apart: by groups of cgroup2, for which programs ask."""
    return facts.initial_userns and facts.unified in facts.bases


_METHODS = {
    "os/linux/apparmor-profile": Enforcement._apparmor,
    "os/linux/cpu-shares": Enforcement._cpu_shares,
    "os/linux/no-new-privileges": Enforcement._no_new_privileges,
    "os/linux/oom-score-adj": Enforcement._oom_score_adj,
    "os/linux/selinux-context": Enforcement._selinux,
    "os/unix/sysctl": Enforcement._sysctl,
    "resource/block-bandwidth": Enforcement._block,
    "resource/block-iops": Enforcement._block,
    "resource/cpu": Enforcement._cpu,
    "resource/memory": Enforcement._memory,
    "resource/network-bandwidth": Enforcement._network,
    "resource/pids": Enforcement._pids,
    SECCOMP_REMOVE: Enforcement._settled_later,
    CAPS_REMOVE: Enforcement._settled_later,
    SECCOMP_RETAIN: Enforcement._settled_later,
    CAPS_RETAIN: Enforcement._settled_later,
}


def _sets(isolators: Iterable[Isolator], name: str) -> list[frozenset[str]]:
    return [frozenset(map(str, isolator.value.set)) for isolator in isolators if isolator.name == name]


def _amount(quantity: Quantity | None, where: str, milli: bool = False) -> int:
    """Return a quantity in base units (or thousandths); 0 when there is none. AppcError when it is none to limit by."""
    if quantity is None:
        return 0
    amount = quantity.milli if milli else quantity.value
    if amount <= 0:
        raise AppcError(f"{quantity} is not more than nothing", where)
    return amount
