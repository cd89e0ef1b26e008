"""Building a seccomp program: from `linux.seccomp` of an OCI configuration to BPF.

It takes libseccomp, which knows the numbers of the system calls.
"""

from __future__ import annotations

from appc.errors import InvalidValue, Unenforceable
from appc.host import bpf
from appc.host.libseccomp import Names
from appc.host.seccomp import INSTRUCTION_SIZE, MAX_INSTRUCTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.host.bpf import Condition, Rule

KILL_PROCESS = 0x80000000
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")  # carry 16 bits for errno or tracer
_PERMISSIVE = (_ACTIONS["SCMP_ACT_ALLOW"], _ACTIONS["SCMP_ACT_LOG"])
_OPERATORS = frozenset("SCMP_CMP_" + name for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_EPERM = 1

_X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
_X32 = 0x4000003E  # libseccomp's token
_X32_CALLS = (0x40000000, 0xFFFFFFFE)

# On some architectures one call does the work of many, its first argument says which. The upper half of the
# argument of ipc is a version, and not compared.
_MULTIPLEXED = {
    "socketcall": (
        0xFFFFFFFF,
        "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown "
        "setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg",
    ),
    "ipc": (
        0xFFFF,
        "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl",
    ),
}


def build(section: Mapping[str, Any]) -> bytes:
    """Return the program for a validated section. Raises what `seccomp.filter_bytes` does."""
    names = Names()
    default = _action(section, "defaultAction", "defaultErrnoRet", "linux.seccomp")
    rules = [rule for index, item in enumerate(section.get("syscalls") or ()) for rule in _rules(index, item)]
    tokens = dict.fromkeys((names.native, *(names.architecture(name) for name in section.get("architectures") or ())))
    architectures: dict[int, dict[tuple[int, int], list[bpf.Rule]]] = {}
    for token in tokens:
        calls = _calls(names, token, rules)
        architectures.setdefault(_X86_64 if token == _X32 else token, {}).update(calls)
    if _X86_64 in architectures and _X32 not in tokens:
        # x32 calls come under the same architecture, told apart by a bit of the number. -1 is not among them: it
        # is what a tracer puts there to have a call skipped.
        architectures[_X86_64][_X32_CALLS] = [((), KILL_PROCESS)]
    program = bpf.encode(bpf.assemble(architectures, default, KILL_PROCESS))
    count = len(program) // INSTRUCTION_SIZE
    if count > MAX_INSTRUCTIONS:
        raise Unenforceable(f"needs {count} BPF instructions, the kernel takes {MAX_INSTRUCTIONS}", "linux.seccomp")
    return program


def _calls(
    names: Names, token: int, rules: Sequence[tuple[str, tuple[Condition, ...], int]]
) -> dict[tuple[int, int], list[Rule]]:
    """Return the rules of one architecture by call number, in their order; calls it does not have are left out."""
    calls: dict[tuple[int, int], list[Rule]] = {}
    derived: dict[tuple[int, int], list[Rule]] = {}
    for name, conditions, action in rules:
        number = names.call(token, name)
        if number >= 0:
            calls.setdefault((number, number), []).append((conditions, action))
        for call, (mask, members) in _MULTIPLEXED.items():
            number = names.call(token, call) if name in members.split() else -1
            # The arguments lie in memory there, out of a filter's sight: what is allowed only under conditions
            # is not allowed this way, and what is refused under conditions is refused altogether.
            if number >= 0 and (not conditions or action not in _PERMISSIVE):
                which = (0, "SCMP_CMP_MASKED_EQ", mask, members.split().index(name) + 1)
                derived.setdefault((number, number), []).append(((which,), action))
    # A rule for the multiplexing call itself comes first: it was meant to decide.
    for key, found in derived.items():
        calls.setdefault(key, []).extend(found)
    return calls


def _rules(index: int, item: Mapping[str, Any]) -> list[tuple[str, tuple[Condition, ...], int]]:
    """Take one entry of `syscalls` apart into (name, conditions, action)."""
    where = f"linux.seccomp.syscalls[{index}]"
    action = _action(item, "action", "errnoRet", where)
    alternatives = _alternatives(item.get("args") or (), where)
    return [(name, conditions, action) for name in item["names"] for conditions in alternatives]


def _action(section: Mapping[str, Any], name: str, errno_name: str, where: str) -> int:
    action = section[name]
    errno = section.get(errno_name)
    number = _ACTIONS.get(action)
    if number is None:
        raise InvalidValue(f"no seccomp action is called {action}", f"{where}.{name}")
    if action in _WITH_NUMBER:
        return number | (_EPERM if errno is None else int(errno) & 0xFFFF)
    if errno is not None:
        raise InvalidValue(f"{action} returns no errno", f"{where}.{errno_name}")
    return number


def _alternatives(arguments: Sequence[Mapping[str, Any]], where: str) -> list[tuple[Condition, ...]]:
    """Return the conditions of a rule as alternatives of conjunctions.

    All conditions must hold, unless two are about the same argument: then any one suffices, which is how
    profiles written for OCI runtimes mean it.
    """
    conditions = []
    for number, argument in enumerate(arguments):
        if argument["op"] not in _OPERATORS:
            raise InvalidValue(f"no comparison is called {argument['op']}", f"{where}.args[{number}].op")
        if not 0 <= argument["index"] <= 5:
            raise InvalidValue("a system call has the arguments 0 to 5", f"{where}.args[{number}].index")
        conditions.append((argument["index"], argument["op"], argument["value"], argument.get("valueTwo") or 0))
    if len({condition[0] for condition in conditions}) == len(conditions):
        return [tuple(conditions)]
    return [(condition,) for condition in conditions]
