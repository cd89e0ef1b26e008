"""What tracks of pods, of single containers and of commands beside these have in common.

The namespaces they join and make, and the fields that nothing acts on.
"""

from __future__ import annotations

from appc.abi import is_own_sysctl
from appc.errors import AppcError, Unenforceable
from appc.plan.compile_process import limit_ops
from appc.plan.constants import NAMESPACES
from appc.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from appc.plan.facts import Facts

# The mount namespace is joined last: cgroups and namespaces are found by paths of the host.
_JOIN_ORDER = ("network", "ipc", "uts", "time", "cgroup", "mount")
# Those a process may leave for a new one by itself; "pid" is made when the process is.
UNSHARED = ("mount", "cgroup", "network", "ipc", "uts")


def namespace_types(config: Mapping[str, Any]) -> dict[str, str]:
    """Return type → path ("" = a new one) of `linux.namespaces`; AppcError for unknown and repeated types."""
    types: dict[str, str] = {}
    for index, namespace in enumerate((config.get("linux") or {}).get("namespaces") or ()):
        kind, where = namespace["type"], f"linux.namespaces[{index}]"
        if kind not in NAMESPACES:
            raise AppcError(f"there is no namespace type {kind}", f"{where}.type")
        if kind in types:
            raise AppcError(f"{kind} is given twice", f"{where}.type")
        types[kind] = namespace.get("path") or ""
    linux = config.get("linux") or {}
    if "user" in types or linux.get("uidMappings") or linux.get("gidMappings"):
        from appc.plan.compile_user import check_mappings

        check_mappings(config, types)
    return types


def joins(kinds: Collection[str], facts: Facts, *, born: bool = False) -> list[Op]:
    """Return the ops that join namespaces of these `kinds`, in the order that lets each be joined.

    With `born` the process is born again, into a new process namespace, when it has joined a user namespace.
    """
    ordered = [kind for kind in _JOIN_ORDER if kind in kinds]
    ops = [Op("join", NAMESPACES[kind][0], source="linux.namespaces") for kind in ordered]
    if "user" not in kinds:
        return ops
    from appc.plan.compile_user import join_user

    return join_user(ops, facts, born)


def before_joins(config: Mapping[str, Any], types: Mapping[str, str]) -> list[Op]:
    """Return the ops on a process's own behalf that come before its user namespace, if it has one, is joined."""
    if "user" not in types:
        return []
    from appc.plan.compile_user import output_ops

    return [*limit_ops(config), *output_ops(config)]


def sandbox_ops(config: Mapping[str, Any], made: Collection[str], own: Collection[str]) -> list[Op]:
    """Return the ops that set up namespaces: names and loopback of those just `made`, parameters of all its `own`."""
    ops = []
    for field in ("hostname", "domainname"):
        if config.get(field) and "uts" in made:
            ops.append(Op(field, config[field], source=field))
    if "network" in made:
        ops.append(Op("link-up", "lo", source="linux.namespaces"))
    for key, value in ((config.get("linux") or {}).get("sysctl") or {}).items():
        where = f"linux.sysctl.{key}"
        if not is_own_sysctl(key, own):
            raise Unenforceable("is not a parameter of the container's own namespaces, it would change the host", where)
        ops.append(Op("sysctl", key, str(value), source=where))
    return ops


# Fields no op stands for: (path, reason).
_UNSUPPORTED = (("linux.intelRdt", "Intel RDT is not supported"),)
# Fields that only `compile_container` acts on.
_ALONE = (
    ("linux.netDevices", "an app of a pod gets no network devices of its own"),
    ("linux.timeOffsets", "an app of a pod has no time namespace"),
    ("process.execCPUAffinity", "an app of a pod has no CPU affinity"),
)


def refuse_unsupported(config: Mapping[str, Any], hooks: Collection[str] = ()) -> None:
    """Raise Unenforceable, with its path, for the first field that is set and that nothing here acts on.

    Whoever acts on kinds of `hooks` makes a container alone, or a process beside one, and acts on what only those have.
    """
    for path, reason in _UNSUPPORTED if hooks else _UNSUPPORTED + _ALONE:
        section, _, key = path.partition(".")
        if (config.get(section) or {}).get(key):
            raise Unenforceable(reason, path)
    for name, given in (config.get("hooks") or {}).items():
        if given and name not in hooks:
            raise Unenforceable("hooks of this kind are not supported", f"hooks.{name}")
    for index, rule in enumerate(((config.get("linux") or {}).get("seccomp") or {}).get("syscalls") or ()):
        if rule["action"] == "SCMP_ACT_NOTIFY" and not hooks:
            raise Unenforceable("seccomp agents are not supported", f"linux.seccomp.syscalls[{index}].action")
