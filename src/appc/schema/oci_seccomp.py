"""`linux.seccomp` of an OCI configuration: a filter of system calls (config-linux.md, "Seccomp")."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema.kinds import Faults, Struct, choice, integer, list_of, prefixed, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = prefixed("SCMP_ACT_", "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY")
ARCHITECTURES = prefixed(
    "SCMP_ARCH_",
    "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X"
    " PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB",
)
FLAGS = prefixed("SECCOMP_FILTER_FLAG_", "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV")
OPERATORS = prefixed("SCMP_CMP_", "NE LT LE EQ GE GT MASKED_EQ")
# A blocked call can return a number of its own under these actions only.
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

_uint32 = integer(0, (1 << 32) - 1)
_uint64 = integer(0, (1 << 64) - 1)


def _names(value: Any, faults: Faults) -> Any:
    names = list_of(string)(value, faults)
    if not names:
        raise InvalidValue("must hold at least one system call")
    return names


def _check_rule(rule: dict[str, Any], faults: Faults) -> None:
    if rule.get("errnoRet") is not None and rule["action"] not in WITH_ERRNO:
        faults.add(f"has no meaning with {rule['action']}", "errnoRet")


def _check_filter(value: dict[str, Any], faults: Faults) -> None:
    if value.get("defaultErrnoRet") is not None and value["defaultAction"] not in WITH_ERRNO:
        faults.add(f"has no meaning with {value['defaultAction']}", "defaultErrnoRet")
    if value.get("listenerMetadata") and not value.get("listenerPath"):
        faults.add("must not be given without listenerPath", "listenerMetadata")
    if value["defaultAction"] == "SCMP_ACT_NOTIFY":
        faults.add("cannot be an agent's: it would have to allow the calls that reach it", "defaultAction")
    for index, rule in enumerate(value.get("syscalls") or ()):
        if isinstance(rule, dict) and rule.get("action") == "SCMP_ACT_NOTIFY" and not value.get("listenerPath"):
            faults.add("needs a listenerPath", f"syscalls[{index}].action")


RULE = Struct(
    {
        "names": _names,
        "action": choice(*ACTIONS),
        "errnoRet": _uint32,
        "args": list_of(
            Struct(
                {"index": integer(0, 5), "value": _uint64, "valueTwo": _uint64, "op": choice(*OPERATORS)},
                required=("index", "value", "op"),
            )
        ),
    },
    required=("names", "action"),
    check=_check_rule,
)

SECCOMP = Struct(
    {
        "defaultAction": choice(*ACTIONS),
        "defaultErrnoRet": _uint32,
        "architectures": list_of(choice(*ARCHITECTURES)),
        "flags": list_of(choice(*FLAGS)),
        "listenerPath": string,
        "listenerMetadata": string,
        "syscalls": list_of(RULE),
    },
    required=("defaultAction",),
    check=_check_filter,
)
