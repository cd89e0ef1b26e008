"""The plan of a single container, as OCI runtimes make them, and of a command beside one.

Its first process is the user's own: the keeper makes it, runs the hooks, and leaves it to wait for its start.
"""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.plan.check import KEEPER, check
from appc.plan.compile import (
    UNSHARED,
    before_joins,
    compile_handler,
    joins,
    namespace_types,
    refuse_unsupported,
    sandbox_ops,
)
from appc.plan.compile_cgroups import membership
from appc.plan.compile_process import process_ops
from appc.plan.compile_root import RootBuilder
from appc.plan.constants import CLONE_NEWPID, MS_REC, MS_SLAVE, NAMESPACES
from appc.plan.ops import Op, Plan, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.compile_root import RootFS
    from appc.plan.facts import Facts

CONTAINER = "container"
PROCESS = "process"
# Kinds of hooks: those the keeper runs while it makes a container (and whether in its namespaces), and all that are
# acted on. The others are run by who starts and who deletes it.
_MADE_WITH = (("prestart", 0), ("createRuntime", 0), ("createContainer", 1))
HOOKS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")

INHERIT = ("inherit", "inherit", "inherit")
TERMINAL = ("tty", "tty", "tty")


def compile_container(
    config: Mapping[str, Any],
    *,
    root: RootFS,
    facts: Facts,
    bundle: str,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    hints: Mapping[str, tuple[str, ...]] | None = None,
    keyring: str = "",
    state: tuple[str, str] = ("", ""),
    console: str = "",
    pid_file: str = "",
    detached: bool = True,
    awaits_start: bool = True,
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that makes the container of `config`.

    With `awaits_start` its process waits for that; a `detached` one outlives its keeper. `console` is the socket its
    terminal is sent to, `state` what hooks are told before and after the pid. The rest is `compile_app`'s.
    Raises AppcError, with the field's path, for what cannot be honoured.
    """
    refuse_unsupported(config, HOOKS)
    types = namespace_types(config)
    made = [kind for kind, path in types.items() if not path]
    if "mount" not in made:
        raise Unenforceable("a container needs a mount namespace of its own", "linux.namespaces")
    ops = [Op("adopt", NAMESPACES[kind][0], path, source="linux.namespaces") for kind, path in types.items() if path]
    in_user = "user" in types
    if in_user:
        from appc.plan.compile_user import check_user, keeper_ops

        check_user(config, types)
        ops += keeper_ops(config, types)
    ops.append(
        Op(
            "process",
            CONTAINER,
            CLONE_NEWPID if "pid" in made and not in_user else 0,
            int(detached),
            *(TERMINAL if config["process"].get("terminal") else INHERIT),
            console,
            membership(cgroups, facts)[0],
            source="process",
        )
    )
    hooks = _hooks(config, state)
    ops += [*hooks, Op("proceed", pid_file, source="appc"), Op("ready", source="appc")]
    if not detached:
        ops.append(Op("wait", source="appc"))
    inside = [Op("cgroup", file, source="linux.cgroupsPath") for file in membership(cgroups, facts)[1]]
    builder = RootBuilder(config, root, facts, cgroups=cgroups, hints=hints, bundle=bundle)
    rooted = builder.build()
    inside += builder.trees
    inside += before_joins(config, types)
    joined = [kind for kind, path in types.items() if (path or kind == "user") and kind != "pid"]
    inside += joins(joined, facts, born="pid" in made)
    flags = sum(NAMESPACES[kind][0] for kind in made if kind in UNSHARED)
    inside.append(Op("unshare", flags, source="linux.namespaces"))
    # What the container mounts is its own business, unless told otherwise below.
    inside.append(Op("propagation", MS_REC | MS_SLAVE, source="linux.rootfsPropagation"))
    if hooks:
        pivot = next(index for index, op in enumerate(rooted) if op.name == "pivot")
        rooted.insert(pivot, Op("sync", "created", source="hooks"))
    inside += rooted
    inside += sandbox_ops(config, made, types)
    found = [] if warnings is None else warnings
    inside += process_ops(
        config, facts, seccomp, keyring, found, detached=detached, awaits_start=awaits_start, in_user=in_user
    )
    plan = Plan([Track(KEEPER, ops), Track(CONTAINER, inside)], facts.as_text())
    check(plan)
    return plan


def compile_exec(
    config: Mapping[str, Any],
    *,
    pid: int,
    facts: Facts,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    keyring: str = "",
    console: str = "",
    pid_file: str = "",
    detached: bool = False,
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that runs `config`'s process beside the container whose first process is `pid`."""
    ops = []
    for kind in namespace_types(config):
        if kind != "cgroup":
            flag, file = NAMESPACES[kind]
            ops.append(Op("adopt", flag, f"/proc/{pid}/ns/{file}", source="linux.namespaces"))
    modes = TERMINAL if config["process"].get("terminal") else INHERIT
    born = membership(cgroups, facts)[0]
    ops.append(Op("process", PROCESS, 0, int(detached), *modes, console, born, source="process"))
    ops += [Op("proceed", pid_file, source="appc"), Op("ready", source="appc")]
    if not detached:
        ops.append(Op("wait", source="appc"))
    inside = compile_handler(
        config,
        name=PROCESS,
        facts=facts,
        cgroups=cgroups,
        seccomp=seccomp,
        keyring=keyring,
        warnings=warnings,
        detached=detached,
        hooks=HOOKS,
    )
    plan = Plan([Track(KEEPER, ops), inside], facts.as_text())
    check(plan)
    return plan


def _hooks(config: Mapping[str, Any], state: tuple[str, str]) -> list[Op]:
    """Return the ops for the hooks that run while the container is made, in their order."""
    ops = []
    for kind, inside in _MADE_WITH:
        for index, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
            argv = tuple(hook.get("args") or (hook["path"],))
            timeout = (hook.get("timeout") or 0) * 1000
            where = f"hooks.{kind}[{index}]"
            ops.append(
                Op("hook", hook["path"], argv, tuple(hook.get("env") or ()), timeout, inside, state, source=where)
            )
    return ops
