"""What the kernel's schedulers are told of a process: `scheduler`, `ioPriority`, `execCPUAffinity`, `memoryPolicy`,
`personality`.

A module of its own because few containers ask for any of it.
"""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# sched(7), linux/sched.h
_POLICIES = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
_SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)
# linux/ioprio.h
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
# linux/mempolicy.h
_MEMORY_MODES = (
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
)
_MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
# linux/personality.h
_DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
_MOST_BITS = 8192  # native/ops_sched.c
_64_BITS = (1 << 64) - 1


def scheduling_ops(config: Mapping[str, Any]) -> list[Op]:
    """Return the ops for these fields but `execCPUAffinity`. Raises Unenforceable, with the field's path."""
    process, linux = config["process"], config.get("linux") or {}
    ops = []
    if process.get("scheduler"):
        ops.append(_scheduler(process["scheduler"]))
    priority = process.get("ioPriority")
    if priority:
        args = (_IO_CLASSES[priority["class"]], priority.get("priority", 0))
        ops.append(Op("io-priority", *args, source="process.ioPriority"))
    if linux.get("memoryPolicy"):
        ops.append(_memory_policy(linux["memoryPolicy"]))
    personality = linux.get("personality")
    if personality:
        if personality.get("flags"):
            raise Unenforceable("there are no flags of personalities", "linux.personality.flags")
        ops.append(Op("personality", _DOMAINS[personality["domain"]], source="linux.personality"))
    return ops


def affinity(process: Mapping[str, Any], when: str) -> list[Op]:
    """Return the op for `execCPUAffinity`'s `initial` or `final`, none when it is not set."""
    cpus = (process.get("execCPUAffinity") or {}).get(when)
    where = f"process.execCPUAffinity.{when}"
    return [Op("affinity", mask(cpus, where), source=where)] if cpus else []


def mask(numbers: str, where: str) -> bytes:
    """Return a list such as 0-3,7 as the little-endian bits of CPUs or nodes."""
    bits = 0
    for part in numbers.split(","):
        first, _, last = part.strip().partition("-")
        if int(last or first) >= _MOST_BITS:
            raise Unenforceable(f"no kernel knows the number {last or first}", where)
        bits |= (2 << int(last or first)) - (1 << int(first))
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _scheduler(scheduler: Mapping[str, Any]) -> Op:
    flags = sum(1 << _SCHEDULER_FLAGS.index(flag) for flag in set(scheduler.get("flags") or ()))
    return Op(
        "scheduler",
        _POLICIES.index(scheduler["policy"]),
        scheduler.get("nice", 0) & _64_BITS,
        scheduler.get("priority", 0) & _64_BITS,
        flags,
        *(scheduler.get(name, 0) for name in ("runtime", "deadline", "period")),
        source="process.scheduler",
    )


def _memory_policy(policy: Mapping[str, Any]) -> Op:
    flags = sum(_MEMORY_FLAGS[flag] for flag in set(policy.get("flags") or ()))
    nodes = mask(policy["nodes"], "linux.memoryPolicy.nodes") if policy.get("nodes") else b""
    return Op("memory-policy", _MEMORY_MODES.index(policy["mode"]) | flags, nodes, source="linux.memoryPolicy")
