"""From OCI configurations to tracks: an app, a command beside it, and the sandbox of a pod.

The same functions serve pods and single containers: what a container shares is an argument. A field
that cannot be honoured raises AppcError with its path; nothing is dropped in silence.
"""

from __future__ import annotations

from appc.abi import is_own_sysctl
from appc.errors import AppcError, Unenforceable
from appc.plan.compile_cgroups import membership
from appc.plan.compile_process import limit_ops, process_ops
from appc.plan.compile_root import RootBuilder, console
from appc.plan.constants import CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWPID, NAMESPACES, SIGKILL
from appc.plan.ops import Op, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from appc.plan.compile_root import RootFS
    from appc.plan.facts import Facts

# What the apps of a pod have in common (pods.md).
POD_NAMESPACES = ("pid", "network", "ipc", "uts")
# The mount namespace is joined last: cgroups and namespaces are found by paths of the host.
_JOIN_ORDER = ("network", "ipc", "uts", "time", "cgroup", "mount")
# Those a process may leave for a new one by itself; "pid" is made when the process is.
UNSHARED = ("mount", "cgroup", "network", "ipc", "uts")

_SANDBOX_SIZE = ("mode=0555", "size=4k")


def compile_app(
    config: Mapping[str, Any],
    *,
    name: str,
    root: RootFS,
    facts: Facts,
    cgroups: Sequence[str] = (),
    shared: Collection[str] = POD_NAMESPACES,
    seccomp: bytes | None = None,
    hints: Mapping[str, tuple[str, ...]] | None = None,
    files: Sequence[tuple[str, int, bytes, bool]] = (),
    bundle: str = "",
    keyring: str = "",
    warnings: list[str] | None = None,
    sockets: int = 0,
) -> Track:
    """Return the track `name` that becomes the container of `config`.

    `cgroups` are the groups it is in (the cgroup2 one from birth: see `membership`); `shared` the namespace types
    it joins, all others of `linux.namespaces` are its own (a pid namespace is made by who starts the track);
    `seccomp` is the program for `linux.seccomp`. `hints` tells by destination what the compiler must know of bind
    mounts (words of compile_root); `files` are (path, mode, content, replace) to make, where the root has something at
    that path only if `replace` is set.
    Relative sources are relative to `bundle`. `sockets` is `process_ops`'. Warnings are appended to `warnings`.
    """
    refuse_unsupported(config)
    ops = [Op("cgroup", file, source="linux.cgroupsPath") for file in membership(cgroups, facts)[1]]
    types = namespace_types(config)
    if types.get("time", "joined") == "":
        raise Unenforceable("an app of a pod has no time namespace of its own", "linux.namespaces")
    builder = RootBuilder(config, root, facts, cgroups=cgroups, hints=hints, files=files, bundle=bundle)
    rooted = builder.build()
    ops += builder.trees
    ops += before_joins(config, types)
    joined = [kind for kind, path in types.items() if kind in shared or path or kind == "user"]
    ops += joins([kind for kind in joined if kind != "pid"], facts)
    made = [kind for kind in types if kind not in joined]
    flags = sum(NAMESPACES[kind][0] for kind in made if kind in UNSHARED)
    if flags:
        ops.append(Op("unshare", flags, source="linux.namespaces"))
    if "mount" not in made:
        raise Unenforceable("a container needs a mount namespace of its own", "linux.namespaces")
    ops += rooted
    ops += sandbox_ops(config, made, types)
    ops.append(Op("sync", "start", source="appc"))
    found = [] if warnings is None else warnings
    ops += process_ops(config, facts, seccomp, keyring, found, in_user="user" in types, sockets=sockets)
    return Track(name, ops)


def compile_handler(
    config: Mapping[str, Any],
    *,
    name: str,
    facts: Facts,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    keyring: str = "",
    warnings: list[str] | None = None,
    sockets: int = 0,
) -> Track:
    """Return the track `name` of a process beside a running app: an event handler, or a command that enters it.

    It joins the namespaces of the app. Its cgroup namespace alone is new, and the same as the app's: one that begins
    at `cgroups`. `sockets` is `process_ops`'.
    """
    refuse_unsupported(config)
    ops = [Op("cgroup", file, source="linux.cgroupsPath") for file in membership(cgroups, facts)[1]]
    types = namespace_types(config)
    if "cgroup" in types:
        ops.append(Op("unshare", CLONE_NEWCGROUP, source="linux.namespaces"))
    ops += before_joins(config, types)
    ops += joins([kind for kind in types if kind not in ("cgroup", "pid")], facts)
    if config["process"].get("terminal"):
        ops.append(console(config["process"]))
    found = [] if warnings is None else warnings
    ops += process_ops(config, facts, seccomp, keyring, found, in_user="user" in types, sockets=sockets)
    return Track(name, ops)


def compile_init(
    config: Mapping[str, Any],
    *,
    name: str,
    target: str,
    facts: Facts,
    cgroups: Sequence[str] = (),
    metadata_address: str = "",
) -> Track:
    """Return the track of PID 1 of a pod, whose sandbox is `config`; it begins in namespaces of its own.

    It moves into an empty root, mounted over the directory `target`, keeps nothing of the host and no privilege.
    `metadata_address` is added to lo, if the pod has its own network.
    """
    types = namespace_types(config)
    ops = [Op("cgroup", file, source="linux.cgroupsPath") for file in membership(cgroups, facts)[1]]
    # Made before, for this pod alone, by whoever set up its network.
    ops += joins([kind for kind, path in types.items() if path or kind == "user"], facts, born=True)
    if "user" in types:
        from appc.plan.compile_user import act_as

        ops.append(Op("unshare", init_flags(config) & ~CLONE_NEWPID, source="linux.namespaces"))
        ops.append(Op("root-tmpfs", target, _SANDBOX_SIZE, source="appc"))
        ops.append(act_as())
    else:
        ops.append(Op("root-tmpfs", target, _SANDBOX_SIZE, source="appc"))
    ops.append(Op("pivot", source="appc"))
    ops += sandbox_ops(config, types, types)
    if metadata_address and "network" in types:
        ops.append(Op("address", "lo", metadata_address, 32, source="appc"))
    ops.append(Op("bounding", 0, source="appc"))
    ops.append(Op("death-signal", SIGKILL, source="appc"))
    ops.append(Op("caps", 0, 0, 0, 0, source="appc"))
    ops.append(Op("no-new-privs", source="appc"))
    ops.append(Op("reap", source="appc"))
    return Track(name, ops)


def init_flags(config: Mapping[str, Any]) -> int:
    """Return the clone(2) flags of the namespaces PID 1 of the pod with sandbox `config` is made with, or makes."""
    made = [kind for kind, path in namespace_types(config).items() if not path and kind in POD_NAMESPACES]
    return CLONE_NEWNS | CLONE_NEWPID | sum(NAMESPACES[kind][0] for kind in made if kind != "pid")


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
