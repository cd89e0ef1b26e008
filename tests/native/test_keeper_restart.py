"""Apps that run again when they have ended."""

from __future__ import annotations

import errno
import signal
import time
from pathlib import Path

import pytest
from planlib import CLONE_NEWNS, Keeper, app_ops, pod_plan, run_probe, wait_for

from appc.plan.ops import Op, Track

pytestmark = pytest.mark.root

JOIN = Op("join", CLONE_NEWNS)
ON_FAILURE, ALWAYS = 1, 2


def again(app: str, when: int = ON_FAILURE, delay: int = 10, longest: int = 20, most: int = 3) -> Op:
    return Op("restart", app, "again", when, delay, longest, most)


def track(*actions: str) -> Track:
    return Track("again", [JOIN, run_probe(*actions)])


def test_an_app_that_fails_runs_again_in_its_root_until_it_succeeds(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "data").mkdir()
    app = app_ops(tree, "write", "/data/x", "kept\n", "exit", "3")
    app[-5:-5] = [Op("mount", "tmpfs", "t", "/data", 0, ())]
    plan = pod_plan(pod, {"web": app}, before_start=[again("web")], tracks=[track("read", "/data/x", "exit", "0")])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    assert keeper.log("web")[-1] == "stdout F kept"
    assert keeper.status("web")["status"] == "0"
    assert keeper.status("web")["restarts"] == "1"


def test_the_number_of_restarts_in_a_row_is_bounded(binaries: Path, pod: Path, tree: Path) -> None:
    apps = {"web": app_ops(tree, "exit", "3"), "other": app_ops(tree, "wait")}
    plan = pod_plan(pod, apps, before_start=[again("web", most=2)], tracks=[track("echo", "again", "exit", "4")])
    keeper = Keeper(binaries, plan, pod)
    # The app has failed for good, so the pod is stopped as by any app that fails.
    assert keeper.wait()[0] == 4
    assert keeper.log("web") == ["stdout F again"] * 2
    assert keeper.status("web")["restarts"] == "2"
    assert keeper.status("other")["signal"] == "15"


def test_success_ends_an_app_but_for_always(binaries: Path, pod: Path, tree: Path) -> None:
    for when, count in ((ON_FAILURE, 0), (ALWAYS, 2)):
        plan = pod_plan(
            pod,
            {"web": app_ops(tree, "echo", "first")},
            before_start=[again("web", when, most=2)],
            tracks=[track("echo", "again")],
        )
        keeper = Keeper(binaries, plan, pod)
        assert keeper.wait()[0] == 0
        assert keeper.log("web") == ["stdout F first"] + ["stdout F again"] * count
        (pod / "logs/web.log").unlink()


def test_the_delay_doubles_up_to_its_bound(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(
        pod,
        {"web": app_ops(tree, "exit", "1")},
        before_start=[again("web", delay=40, longest=100, most=4)],
        tracks=[track("echo", "again", "exit", "1")],
    )
    keeper = Keeper(binaries, plan, pod)
    started = time.monotonic()
    assert keeper.wait()[0] == 1
    assert time.monotonic() - started >= (40 + 80 + 100 + 100) / 1000
    assert keeper.status("web")["restarts"] == "4"


def test_handlers_run_around_every_run(binaries: Path, pod: Path, tree: Path) -> None:
    tracks = [
        track("echo", "again"),
        Track("pre", [JOIN, run_probe("echo", "pre")]),
        Track("post", [JOIN, run_probe("echo", "post")]),
    ]
    log = "logs/web.log"
    before = [
        Op("post-stop", "web", "post", log, 0, ""),
        again("web"),
        Op("handler", "web", "pre", log, 0, ""),
    ]
    plan = pod_plan(pod, {"web": app_ops(tree, "echo", "first", "exit", "1")}, before_start=before, tracks=tracks)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.wait()[0] == 0
    assert [line.split()[2] for line in keeper.log("web")] == ["pre", "first", "post", "pre", "again", "post"]
    assert keeper.status("web")["post-stop"] == "done"


def test_a_stop_ends_the_waiting(binaries: Path, pod: Path, tree: Path) -> None:
    before = [again("web", delay=60000, longest=60000)]
    apps = {"web": app_ops(tree, "exit", "3"), "other": app_ops(tree, "wait")}
    keeper = Keeper(binaries, pod_plan(pod, apps, before_start=before, tracks=[track("exit", "0")]), pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.status("web").get("restarting") == "1")
    assert keeper.process.poll() is None
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 3
    assert "restarting" not in keeper.status("web")


def test_what_cannot_be_executed_again_counts_as_a_failure(binaries: Path, pod: Path, tree: Path) -> None:
    absent = Track("again", [JOIN, Op("exec", ("/absent",), ("absent",), ())])
    plan = pod_plan(pod, {"web": app_ops(tree, "exit", "3")}, before_start=[again("web", most=2)], tracks=[absent])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 127
    assert (pod / "status/_warnings").read_text() == f"again 1 {errno.ENOENT}\n" * 2


def test_a_pre_start_that_fails_again_counts_as_a_failure(binaries: Path, pod: Path, tree: Path) -> None:
    handler = Op("handler", "web", "pre", "logs/web.log", 0, "")
    app = app_ops(tree, "exit", "3")
    app[-5:-5] = [Op("mount", "tmpfs", "t", "/tmp", 0, ()), Op("file", "/tmp/once", 0o600, b"")]
    once = Track("pre", [JOIN, Op("remove", "/tmp/once"), run_probe("exit", "0")])
    before = [again("web", most=2), handler]
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, before_start=before, tracks=[track("exit", "0"), once]), pod)
    assert keeper.report()[-1] == "ready"
    assert keeper.wait()[0] == 127
    assert keeper.status("web")["restarts"] == "2"


@pytest.mark.parametrize(
    "op", [Op("restart", "absent", "again", 1, 1, 1, 1), Op("restart", "web", "again", 3, 1, 1, 1)]
)
def test_a_restart_of_nothing_or_at_no_time(binaries: Path, pod: Path, tree: Path, op: Op) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree)}, before_start=[op], tracks=[track("exit", "0")])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == [f"fail keeper 3 {errno.EINVAL}"]
    assert keeper.wait()[0] == 125
