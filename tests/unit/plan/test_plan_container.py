"""The plan of a single container, as OCI runtimes make them, and the law it obeys."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from compiling import config, named

from appc.errors import AppcError, LaunchError
from appc.plan.check import check
from appc.plan.compile_container import CONTAINER, compile_container
from appc.plan.compile_exec import PROCESS, compile_exec
from appc.plan.compile_keeper import Handles
from appc.plan.compile_root import RootFS
from appc.plan.constants import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, ELOOP, ROOT, SIGKILL
from appc.plan.ops import BIND_ANEW, BIND_RECURSIVE, TREE_PEER, TREE_RECURSIVE, Op, Plan
from golden.examples import facts

NAMESPACES = {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network", "path": "/run/netns/x"}]}


def container(given: dict[str, Any], **options: Any) -> Plan:
    return compile_container(given, root=RootFS("/b/rootfs"), facts=facts(), bundle="/b", **options)


def names(plan: Plan, track: str) -> list[str]:
    return [op.name for op in plan.track(track).ops]


def test_a_container_awaits_its_start_without_its_privileges_and_outlives_its_keeper() -> None:
    plan = container(config(linux=NAMESPACES), handles=Handles(pid_file="/p", console="/c"))
    assert names(plan, "keeper") == ["adopt", "process", "proceed", "ready"]
    (process,) = named(plan.track("keeper").ops, "process")
    assert process == (CONTAINER, CLONE_NEWPID, 1, "inherit", "inherit", "inherit", "/c", "")
    inside = plan.track(CONTAINER).ops
    assert named(inside, "join") == [(CLONE_NEWNET,)]
    assert named(inside, "unshare") == [(CLONE_NEWNS,)]
    assert named(inside, "death-signal") == [(0,)]
    tail = [name for name in names(plan, CONTAINER) if name in ("program", "bounding", "ids", "await-start", "exec")]
    assert tail == ["program", "bounding", "ids", "await-start", "exec"]


def test_with_no_new_privs_only_the_filter_comes_after_the_start() -> None:
    given = config(
        linux={**NAMESPACES, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}, process={"noNewPrivileges": True}
    )
    plan = container(given, seccomp=b"\x06\0\0\0\0\0\xff\x7f")
    assert names(plan, CONTAINER)[-5:] == ["caps", "await-start", "no-new-privs", "seccomp", "exec"]
    given["process"]["noNewPrivileges"] = False
    plan = container(given, seccomp=b"\x06\0\0\0\0\0\xff\x7f")
    assert names(plan, CONTAINER)[-4:] == ["await-start", "seccomp", "caps", "exec"]


def test_one_that_is_waited_for_dies_with_its_keeper() -> None:
    plan = container(config(linux=NAMESPACES), detached=False, awaits_start=False)
    assert names(plan, "keeper")[-2:] == ["ready", "wait"]
    assert named(plan.track(CONTAINER).ops, "death-signal") == [(SIGKILL,)]
    assert "await-start" not in names(plan, CONTAINER)


def test_hooks_run_while_the_host_is_still_in_sight() -> None:
    one = {"path": "/h", "args": ["h", "x"], "env": ["A=b"], "timeout": 3}
    given = config(linux=NAMESPACES, hooks={"createContainer": [one], "prestart": [{"path": "/p"}], "poststop": [one]})
    plan = container(given, state=("before", "after"))
    assert named(plan.track("keeper").ops, "hook") == [
        ("/p", ("/p",), (), 0, 0, ("before", "after")),
        ("/h", ("h", "x"), ("A=b",), 3000, 1, ("before", "after")),
    ]
    inside = plan.track(CONTAINER).ops
    assert inside.index(Op("sync", "created", source="hooks")) + 1 == names(plan, CONTAINER).index("pivot")


def test_a_terminal_has_the_size_it_is_told() -> None:
    mounts = [{"destination": "/dev/pts", "type": "devpts"}]
    size = {"height": 7, "width": 70000}
    plan = container(config(linux=NAMESPACES, mounts=mounts, process={"terminal": True, "consoleSize": size}))
    assert named(plan.track(CONTAINER).ops, "console") == [(7, 65535)]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"linux": {"namespaces": [{"type": "mount"}], "timeOffsets": {"boottime": {"secs": 1}}}}, "linux.timeOffsets"),
        ({"linux": {"namespaces": [{"type": "mount"}], "intelRdt": {"closID": "x"}}}, "linux.intelRdt"),
        ({"linux": {"namespaces": [], "rootfsPropagation": "shared"}}, "linux.rootfsPropagation"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, "linux.uidMappings"),
    ],
)
def test_refusals(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(AppcError) as caught:
        container(config(**changes))
    assert caught.value.where == where


def test_a_command_beside_it_joins_all_it_has() -> None:
    plan = compile_exec(config(linux=NAMESPACES), target=(7, 99), facts=facts(), detached=True)
    assert plan.track("keeper").ops[0] == Op("target", 7, 99, source="appc")
    assert [path for _, path in named(plan.track("keeper").ops, "adopt")] == [
        "/proc/7/ns/pid",
        "/proc/7/ns/mnt",
        "/proc/7/ns/net",
    ]
    assert names(plan, PROCESS)[0] == "join"
    assert "await-start" not in names(plan, PROCESS)


def test_a_command_is_on_its_processors_before_it_comes_into_its_group() -> None:
    given = config(linux=NAMESPACES, process={"execCPUAffinity": {"initial": "0-1", "final": "9"}})
    host = facts(cgroup="v2", unified="/cg", controllers={})
    plan = compile_exec(given, target=(7, 99), facts=host, cgroups=("/cg/a",), handles=Handles(pidfd="/s", preserved=2))
    assert names(plan, PROCESS)[:4] == ["sync", "affinity", "cgroup", "affinity"]
    inside = plan.track(PROCESS).ops
    assert named(inside, "affinity") == [(b"\x03",), (b"\x00\x02",)]
    assert named(inside, "cgroup") == [("/cg/a/cgroup.procs",)]
    assert named(inside, "sockets") == [(2,)]
    assert named(plan.track("keeper").ops, "pidfd") == [("/s",)]


def test_clocks_are_set_before_anything_is_built() -> None:
    linux = {
        "namespaces": [{"type": "mount"}, {"type": "time"}],
        "timeOffsets": {"monotonic": {"secs": -3, "nanosecs": 4}, "boottime": {"secs": 5}},
    }
    plan = container(config(linux=linux))
    assert named(plan.track(CONTAINER).ops, "clocks") == [(("monotonic -3 4", "boottime 5 0"),)]
    assert names(plan, CONTAINER).index("clocks") < names(plan, CONTAINER).index("root-bind")


@pytest.mark.parametrize(
    ("option", "rootfs", "taken", "after"),
    [
        ("rshared", "", True, 0x4000 | 1 << 20),
        ("shared", "private", True, 1 << 20),
        ("slave", "", False, 0),
        ("rslave", "rprivate", True, 0x4000 | 1 << 19),
        ("private", "", False, 1 << 18),
        ("unbindable", "", False, 1 << 17),
    ],
)
def test_mounts_that_stay_peers_are_taken_before_all_become_slaves(
    option: str, rootfs: str, taken: bool, after: int
) -> None:
    mounts = [{"destination": "/x", "source": "/d", "options": ["rbind", option]}]
    plan = container(config(linux={**NAMESPACES, "rootfsPropagation": rootfs}, mounts=mounts))
    inside = plan.track(CONTAINER).ops
    (bind, *_) = named(inside, "bind")
    assert bind == ("#0" if taken else "/d", "/x", BIND_RECURSIVE | (BIND_ANEW if taken else 0), 0)
    assert named(inside, "tree") == ([("/d", TREE_RECURSIVE | TREE_PEER, (), ())] if taken else [])
    assert named(inside, "mount-propagation") == ([("/x", after)] if after else [])
    base = 0x4000 | (1 << 18 if rootfs else 1 << 19)
    assert named(inside, "propagation")[0] == (base,)
    if taken:
        assert names(plan, CONTAINER).index("tree") < names(plan, CONTAINER).index("propagation")


def test_hooks_of_the_start_come_when_it_is_awaited_and_before_the_filter() -> None:
    given = config(
        linux={**NAMESPACES, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
        process={"noNewPrivileges": True},
        hooks={"startContainer": [{"path": "/h", "timeout": 2}, {"path": "/i"}]},
    )
    plan = container(given, seccomp=b"\x06\0\0\0\0\0\xff\x7f", start_state=("a", "b"))
    ends = ["caps", "await-start", "start-hook", "start-hook", "no-new-privs", "seccomp", "exec"]
    assert names(plan, CONTAINER)[-7:] == ends
    assert named(plan.track(CONTAINER).ops, "start-hook")[0] == ("/h", ("/h",), (), 2000, ("a", "b"))


def test_network_devices_get_back_what_moving_takes() -> None:
    devices = [("eth9", "eth0", [("10.0.0.2", 24), ("fd00::2", 64)], True), ("eth8", "eth8", [], False)]
    plan = container(config(linux=NAMESPACES), net_devices=devices)
    assert names(plan, "keeper")[1:4] == ["process", "net-device", "net-device"]
    inside = plan.track(CONTAINER).ops
    assert named(inside, "address") == [("eth0", "10.0.0.2", 24), ("eth0", "fd00::2", 64)]
    assert named(inside, "link-up") == [("eth0",)]
    assert names(plan, CONTAINER).index("address") > names(plan, CONTAINER).index("sync")
    with pytest.raises(AppcError) as caught:
        container(config(), net_devices=devices)
    assert caught.value.where == "linux.netDevices"


def test_an_agent_gets_a_listener_of_a_filter_that_notifies() -> None:
    section = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/agent",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}],
    }
    given = config(linux={**NAMESPACES, "seccomp": section})
    texts = ("a", "b", "c")
    plan = container(given, seccomp=bytes(8), agent_state=texts, detached=False, awaits_start=False)
    assert named(plan.track("keeper").ops, "agent") == [("/agent", texts)]
    assert named(plan.track(CONTAINER).ops, "seccomp") == [(8, bytes(8))]
    # Who starts it has the listener.
    assert named(container(given, seccomp=bytes(8)).track("keeper").ops, "agent") == []


def test_without_a_process_it_only_waits() -> None:
    given = config(linux=NAMESPACES)
    del given["process"]
    plan = container(given)
    assert "await-start" in names(plan, CONTAINER)
    assert "program" not in names(plan, CONTAINER)


def test_a_root_that_cannot_be_pivoted_is_moved() -> None:
    plan = container(config(linux=NAMESPACES), no_pivot=True)
    assert "move-root" in names(plan, CONTAINER)
    assert "pivot" not in names(plan, CONTAINER)


@pytest.mark.parametrize("path", ["", "/run/ns/m"])
def test_without_a_mount_namespace_of_its_own_it_takes_its_root_along(path: str) -> None:
    given = config(linux={"namespaces": [{"type": "mount", "path": path}] if path else [], "maskedPaths": ["/x"]})
    plan = container(given, no_pivot=True)
    assert named(plan.track("keeper").ops, "adopt") == [(CLONE_NEWNS, path or "/proc/self/ns/mnt")]
    inside = names(plan, CONTAINER)
    assert named(plan.track(CONTAINER).ops, "unshare") == [(CLONE_NEWNS,)]
    assert inside.index("mask") < inside.index("carry-root") < inside.index("bounding")
    assert not {"pivot", "move-root", "join"} & set(inside)
    beside = compile_exec(given, target=(7, 99), facts=facts())
    adopted = [(CLONE_NEWNS, "/proc/7/ns/mnt")] if path else []
    assert named(beside.track("keeper").ops, "adopt") == [*adopted, (ROOT, "/proc/7/root")]
    assert named(beside.track(PROCESS).ops, "join") == [*((kind,) for kind, _ in adopted), (ROOT,)]


def broken(change: str) -> Plan:
    """A container's plan with one thing wrong."""
    plan = copy.deepcopy(container(config(linux=NAMESPACES)))
    keeper, inside = plan.track("keeper").ops, plan.track(CONTAINER).ops
    if change == "waits for a detached process":
        keeper.append(Op("wait"))
    elif change == "never lets it proceed":
        keeper[:] = [op for op in keeper if op.name != "proceed"]
    elif change == "dies with its keeper":
        inside[:] = [Op("death-signal", SIGKILL) if op.name == "death-signal" else op for op in inside]
    elif change == "comes after exec":
        inside[:] = [op for op in inside if op.name != "await-start"]
        inside.append(Op("await-start"))
    elif change == "starts a process beside others":
        keeper.insert(0, Op("init", 0, "init", ""))
        plan.tracks.append(container(config(linux=NAMESPACES)).track(CONTAINER))
        plan.tracks[-1].name = "init"
    return plan


