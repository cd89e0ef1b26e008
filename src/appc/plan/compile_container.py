"""The plan of a single container, as OCI runtimes make them.

Its first process is the user's own: the keeper makes it, runs the hooks, and leaves it to wait for its start.
"""

from __future__ import annotations

from appc.errors import AppcError, Unenforceable
from appc.plan.check import KEEPER, check
from appc.plan.compile_cgroups import membership
from appc.plan.compile_common import UNSHARED, before_joins, joins, namespace_types, refuse_unsupported, sandbox_ops
from appc.plan.compile_keeper import HOOKS, Handles, agent_ops, pidfd_ops, process_op
from appc.plan.compile_process import process_ops
from appc.plan.compile_root import RootBuilder
from appc.plan.constants import CLONE_NEWNS, CLONE_NEWPID, MS_PRIVATE, MS_REC, MS_SLAVE, NAMESPACES
from appc.plan.ops import Op, Plan, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.compile_root import RootFS
    from appc.plan.facts import Facts

    # A network device: its name on the host, its name inside, (address, prefix) it keeps, and whether it is up.
    NetDevice = tuple[str, str, Sequence[tuple[str, int]], bool]

CONTAINER = "container"
# Kinds of hooks that the keeper runs while it makes a container, and whether in its namespaces. Of the others
# startContainer is run by the process itself, the rest by who starts and who deletes it.
_MADE_WITH = (("prestart", 0), ("createRuntime", 0), ("createContainer", 1))
# What a container without `process` waits as, until it is deleted.
_NO_PROCESS = {"cwd": "/", "args": ["/"]}


