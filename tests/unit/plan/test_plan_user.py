"""Plans of containers in user namespaces: what is done before one is joined, and what after."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from compiling import config, named

from appc.errors import AppcError, LaunchError
from appc.plan.check import check
from appc.plan.compile_container import CONTAINER, compile_container
from appc.plan.compile_exec import PROCESS, compile_exec
from appc.plan.compile_root import RootFS
from appc.plan.compile_user import cgroup_owner, outside
from appc.plan.constants import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from appc.plan.ops import TREE_MAPPED, TREE_RECURSIVE, Op, Plan
from golden.examples import facts

MAPPING = [{"containerID": 0, "hostID": 5000, "size": 10}, {"containerID": 10, "hostID": 7000, "size": 1}]
BIND = {"destination": "/x", "source": "/d", "options": ["rbind"]}


def user(**changes: Any) -> dict[str, Any]:
    """A configuration in a new user namespace that joins a network of the host's."""
    kinds = [{"type": kind} for kind in ("pid", "mount", "user")]
    linux = {
        "namespaces": [*kinds, {"type": "network", "path": "/run/netns/x"}],
        "uidMappings": MAPPING,
        "gidMappings": MAPPING,
    }
    changes["linux"] = {**linux, **changes.get("linux", {})}
    return config(**changes)


def container(given: dict[str, Any], **options: Any) -> Plan:
    return compile_container(given, root=RootFS("/b/rootfs"), facts=options.pop("facts", facts()), bundle="/b")


def names(plan: Plan, track: str = CONTAINER) -> list[str]:
    return [op.name for op in plan.track(track).ops]