@pytest.mark.parametrize(
    "change",
    [
        "waits for a detached process",
        "never lets it proceed",
        "dies with its keeper",
        "comes after exec",
        "starts a process beside others",
    ],
)
def test_a_plan_that_breaks_the_law_is_refused(change: str) -> None:
    with pytest.raises(LaunchError):
        check(broken(change))


def test_devices_are_judged_before_there_is_a_process() -> None:
    plan = container(config(linux=NAMESPACES), device_filters=[("/g", b"\x95" + bytes(7))])
    assert names(plan, "keeper")[:3] == ["adopt", "device-filter", "process"]
    assert named(plan.track("keeper").ops, "device-filter") == [("/g", b"\x95" + bytes(7))]
    late = Plan([*plan.tracks])
    keeper = late.track("keeper").ops
    keeper.append(keeper.pop(1))
    with pytest.raises(LaunchError):
        check(late)


def test_the_working_directory_is_made_as_engines_expect() -> None:
    """Before the root is closed to it; whatever keeps it from being made is told by who enters it."""
    given = config(linux=NAMESPACES, process={"cwd": "/work/deep/"})
    given["root"]["readonly"] = True
    ops = container(given).track(CONTAINER).ops
    (made,) = (op for op in ops if op.name == "mkdir" and op.source == "process.cwd")
    assert made.args == ("/work/deep", 0o755, 0, 0)
    assert ELOOP in made.tolerate
    assert ops.index(made) < next(index for index, op in enumerate(ops) if op.source == "root.readonly")
    mounts = [{"destination": "/proc", "type": "proc"}]
    for cwd in ("/", "/proc/self", "/a/../b"):
        ops = container(config(linux=NAMESPACES, mounts=mounts, process={"cwd": cwd})).track(CONTAINER).ops
        assert not [op for op in ops if op.source == "process.cwd" and op.name == "mkdir"]


def test_names_are_those_of_the_containers_namespace() -> None:
    uts = {"type": "uts", "path": "/run/uts"}
    joined = {"namespaces": [*NAMESPACES["namespaces"], uts]}
    plan = container(config(linux=joined, hostname="inside", domainname="there"))
    assert named(plan.track(CONTAINER).ops, "hostname") == [("inside",)]
    assert named(plan.track(CONTAINER).ops, "domainname") == [("there",)]
    for field in ("hostname", "domainname"):
        with pytest.raises(AppcError, match=f"{field}: needs a uts namespace"):
            container(config(linux=NAMESPACES, **{field: "outside"}))
