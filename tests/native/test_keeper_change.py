"""Apps that come, go, stop and start again while the pod runs."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from planlib import CLONE_NEWNS, NO_OP, Keeper, app_ops, pod_plan, run_probe, wait_for

from appc.plan.ops import Op, Plan, Track
from appc.plan.wire import encode

pytestmark = pytest.mark.root

JOIN = Op("join", CLONE_NEWNS)
READY = Op("ready")


def change(*ops: Op, tracks: Sequence[Track] = ()) -> Plan:
    return Plan([Track("change", list(ops)), *tracks])


def added(tree: Path, name: str, *actions: str, before: Sequence[Op] = (), tracks: Sequence[Track] = ()) -> Plan:
    """A change that brings an app."""
    app = Op("app", name, f"app {name}", "null", "log", "log", f"logs/{name}.log", "")
    body = Track(f"app {name}", app_ops(tree, *actions))
    return change(app, *before, Op("start", name), READY, tracks=[body, *tracks])


def again(*actions: str) -> Track:
    return Track("again", [JOIN, run_probe(*actions)])


def start(name: str, *actions: str) -> Plan:
    return change(Op("run-again", name, "again"), READY, tracks=[again(*actions)])


def stop(name: str, grace: int = 20000) -> Plan:
    return change(Op("stop-app", name, grace), READY)


@pytest.fixture
def keeper(binaries: Path, pod: Path, tree: Path) -> Keeper:
    """A pod whose app `web` waits."""
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "echo", "up", "wait")}), pod)
    assert keeper.report() == ["ready"]
    return keeper


def end(keeper: Keeper) -> int:
    keeper.process.send_signal(signal.SIGTERM)
    return keeper.wait()[0]


def descriptors(keeper: Keeper) -> set[str]:
    directory = Path(f"/proc/{keeper.process.pid}/fd")
    return {f"{fd.name} {os.readlink(fd)}" for fd in directory.iterdir()}


def test_an_app_comes_and_the_pod_ends_with_its_last_app(keeper: Keeper, tree: Path) -> None:
    assert keeper.change(added(tree, "two", "echo", "here", "wait")) == ["ready"]
    wait_for(lambda: keeper.log("two") == ["stdout F here"])
    assert keeper.change(stop("web")) == ["ready"]
    assert keeper.status("web")["signal"] == "15"
    assert keeper.status("web")["stopped"] == "1"
    assert keeper.process.poll() is None
    assert keeper.change(change(Op("drop-app", "web"), READY)) == ["ready"]
    assert keeper.pod is not None
    assert not (keeper.pod / "status/web").exists()
    # Those that are left make up the pod.
    os.kill(int(keeper.status("two")["pid"]), signal.SIGTERM)
    assert keeper.wait()[0] == 143


def test_a_stopped_app_starts_again_in_its_root(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "data").mkdir()
    app = app_ops(tree, "write", "/data/x", "kept\n", "wait")
    app[-5:-5] = [Op("mount", "tmpfs", "t", "/data", 0, ())]
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}), pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F /data/x: written"])
    assert keeper.change(stop("web")) == ["ready"]
    said = keeper.log("web")
    for _ in range(3):
        assert keeper.change(start("web", "read", "/data/x", "wait")) == ["ready"]
        assert "stopped" not in keeper.status("web")
        said.append("stdout F kept")
        wait_for(lambda: keeper.log("web") == said)
        assert keeper.change(stop("web")) == ["ready"]
    # A stopped app holds the pod, but not its end.
    assert keeper.process.poll() is None
    assert end(keeper) == 0


def test_an_app_that_will_not_go_is_killed_after_the_grace(keeper: Keeper, tree: Path) -> None:
    assert keeper.change(added(tree, "deaf", "ignore", "15", "echo", "deaf", "wait")) == ["ready"]
    wait_for(lambda: keeper.log("deaf") == ["stdout F deaf"])
    assert keeper.change(stop("deaf", 100)) == ["ready"]
    assert keeper.status("deaf")["signal"] == "9"
    assert end(keeper) == 143


def test_handlers_run_around_a_stop_and_a_start(keeper: Keeper, tree: Path) -> None:
    log = "logs/two.log"
    before = [Op("post-stop", "two", "post", log, 0, ""), Op("handler", "two", "pre", log, 0, "")]
    tracks = [Track("pre", [JOIN, run_probe("echo", "pre")]), Track("post", [JOIN, run_probe("echo", "post")])]
    assert keeper.change(added(tree, "two", "wait", before=before, tracks=tracks)) == ["handler two 0", "ready"]
    assert keeper.change(stop("two")) == ["ready"]
    assert keeper.log("two") == ["stdout F pre", "stdout F post"]
    assert keeper.change(start("two", "wait")) == ["handler two 0", "ready"]
    assert keeper.change(stop("two")) == ["ready"]
    assert keeper.log("two") == ["stdout F pre", "stdout F post"] * 2
    assert keeper.status("two")["post-stop"] == "done"
    assert end(keeper) == 143


def test_an_app_with_a_policy_that_is_stopped_stays_stopped(keeper: Keeper, tree: Path) -> None:
    policy = Op("restart", "two", "again", 2, 1, 1, 0)
    plan = added(tree, "two", "wait", before=[policy], tracks=[again("echo", "again", "wait")])
    assert keeper.change(plan) == ["ready"]
    os.kill(int(keeper.status("two")["pid"]), signal.SIGKILL)
    wait_for(lambda: keeper.log("two") == ["stdout F again"])
    assert keeper.change(stop("two")) == ["ready"]
    assert keeper.status("two")["restarts"] == "1"
    assert "restarting" not in keeper.status("two")
    assert keeper.change(start("two", "exit", "1")) == ["ready"]
    wait_for(lambda: int(keeper.status("two")["restarts"]) > 2)
    assert end(keeper) in (1, 143)


@pytest.mark.parametrize("late", [False, True])
def test_a_change_that_fails_leaves_nothing(keeper: Keeper, tree: Path, late: bool) -> None:
    before = descriptors(keeper)
    if late:  # the first app runs already
        absent = added(tree, "second", "exit", "0")
        absent.track("app second").ops[-1] = Op("exec", ("/absent",), ("absent",), ())
        first = added(tree, "first", "wait", before=[Op("post-stop", "first", "post", "logs/first.log", 0, "")])
        plan = change(
            *first.track("change").ops[:-1],
            *absent.track("change").ops,
            tracks=[*first.tracks[1:], *absent.tracks[1:], Track("post", [JOIN, run_probe("exit", "0")])],
        )
        failure = f"fail app second 10 {errno.ENOENT}"
    else:
        pre = Op("handler", "first", "pre", "logs/first.log", 0, "")
        plan = added(tree, "first", "wait", before=[pre], tracks=[Track("pre", [JOIN, run_probe("exit", "3")])])
        failure = f"fail change 1 {errno.ECHILD}"
    assert keeper.change(plan)[-1] == failure
    assert keeper.process.poll() is None
    wait_for(lambda: descriptors(keeper) == before)
    # The names are free again, and nobody has taken the failure for the pod's.
    assert keeper.change(added(tree, "first", "wait")) == ["ready"]
    assert end(keeper) == 143
    assert not list(keeper.pod.glob("status/_failure")) if keeper.pod else True


def test_a_start_that_fails_leaves_the_app_stopped(keeper: Keeper) -> None:
    assert keeper.change(stop("web")) == ["ready"]
    absent = change(
        Op("run-again", "web", "again"),
        READY,
        tracks=[Track("again", [JOIN, Op("exec", ("/absent",), ("absent",), ())])],
    )
    assert keeper.change(absent) == [f"fail again 1 {errno.ENOENT}"]
    assert keeper.process.poll() is None
    assert keeper.change(start("web", "wait")) == ["ready"]
    assert end(keeper) == 143


def test_what_cannot_be_done_now_is_refused(keeper: Keeper, tree: Path) -> None:
    for op, reason in (
        (Op("run-again", "web", "again"), errno.EBUSY),
        (Op("drop-app", "web"), errno.EBUSY),
        (Op("drop-app", "absent"), errno.EBUSY),
        (Op("stop-app", "absent", 0), errno.EINVAL),
        (Op("app", "web", "again", "null", "log", "log", "logs/web.log", ""), errno.EINVAL),
    ):
        assert keeper.change(change(op, READY, tracks=[again("exit", "0")])) == [f"fail change 0 {reason}"]
    assert end(keeper) == 143


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (Op("init", 0, "again", ""), errno.EBADMSG),
        (Op("mount-namespace"), errno.EBADMSG),
        (Op("finish", ("/bin/false",)), errno.EBADMSG),
        (Op("execute", "again", "null", "null", "null", ""), errno.EBADMSG),
        (Op("chdir", "/"), errno.EBADMSG),
    ],
)
def test_ops_that_change_no_app_are_refused_before_the_first(keeper: Keeper, op: Op, reason: int) -> None:
    plan = change(Op("stop-app", "web", 0), op, tracks=[again("exit", "0")])
    assert keeper.change(plan) == [f"fail change {NO_OP} {reason}"]
    assert "exited" not in keeper.status("web")
    assert end(keeper) == 143


def test_groups_that_a_change_brings_go_with_the_pod(keeper: Keeper, tree: Path, group: Path) -> None:
    (group / "late").mkdir()
    plan = added(tree, "two", "wait")
    plan.tracks.append(Track("teardown", [Op("rmdir-cgroup", str(group / "late"), "cgroup.procs")]))
    assert keeper.change(plan) == ["ready"]
    assert (group / "late").exists()
    assert end(keeper) == 143
    assert not (group / "late").exists()


def test_a_change_has_no_other_end(keeper: Keeper) -> None:
    plan = change(READY, tracks=[Track("teardown", [Op("finish", ("/bin/true",))])])
    assert keeper.change(plan) == [f"fail change {NO_OP} {errno.EBADMSG}"]
    assert end(keeper) == 143


def test_a_plan_that_is_none_or_not_sealed_is_refused(keeper: Keeper) -> None:
    before = descriptors(keeper)
    data = encode(stop("web"))
    assert keeper.change(data, seal=False) == [f"fail change {NO_OP} {errno.EACCES}"]
    assert keeper.change(data[:-1]) == [f"fail change {NO_OP} {errno.EBADMSG}"]
    assert keeper.change(b"") == [f"fail change {NO_OP} {errno.EBADMSG}"]
    assert keeper.change(data.replace(b"change", b"keeper")) == [f"fail change {NO_OP} {errno.EBADMSG}"]
    wait_for(lambda: descriptors(keeper) == before)
    assert "exited" not in keeper.status("web")
    assert end(keeper) == 143


def test_a_caller_that_says_nothing_or_goes_away_holds_up_nobody(keeper: Keeper, tree: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.connect(f"{keeper.pod}/control")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.connect(f"{keeper.pod}/control")
        control.send(b"no plan")
        assert control.recv(10) == b""
    assert keeper.change(added(tree, "two", "wait")) == ["ready"]
    assert end(keeper) == 143


def test_a_pod_that_is_stopped_ends_a_change(keeper: Keeper, tree: Path) -> None:
    pre = Op("handler", "two", "pre", "logs/two.log", 0, "")
    slow = [Track("pre", [JOIN, run_probe("echo", "waiting", "wait")])]
    pid = os.fork()
    if pid == 0:
        os._exit(0 if keeper.change(added(tree, "two", "wait", before=[pre], tracks=slow)) == [] else 1)
    wait_for(lambda: keeper.log("two") == ["stdout F waiting"])
    assert end(keeper) == 143
    assert os.waitpid(pid, 0)[1] == 0


def test_many_changes_cost_nothing(keeper: Keeper, tree: Path) -> None:
    assert keeper.change(added(tree, "two", "wait")) == ["ready"]
    before = descriptors(keeper)
    for _ in range(150):
        assert keeper.change(stop("two", 0)) == ["ready"]
        assert keeper.change(change(Op("drop-app", "two"), READY)) == ["ready"]
        assert keeper.change(added(tree, "two", "wait")) == ["ready"]
    assert len(descriptors(keeper)) == len(before)
    assert end(keeper) == 143