def test_the_host_s_privileges_are_used_before_and_the_namespaces_made_after() -> None:
    given = user(
        mounts=[BIND],
        process={"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}], "oomScoreAdj": -5},
    )
    plan = container(given)
    assert named(plan.track("keeper").ops, "userns") == [(("0 5000 10", "10 7000 1"),) * 2]
    assert named(plan.track("keeper").ops, "process")[0][1] == 0, "PID 1 is born later"
    assert names(plan)[:13] == [
        *("tree", "tree", "rlimit", "oom-score-adj", "own-output", "join", "join", "fork", "unshare", "propagation"),
        *("root-bind", "act-as", "mkdir"),
    ]
    inside = plan.track(CONTAINER).ops
    assert named(inside, "join") == [(CLONE_NEWNET,), (CLONE_NEWUSER,)]
    assert named(inside, "fork") == [(CLONE_NEWPID,)]
    assert named(inside, "own-output") == [(5000,)]
    assert named(inside, "root-bind") == [("#0", "/b/rootfs")]
    assert named(inside, "tree") == [("/b/rootfs", TREE_RECURSIVE, (), ()), ("/d", TREE_RECURSIVE, (), ())]
    assert ("#1", "/x", 1, 0) in named(inside, "bind")
    assert not named(inside, "mknod"), "nobody makes devices in a user namespace"


def test_who_is_not_privileged_joins_the_namespace_of_users_first() -> None:
    joins = named(container(user(), facts=facts(caps=0)).track(CONTAINER).ops, "join")
    assert joins == [(CLONE_NEWUSER,), (CLONE_NEWNET,)]


def test_capabilities_are_not_bounded_by_the_host_s() -> None:
    given = user(process={"capabilities": dict.fromkeys(("bounding", "effective", "permitted"), ("CAP_SYS_ADMIN",))})
    assert named(container(given, facts=facts(caps=0)).track(CONTAINER).ops, "bounding") == [(1 << 21,)]


def test_one_joined_by_path_is_not_made() -> None:
    given = user()
    given["linux"] = {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user", "path": "/u"}]}
    plan = container(given)
    assert named(plan.track("keeper").ops, "adopt") == [(CLONE_NEWUSER, "/u")]
    assert "userns" not in names(plan, "keeper")
    assert "own-output" not in names(plan), "who its users are outside is not known"


def test_a_command_beside_joins_it_before_the_mounts() -> None:
    plan = compile_exec(
        user(process={"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}]}), target=(7, 99), facts=facts()
    )
    assert names(plan, PROCESS)[:6] == ["rlimit", "own-output", "join", "join", "act-as", "join"]
    assert named(plan.track(PROCESS).ops, "join") == [(CLONE_NEWNET,), (CLONE_NEWUSER,), (CLONE_NEWNS,)]


@pytest.mark.parametrize(("options", "flags"), [(["bind"], TREE_MAPPED), (["rbind"], TREE_MAPPED | TREE_RECURSIVE)])
def test_a_mount_of_any_container_can_have_its_owners_mapped(options: list[str], flags: int) -> None:
    mount = {**BIND, "options": options, "uidMappings": MAPPING, "gidMappings": MAPPING[:1]}
    inside = container(config(mounts=[mount])).track(CONTAINER).ops
    assert named(inside, "tree") == [("/d", flags, ("0 5000 10", "10 7000 1"), ("0 5000 10",))]
    assert inside[0].name == "tree"


def test_groups_stay_where_nobody_may_change_them() -> None:
    plain = config(linux={"namespaces": [{"type": "mount"}, {"type": "pid"}]})
    host = facts(setgroups=False, initial_userns=False)
    assert named(container(plain, facts=host).track(CONTAINER).ops, "ids") == [(0, 0, ("keep",))]
    plain["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [5]}
    with pytest.raises(AppcError, match="nobody may change groups"):
        container(plain, facts=host)


def test_outside() -> None:
    assert [outside(MAPPING, number) for number in (0, 9, 10, 11)] == [5000, 5009, 7000, None]


def test_a_group_belongs_to_who_can_write_to_it() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["rw"]}
    given = user(mounts=[mount], process={"user": {"uid": 10}})
    assert cgroup_owner(given) is None, "without a namespace it would be its parent's, too"
    given["linux"]["namespaces"].append({"type": "cgroup"})
    assert cgroup_owner(given) == 7000
    given["mounts"] = [{**mount, "options": ["ro"]}]
    assert cgroup_owner(given) is None


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"linux": {"gidMappings": []}}, "linux.gidMappings"),
        ({"linux": {"uidMappings": MAPPING[1:]}}, "linux.uidMappings"),
        ({"linux": {"namespaces": [{"type": "mount"}]}}, "linux.uidMappings"),
        ({"mounts": [{**BIND, "options": ["rbind", "rshared"]}]}, "mounts[0].options"),
        ({"process": {"user": {"uid": 11, "gid": 0}}}, "process.user.uid"),
        ({"process": {"user": {"uid": 1, "gid": 1, "additionalGids": [1, 50]}}}, "process.user.additionalGids[1]"),
    ],
)
def test_refusals(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(AppcError) as caught:
        container(user(**changes))
    assert caught.value.where == where


def moved(plan: Plan, name: str, before: str) -> Plan:
    """The plan with its first op `name` put before the first `before`."""
    ops = plan.track(CONTAINER).ops
    op = next(op for op in ops if op.name == name)
    ops.remove(op)
    ops.insert(next(index for index, other in enumerate(ops) if other.name == before), op)
    return plan


@pytest.mark.parametrize(
    ("name", "before"),
    [("tree", "unshare"), ("own-output", "unshare"), ("fork", "tree"), ("unshare", "own-output"), ("act-as", "sync")],
)
def test_the_order_is_law(name: str, before: str) -> None:
    plan = copy.deepcopy(container(user(mounts=[BIND], hooks={"prestart": [{"path": "/h"}]})))
    with pytest.raises(LaunchError):
        check(moved(plan, name, before))


def test_one_user_namespace_is_enough() -> None:
    plan = copy.deepcopy(container(user()))
    ops = plan.track(CONTAINER).ops
    ops.insert(next(index for index, op in enumerate(ops) if op.name == "fork"), Op("join", CLONE_NEWUSER))
    with pytest.raises(LaunchError, match="second user namespace"):
        check(plan)
