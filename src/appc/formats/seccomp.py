"""Seccomp isolators (ace.md, "os/linux/seccomp-…-set") as the `linux.seccomp` section of an OCI configuration."""

from __future__ import annotations

from appc.abi import errno_number
from appc.formats.seccomp_calls import ALLOWED, ALLOWED_ON, ALLOWED_WITH, ALWAYS_REMOVED, OTHERS, REFUSED, SETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

# Image arch label → what libseccomp calls it, with the architecture whose programs the same kernel runs. x32 is
# left out: kernels have it off, and what is left out is killed.
ARCHITECTURES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "i386": ["SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "armv6l": ["SCMP_ARCH_ARM"],
    "armv7l": ["SCMP_ARCH_ARM"],
    "ppc64": ["SCMP_ARCH_PPC64"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
}

ALLOW = "SCMP_ACT_ALLOW"
KILL = "SCMP_ACT_KILL_PROCESS"
ERRNO = "SCMP_ACT_ERRNO"

_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_AF_ALG, _AF_VSOCK, _AF_LAST = 38, 40, 45
# Every CLONE_NEW… flag of clone(2), so that only processes and threads can be made with it.
_NAMESPACES = 0x7E020000
# PER_LINUX and PER_LINUX32, each also with UNAME26, and the query.
_PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def default_filter(capabilities: Collection[str], arch: str, errno: int = 0) -> dict[str, Any]:
    """Return the filter of apps without a seccomp isolator: a whitelist that grows with `capabilities`.

    What is refused fails with `errno`, or when that is 0 with EPERM (privileged calls) or ENOSYS (unknown ones).
    """
    # In the order of the tables: sorting some 400 names would be felt in a launch.
    granted: dict[str, None] = {}
    refused = dict.fromkeys(REFUSED.split())
    for capability, calls in ALLOWED_WITH.items():
        (granted if capability in capabilities else refused).update(dict.fromkeys(calls.split()))
    if "CAP_SYS_ADMIN" in capabilities:
        granted.update(clone=None, clone3=None)
    allowed = [*ALLOWED.split(), *ALLOWED_ON.get(arch, "").split(), *granted]
    rules: list[dict[str, Any]] = [
        {"names": allowed, "action": ALLOW},
        {"names": [name for name in refused if name not in granted], "action": ERRNO, "errnoRet": errno or _EPERM},
        _rule("socket", 0, "SCMP_CMP_LT", _AF_ALG),
        _rule("socket", 0, "SCMP_CMP_EQ", _AF_ALG + 1),
        # One by one, not "above AF_VSOCK": filters compare 64 bits, and of 2**32 + AF_ALG the kernel reads AF_ALG.
        *[_rule("socket", 0, "SCMP_CMP_EQ", family) for family in range(_AF_VSOCK + 1, _AF_LAST + 1)],
        {**_rule("socket", 0, "SCMP_CMP_EQ", _AF_ALG), "action": ERRNO, "errnoRet": errno or _EAFNOSUPPORT},
        {**_rule("socket", 0, "SCMP_CMP_EQ", _AF_VSOCK), "action": ERRNO, "errnoRet": errno or _EAFNOSUPPORT},
        *[_rule("personality", 0, "SCMP_CMP_EQ", value) for value in _PERSONALITIES],
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules.append(_rule("clone", 1 if arch == "s390x" else 0, "SCMP_CMP_MASKED_EQ", _NAMESPACES, 0))
    return _section(ERRNO, errno or _ENOSYS, arch, rules)


def retain_filter(names: Iterable[str], errno: str, arch: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return (section, notes) of a retain-set: its calls are allowed, all others fail or kill.

    No section for `@appc.io/all`. `notes` name what could not be taken literally.
    """
    names = list(names)
    if "@appc.io/all" in names:
        return None, []
    calls, notes = _expanded(names, arch)
    action, number = _refusal(errno, notes)
    return _section(action, number, arch, [{"names": sorted(calls), "action": ALLOW}] if calls else []), notes


def remove_filter(
    names: Iterable[str], errno: str, capabilities: Collection[str], arch: str
) -> tuple[dict[str, Any], list[str]]:
    """Return (section, notes) of a remove-set: its calls fail or kill, and so do a few no app can use.

    `@appc.io/empty` asks for the default filter instead.
    """
    names = list(names)
    if "@appc.io/empty" in names:
        notes: list[str] = []
        return default_filter(capabilities, arch, _refusal(errno, notes)[1]), notes
    calls, notes = _expanded(names, arch)
    calls.update(ALWAYS_REMOVED.split())
    action, number = _refusal(errno, notes)
    rule: dict[str, Any] = {"names": sorted(calls), "action": action}
    if action == ERRNO:
        rule["errnoRet"] = number
    return _section(ALLOW, 0, arch, [rule]), notes


def whitelist(arch: str) -> set[str]:
    """Return the calls behind `@docker/default-whitelist` and `@rkt/default-whitelist`."""
    conditional = {"chroot", "clone", "personality", "socket"}
    return {*ALLOWED.split(), *ALLOWED_ON.get(arch, "").split(), *conditional}


def _section(action: str, errno: int, arch: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    section: dict[str, Any] = {"defaultAction": action}
    if action == ERRNO:
        section["defaultErrnoRet"] = errno
    if arch in ARCHITECTURES:
        section["architectures"] = ARCHITECTURES[arch]
    section["syscalls"] = rules
    return section


def _rule(name: str, index: int, operator: str, value: int, second: int | None = None) -> dict[str, Any]:
    argument: dict[str, Any] = {"index": index, "value": value, "op": operator}
    if second is not None:
        argument["valueTwo"] = second
    return {"names": [name], "action": ALLOW, "args": [argument]}


def _refusal(errno: str, notes: list[str]) -> tuple[str, int]:
    if not errno:
        return KILL, 0
    number = errno_number(errno)
    if not number:
        notes.append(f"Linux has no errno {errno}, EPERM is returned instead")
    return ERRNO, number or _EPERM


def _expanded(names: Iterable[str], arch: str) -> tuple[set[str], list[str]]:
    """Resolve the named sets in `names`; return the calls and notes on what has no meaning."""
    calls: set[str] = set()
    notes: list[str] = []
    pending = list(names)
    while pending:
        name = pending.pop()
        if not name.startswith("@"):
            calls.add(name)
        elif name in ("@docker/default-whitelist", "@rkt/default-whitelist"):
            calls |= whitelist(arch)
        elif name[1:] in SETS:
            pending.extend(SETS[name[1:]].split())
        elif name != "@appc.io/empty":
            notes.append(f"there is no set {name}, it is left out")
    unknown = sorted(calls - _known(arch)) if calls else []
    if unknown:
        notes.append(f"no system call is named {', '.join(unknown)}")
    return calls, notes


def _known(arch: str) -> set[str]:
    tables = (ALLOWED, REFUSED, ALWAYS_REMOVED, OTHERS, *ALLOWED_ON.values(), *ALLOWED_WITH.values(), *SETS.values())
    return whitelist(arch).union(*[table.split() for table in tables])
