"""The plan of a command beside the first process of a container."""

from __future__ import annotations

from appc.plan.check import KEEPER, check
from appc.plan.compile_cgroups import membership
from appc.plan.compile_common import before_joins, joins, namespace_types, refuse_unsupported
from appc.plan.compile_keeper import HOOKS, Handles, agent_ops, pidfd_ops, process_op
from appc.plan.compile_process import console, process_ops
from appc.plan.constants import NAMESPACES, ROOT
from appc.plan.ops import Op, Plan, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.facts import Facts

PROCESS = "process"


def compile_exec(
    config: Mapping[str, Any],
    *,
    target: tuple[int, int],
    facts: Facts,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    keyring: str = "",
    agent_state: tuple[str, ...] = (),
    handles: Handles | None = None,
    detached: bool = False,
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that runs `config`'s process beside a container.

    `target` is the container's first process: its pid, and when it started. The process is put into `cgroups`. The rest
    is `compile_container`'s.
    """
    refuse_unsupported(config, HOOKS)
    handles = handles or Handles()
    process, linux = config["process"], config.get("linux") or {}
    types = namespace_types(config)
    ops = [Op("target", *target, source="appc")]
    for kind in types:
        flag, file = NAMESPACES[kind]
        ops.append(Op("adopt", flag, f"/proc/{target[0]}/ns/{file}", source="linux.namespaces"))
    apart = types.get("mount", "joined") != ""
    if apart:
        ops.append(Op("adopt", ROOT, f"/proc/{target[0]}/root", source="root.path"))
    ops += agent_ops(linux, agent_state)
    born, files = membership(cgroups, facts)
    before: list[Op] = []
    after: list[Op] = []
    if process.get("execCPUAffinity"):
        from appc.plan.compile_scheduling import affinity

        before, after = affinity(process, "initial"), affinity(process, "final")
        if before and born:
            # To be on other processors before it comes into its group it must not be born there.
            born, files = "", (f"{born}/cgroup.procs", *files)
    ops += [process_op(PROCESS, config, 0, handles, born, detached), *pidfd_ops(handles)]
    ops += [Op("proceed", handles.pid_file, source="appc"), Op("ready", source="appc")]
    if not detached:
        ops.append(Op("wait", source="appc"))
    inside = [Op("sync", "created", source="appc")] if handles.pidfd else []
    inside += [*before, *(Op("cgroup", file, source="linux.cgroupsPath") for file in files), *after]
    inside += before_joins(config, types)
    inside += joins([kind for kind in types if kind != "pid"], facts)
    if apart:
        inside.append(Op("join", ROOT, source="root.path"))
    if process.get("terminal"):
        inside.append(console(process))
    found = [] if warnings is None else warnings
    inside += process_ops(
        config, facts, seccomp, keyring, found, detached=detached, in_user="user" in types, sockets=handles.preserved
    )
    plan = Plan([Track(KEEPER, ops), Track(PROCESS, inside)], facts.as_text())
    check(plan)
    return plan
