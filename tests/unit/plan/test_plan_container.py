"""The plan of a single container, as OCI runtimes make them, and the law it obeys."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from compiling import config, named

from appc.errors import AppcError, LaunchError
from appc.plan.check import check
from appc.plan.compile_container import CONTAINER, PROCESS, compile_container, compile_exec
from appc.plan.compile_root import RootFS
from appc.plan.constants import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, SIGKILL
from appc.plan.ops import Op, Plan
from golden.examples import facts

NAMESPACES = {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network", "path": "/run/netns/x"}]}


def container(given: dict[str, Any], **options: Any) -> Plan:
    return compile_container(given, root=RootFS("/b/rootfs"), facts=facts(), bundle="/b", **options)


def names(plan: Plan, track: str) -> list[str]:
    return [op.name for op in plan.track(track).ops]


def test_a_container_awaits_its_start_without_its_privileges_and_outlives_its_keeper() -> None:
    plan = container(config(linux=NAMESPACES), pid_file="/p", console="/c")
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
        ({"hooks": {"startContainer": [{"path": "/h"}]}}, "hooks.startContainer"),
        ({"process": {"execCPUAffinity": {"initial": "0"}}}, "process.execCPUAffinity"),
        ({"linux": {"namespaces": [{"type": "mount", "path": "/m"}]}}, "linux.namespaces"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, "linux.uidMappings"),
    ],
)
def test_refusals(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(AppcError) as caught:
        container(config(**changes))
    assert caught.value.where == where


def test_a_command_beside_it_joins_all_it_has() -> None:
    plan = compile_exec(config(linux=NAMESPACES), pid=7, facts=facts(), detached=True)
    assert [path for _, path in named(plan.track("keeper").ops, "adopt")] == [
        "/proc/7/ns/pid",
        "/proc/7/ns/mnt",
        "/proc/7/ns/net",
    ]
    assert names(plan, PROCESS)[0] == "join"
    assert "await-start" not in names(plan, PROCESS)


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