def compile_container(
    config: Mapping[str, Any],
    *,
    root: RootFS,
    facts: Facts,
    bundle: str,
    cgroups: Sequence[str] = (),
    device_filters: Sequence[tuple[str, bytes]] = (),
    seccomp: bytes | None = None,
    hints: Mapping[str, tuple[str, ...]] | None = None,
    keyring: str = "",
    state: tuple[str, str] = ("", ""),
    start_state: tuple[str, str] = ("", ""),
    agent_state: tuple[str, ...] = (),
    net_devices: Sequence[NetDevice] = (),
    handles: Handles | None = None,
    no_pivot: bool = False,
    detached: bool = True,
    awaits_start: bool = True,
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that makes the container of `config`.

    With `awaits_start` its process waits for that; a `detached` one outlives its keeper. The states are what hooks are
    told before and after the pid, those that run while it is made and those that run at its start, and what the agent
    of its filter is told around each place of the pid. `no_pivot` moves the root instead. The rest is `compile_app`'s.
    Raises AppcError, with the field's path, for what cannot be honoured.
    """
    refuse_unsupported(config, HOOKS)
    handles = handles or Handles()
    waits_only = not config.get("process")
    if waits_only:
        config = {**config, "process": _NO_PROCESS}
    types = namespace_types(config)
    for field in ("hostname", "domainname"):
        if config.get(field) and "uts" not in types:
            raise AppcError("needs a uts namespace, it would change the host's", field)
    made = [kind for kind, path in types.items() if not path]
    apart = "mount" not in made
    ops = [Op("adopt", NAMESPACES[kind][0], path, source="linux.namespaces") for kind, path in types.items() if path]
    if apart and "mount" not in types:
        ops.append(Op("adopt", CLONE_NEWNS, "/proc/self/ns/mnt", source="linux.namespaces"))
    linux = config.get("linux") or {}
    in_user = "user" in types
    if in_user:
        from appc.plan.compile_user import check_user, keeper_ops

        check_user(config)
        ops += keeper_ops(config, types)
    ops += [Op("device-filter", group, code, source="linux.resources.devices") for group, code in device_filters]
    if not awaits_start:
        ops += agent_ops(linux, agent_state)
    born, files = membership(cgroups, facts)
    flags = CLONE_NEWPID if "pid" in made and not in_user else 0
    ops.append(process_op(CONTAINER, config, flags, handles, born, detached))
    before = [*pidfd_ops(handles), *_net_devices(net_devices, types), *_hooks(config, state)]
    ops += [*before, Op("proceed", handles.pid_file, source="appc"), Op("ready", source="appc")]
    if not detached:
        ops.append(Op("wait", source="appc"))
    inside = [Op("cgroup", file, source="linux.cgroupsPath") for file in files]
    builder = RootBuilder(config, root, facts, cgroups=cgroups, hints=hints, bundle=bundle, alone=True)
    rooted = builder.build()
    if apart:
        _refuse_propagation(config, types, builder.propagated())
    inside += builder.trees
    inside += before_joins(config, types)
    joined = [kind for kind, path in types.items() if (path or kind == "user") and kind not in ("pid", "mount")]
    inside += joins(joined, facts, born="pid" in made)
    # One that has no mount namespace of its own leaves the one its root is made in.
    flags = sum(NAMESPACES[kind][0] for kind in made if kind in UNSHARED) | CLONE_NEWNS
    inside.append(Op("unshare", flags, source="linux.namespaces"))
    inside += _clocks(linux, types)
    # What the container mounts is its own business, but for the trees that were taken before.
    private = (linux.get("rootfsPropagation") or "") in ("private", "rprivate")
    inside.append(Op("propagation", MS_REC | (MS_PRIVATE if private else MS_SLAVE), source="linux.rootfsPropagation"))
    pivot = next(index for index, op in enumerate(rooted) if op.name == "pivot")
    if apart:
        rooted[pivot:] = [Op("carry-root", source="linux.namespaces")]
    elif no_pivot:
        rooted[pivot] = Op("move-root", source="root.path")
    if before:
        rooted.insert(pivot, Op("sync", "created", source="hooks"))
    inside += rooted
    inside += sandbox_ops(config, [*made, "uts"] if "uts" in types else made, types)
    inside += _links(net_devices)
    found = [] if warnings is None else warnings
    becoming = process_ops(
        config,
        facts,
        seccomp,
        keyring,
        found,
        detached=detached,
        awaits_start=awaits_start,
        in_user=in_user,
        start_hooks=_start_hooks(config, start_state),
        sockets=handles.preserved,
    )
    inside += [op for op in becoming if op.name != "program" or not waits_only]
    plan = Plan([Track(KEEPER, ops), Track(CONTAINER, inside)], facts.as_text())
    check(plan)
    return plan


def _refuse_propagation(config: Mapping[str, Any], types: Mapping[str, str], mounts: Sequence[int]) -> None:
    """Unenforceable for what only mounts in a namespace can do, for a container that has no such namespace."""
    reason = "only mounts in a mount namespace of the container's own have a propagation"
    if "user" in types and "mount" not in types:
        raise Unenforceable("a container with a user namespace needs a mount namespace, too", "linux.namespaces")
    if (config["linux"].get("rootfsPropagation") or "private").removeprefix("r") != "private":
        raise Unenforceable(reason, "linux.rootfsPropagation")
    if mounts:
        raise Unenforceable(reason, f"mounts[{mounts[0]}].options")


def _clocks(linux: Mapping[str, Any], types: Mapping[str, str]) -> list[Op]:
    """Return the op for a new time namespace, none when there is none."""
    offsets = linux.get("timeOffsets") or {}
    if types.get("time", "none") != "":
        if offsets:
            raise AppcError("needs a new time namespace", "linux.timeOffsets")
        return []
    lines = tuple(
        f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}"
        for clock, offset in offsets.items()
        if offset
    )
    return [Op("clocks", lines, source="linux.timeOffsets")]


def _net_devices(devices: Sequence[NetDevice], types: Mapping[str, str]) -> list[Op]:
    """Return the keeper's ops that move network devices into the container."""
    if devices and "network" not in types:
        raise AppcError("needs a network namespace", "linux.netDevices")
    return [Op("net-device", name, new, source=f"linux.netDevices.{name}") for name, new, _, _ in devices]


def _links(devices: Sequence[NetDevice]) -> list[Op]:
    """Return the ops that give moved network devices what they had: addresses go when a device leaves."""
    ops = []
    for name, new, addresses, is_up in devices:
        where = f"linux.netDevices.{name}"
        ops += [Op("address", new, address, prefix, source=where) for address, prefix in addresses]
        if is_up:
            ops.append(Op("link-up", new, source=where))
    return ops


def _start_hooks(config: Mapping[str, Any], state: tuple[str, str]) -> list[Op]:
    ops = []
    for index, hook in enumerate((config.get("hooks") or {}).get("startContainer") or ()):
        ops.append(Op("start-hook", *_command(hook), state, source=f"hooks.startContainer[{index}]"))
    return ops


def _hooks(config: Mapping[str, Any], state: tuple[str, str]) -> list[Op]:
    """Return the ops for the hooks that run while the container is made, in their order."""
    ops = []
    for kind, inside in _MADE_WITH:
        for index, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
            ops.append(Op("hook", *_command(hook), inside, state, source=f"hooks.{kind}[{index}]"))
    return ops


def _command(hook: Mapping[str, Any]) -> tuple[str, tuple[str, ...], tuple[str, ...], int]:
    """Return program, arguments, environment, and how long it may take (ms, 0 = as long as it likes)."""
    argv = tuple(hook.get("args") or (hook["path"],))
    return hook["path"], argv, tuple(hook.get("env") or ()), (hook.get("timeout") or 0) * 1000
