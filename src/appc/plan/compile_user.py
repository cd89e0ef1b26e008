"""A container in a user namespace of its own: its identities, and what is done on the way into it.

What only the host's root may do is done before the namespace is joined: limits are raised, output is handed over,
mounts are copied with their owners mapped. Then the process joins it, is born again where a process namespace is to
belong to it, and acts as its root, so that what it makes belongs to somebody there.
"""

from __future__ import annotations

from appc.abi import CAPABILITY_BITS
from appc.errors import AppcError, Unenforceable
from appc.plan.constants import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from appc.plan.ops import TREE_MAPPED, TREE_RECURSIVE, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.compile_mounts import MountOptions
    from appc.plan.compile_root import RootFS
    from appc.plan.facts import Facts

    Ranges = Sequence[Mapping[str, int]]

_FIELDS = ("uidMappings", "gidMappings")


def lines(ranges: Ranges) -> tuple[str, ...]:
    """Return ID mappings as lines of uid_map (user_namespaces(7))."""
    return tuple(f"{one['containerID']} {one['hostID']} {one['size']}" for one in ranges)


def outside(ranges: Ranges, inside: int) -> int | None:
    """Return the ID of the host that is `inside` in the container, None when it is nobody."""
    for one in ranges:
        if 0 <= inside - one["containerID"] < one["size"]:
            return one["hostID"] + inside - one["containerID"]
    return None


def check_mappings(config: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Raise AppcError, naming the field, for ID mappings that make no user namespace to run in."""
    linux = config.get("linux") or {}
    if "user" not in types:
        for field in _FIELDS:
            if linux.get(field):
                raise AppcError("is for a user namespace, and the container has none", f"linux.{field}")
        return
    if types["user"]:
        return
    for field in _FIELDS:
        ranges = linux.get(field) or ()
        if not ranges:
            raise AppcError("is required for a new user namespace", f"linux.{field}")
        if outside(ranges, 0) is None:
            raise Unenforceable("maps no root, who makes the container", f"linux.{field}")


def check_user(config: Mapping[str, Any], where: str = "") -> None:
    """Raise AppcError for a process's user or groups that its user namespace does not map, where that is known.

    It names the field, with `where` before it.
    """
    linux, user = config.get("linux") or {}, (config.get("process") or {}).get("user") or {}
    ids = [("uid", user.get("uid", 0), "uidMappings"), ("gid", user.get("gid", 0), "gidMappings")]
    ids += [
        (f"additionalGids[{index}]", group, "gidMappings")
        for index, group in enumerate(user.get("additionalGids") or ())
    ]
    for field, number, mappings in ids:
        if linux.get(mappings) and outside(linux[mappings], number) is None:
            raise AppcError(f"{number} is not mapped by linux.{mappings}", f"{where}process.user.{field}")


def keeper_ops(config: Mapping[str, Any], types: Mapping[str, str]) -> list[Op]:
    """Return the ops of the keeper that make the user namespace, if it is a new one."""
    if types.get("user", "-"):
        return []
    linux = config["linux"]
    return [Op("userns", lines(linux["uidMappings"]), lines(linux["gidMappings"]), source="linux.uidMappings")]


def output_ops(config: Mapping[str, Any]) -> list[Op]:
    """Return the op that hands the output over to the process's user, where it is known who that is outside."""
    linux, user = config.get("linux") or {}, (config.get("process") or {}).get("user") or {}
    uid = outside(linux.get("uidMappings") or (), user.get("uid", 0))
    return [] if uid is None else [Op("own-output", uid, source="process.user")]


def cgroup_owner(config: Mapping[str, Any]) -> int | None:
    """Return the host's ID of the user who is to own the container's group of version 2 (runtime-spec, "Cgroup
    ownership"), None for nobody: where it can be written to, and a new cgroup namespace begins at it."""
    linux, user = config.get("linux") or {}, (config.get("process") or {}).get("user") or {}
    own = any(one["type"] == "cgroup" and not one.get("path") for one in linux.get("namespaces") or ())
    writable = any(
        mount.get("type") in ("cgroup", "cgroup2") and "ro" not in (mount.get("options") or ())
        for mount in config.get("mounts") or ()
    )
    return outside(linux.get("uidMappings") or (), user.get("uid", 0)) if own and writable else None


def join_user(others: list[Op], facts: Facts, born: bool) -> list[Op]:
    """Return the ops that join a container's user namespace and the `others`; see `compile.joins`."""
    user = [Op("join", CLONE_NEWUSER, source="linux.namespaces")]
    if born:
        user.append(Op("fork", CLONE_NEWPID, source="linux.namespaces"))
    mount = [op for op in others if op.args[0] == CLONE_NEWNS]
    if mount:
        user.append(act_as())
    others = [op for op in others if op not in mount]
    # Who is not the host's root can join only what belongs to that user namespace.
    privileged = facts.caps >> CAPABILITY_BITS["CAP_SYS_ADMIN"] & 1
    return [*others, *user, *mount] if privileged else [*user, *others, *mount]


def act_as() -> Op:
    """Return the op by which a process becomes root of the user namespace it has joined.

    Whatever it makes in the container comes after that. The way to where its root is mounted comes before: it is open
    to the host's root, or to who called.
    """
    return Op("act-as", 0, 0, source="linux.namespaces")


def overlay_ops(root: RootFS, linux: Mapping[str, Any]) -> list[Op]:
    """Return the ops that lay a root's trees over each other, with their owners as in its user namespace.

    The last one's mount is what the container gets.
    """
    above = root.upper.rpartition("/")[0]
    ops = [Op("tree", path, TREE_MAPPED, (), (), source="root.path") for path in (*root.lowers, above)]
    lowers = tuple(f"#{index}" for index in range(len(root.lowers)))
    layers = (f"#{len(lowers)}/{path.removeprefix(above).lstrip('/')}" for path in (root.upper, root.work))
    ids = [outside(linux.get(field) or (), 0) or 0 for field in _FIELDS]
    return [*ops, Op("overlay", lowers, *layers, root.options, *ids, source="root.path")]


def tree_op(mount: Mapping[str, Any], source: str, options: MountOptions, flags: int, where: str) -> Op:
    """Return the op that copies a bind mount; with its owners mapped, if it says so itself or is to be as its
    container's. `flags` are added."""
    if options.recursive:
        flags |= TREE_RECURSIVE
    if not (options.mapped or mount.get("uidMappings")):
        return Op("tree", source, flags, (), (), source=where)
    uids, gids = (lines(mount.get(field) or ()) for field in _FIELDS)
    return Op("tree", source, flags | TREE_MAPPED, uids, gids, source=f"{where}.uidMappings" if uids else where)
