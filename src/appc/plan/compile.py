"""From OCI configurations to the tracks of a pod: an app, a command beside it, and the sandbox.

A field that cannot be honoured raises AppcError with its path; nothing is dropped in silence.
"""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.plan.compile_cgroups import membership
from appc.plan.compile_common import UNSHARED, before_joins, joins, namespace_types, refuse_unsupported, sandbox_ops
from appc.plan.compile_process import console, process_ops
from appc.plan.compile_root import RootBuilder
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
