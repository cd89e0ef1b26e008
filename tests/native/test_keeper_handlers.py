"""Handlers before the start and after the stop of an app."""

from __future__ import annotations

import errno
import signal
import time
from pathlib import Path

import pytest
from planlib import CLONE_NEWNS, Keeper, app_ops, pod_plan, run_probe, wait_for, wait_taken

from appc.plan.ops import Op, Track

pytestmark = pytest.mark.root

JOIN = Op("join", CLONE_NEWNS)


def pre(app: str, track: str = "pre", timeout: int = 0) -> Op:
    return Op("handler", app, track, f"logs/{app}.log", timeout, "")


def post(app: str, track: str = "post", timeout: int = 0) -> Op:
    return Op("post-stop", app, track, f"logs/{app}.log", timeout, "")


def test_pre_start_ends_before_its_app_begins(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("pre", [JOIN, run_probe("echo", "preparing", "sleep", "0.2", "echo", "prepared")])
    plan = pod_plan(pod, {"web": app_ops(tree, "echo", "app")}, before_start=[pre("web")], tracks=[handler])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["handler web 0", "ready"]
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F preparing", "stdout F prepared", "stdout F app"]


@pytest.mark.parametrize(("action", "status"), [(("exit", "9"), 9), (("kill", "11"), 139)])
def test_a_failing_pre_start_fails_the_pod(
    binaries: Path, pod: Path, tree: Path, action: tuple[str, ...], status: int
) -> None:
    handler = Track("pre", [JOIN, run_probe("error", "no database", *action)])
    plan = pod_plan(pod, {"web": app_ops(tree, "echo", "app")}, before_start=[pre("web")], tracks=[handler])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == [f"handler web {status}", f"fail keeper 3 {errno.ECHILD}"]
    assert keeper.wait()[0] == 125
    assert keeper.log("web") == ["stderr F no database"]
    assert not (pod / "status/web").exists()


def test_a_pre_start_that_hangs_runs_into_its_timeout(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("pre", [JOIN, run_probe("wait")])
    plan = pod_plan(pod, {"web": app_ops(tree)}, before_start=[pre("web", timeout=300)], tracks=[handler])
    started = time.monotonic()
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["handler web 137", f"fail keeper 3 {errno.ETIMEDOUT}"]
    assert keeper.wait()[0] == 125
    assert time.monotonic() - started >= 0.3


def test_a_pre_start_that_cannot_be_executed_fails_as_itself(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("pre", [JOIN, Op("exec", ("/absent",), ("absent",), ())])
    plan = pod_plan(pod, {"web": app_ops(tree)}, before_start=[pre("web")], tracks=[handler])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == [f"fail pre 1 {errno.ENOENT}"]
    assert keeper.wait()[0] == 125


def test_post_stop_runs_in_the_apps_root_after_it(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "data").mkdir()
    app = app_ops(tree, "write", "/data/x", "left by the app\n", "exit", "3")
    app[-5:-5] = [Op("mount", "tmpfs", "t", "/data", 0, ())]
    handler = Track("post", [JOIN, run_probe("read", "/data/x", "report")])
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, before_start=[post("web")], tracks=[handler]), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 3
    assert keeper.status("web")["post-stop"] == "done"
    assert "stdout F left by the app" in keeper.log("web")
    assert "stdout F init.comm=appc-init" in keeper.log("web")


def test_several_post_stops_run_in_turn_and_the_first_failure_is_kept(binaries: Path, pod: Path, tree: Path) -> None:
    tracks = [
        Track(f"post{number}", [JOIN, run_probe("echo", f"{number}", "exit", f"{number}")]) for number in range(3)
    ]
    before = [post("web", f"post{number}") for number in range(3)]
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree)}, before_start=before, tracks=tracks), pod)
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F 0", "stdout F 1", "stdout F 2"]
    assert keeper.status("web")["post-stop"] == "1"


def test_post_stop_runs_when_the_pod_is_stopped(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("post", [JOIN, run_probe("sleep", "0.2", "echo", "cleaned")])
    apps = {"web": app_ops(tree, "ignore", "15", "echo", "up", "wait"), "two": app_ops(tree, "wait")}
    plan = pod_plan(pod, apps, before_start=[post("web"), post("two")], tracks=[handler], grace=200)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 143
    assert keeper.log("web") == ["stdout F up", "stdout F cleaned"]
    assert keeper.log("two") == ["stdout F cleaned"]
    assert keeper.status("web")["post-stop"] == keeper.status("two")["post-stop"] == "done"


def test_a_post_stop_that_hangs_is_ended_by_its_timeout(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("post", [JOIN, run_probe("ignore", "15", "wait")])
    plan = pod_plan(pod, {"web": app_ops(tree)}, before_start=[post("web", timeout=200)], tracks=[handler])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.wait()[0] == 0
    assert keeper.status("web")["post-stop"] == "137"


def test_a_post_stop_that_cannot_be_executed_is_on_record(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("post", [JOIN, Op("exec", ("/absent",), ("absent",), ())])
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree)}, before_start=[post("web")], tracks=[handler]), pod)
    assert keeper.wait()[0] == 0
    assert keeper.status("web")["post-stop"] == "127"
    assert (pod / "status/_warnings").read_text() == f"post 1 {errno.ENOENT}\n"


def test_a_second_interrupt_skips_post_stop(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("post", [JOIN, run_probe("echo", "post")])
    app = app_ops(tree, "ignore", "15", "echo", "up", "wait")
    keeper = Keeper(
        binaries, pod_plan(pod, {"web": app}, before_start=[post("web")], tracks=[handler], grace=60000), pod
    )
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    for _ in range(2):
        keeper.process.send_signal(signal.SIGINT)
        wait_taken(keeper.process.pid, signal.SIGINT)
    assert keeper.wait()[0] == 137
    assert keeper.status("web")["post-stop"] == "skipped"


def test_handlers_of_an_app_that_is_not_there(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Track("pre", [JOIN, run_probe("exit", "0")])
    plan = pod_plan(pod, {"web": app_ops(tree)}, before_start=[pre("other")], tracks=[handler])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == [f"fail keeper 3 {errno.EINVAL}"]
    assert keeper.wait()[0] == 125
