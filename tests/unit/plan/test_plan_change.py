"""Plans that change a pod that runs: what they hold, and the law for them."""

from __future__ import annotations

from typing import Any

import pytest
from compiling import config

from appc.errors import LaunchError
from appc.plan.check import check
from appc.plan.compile_change import compile_addition, compile_removal, compile_start, compile_stop
from appc.plan.compile_pod import HealthCheck, PodApp
from appc.plan.compile_root import RootFS
from appc.plan.ops import Op, Plan, Track
from appc.plan.show import show
from appc.plan.wire import encode
from appc.plan.wire_read import decode
from golden.examples import facts

SANDBOX: dict[str, Any] = {"linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]}}
TIMES = (30_000, 5_000, 2, 0)


def addition(**options: Any) -> Plan:
    app = PodApp("late", config(), RootFS("/pod/apps/late/rootfs"), **options)
    return compile_addition([app], sandbox=SANDBOX, facts=facts(), pod_dir="/pods/run/u", teardown=["/group/late"])


def ops(plan: Plan) -> list[str]:
    return [op.name for op in plan.track("change").ops]


def test_an_addition_is_an_app_as_at_a_launch() -> None:
    plan = addition(pre_start=config(), post_stop=config(), restart=(1, 5), health=HealthCheck(TIMES, config=config()))
    assert ops(plan) == ["app", "post-stop", "restart", "health-command", "handler", "start", "ready"]
    assert [track.name for track in plan.tracks] == [
        "change",
        "app late",
        "pre-start late",
        "post-stop late",
        "again late",
        "health late",
        "teardown",
    ]
    assert show(decode(encode(plan))) == show(plan)


def test_a_port_is_asked_without_a_track() -> None:
    plan = addition(health=HealthCheck(TIMES, port=80, path="/x"))
    assert Op("health-port", "late", 80, "/x", *TIMES) in [Op(op.name, *op.args) for op in plan.track("change").ops]


def test_start_stop_and_removal() -> None:
    plan = compile_start(config(), name="web", facts=facts(), pod_dir="/pods/run/u")
    assert ops(plan) == ["run-again", "ready"]
    assert plan.track("again web").ops[-1].name == "exec"
    assert ops(compile_stop("web", grace=1000, facts=facts())) == ["stop-app", "ready"]
    assert ops(compile_removal("web", cgroups=["/a", "/b"], facts=facts())) == [
        "drop-app",
        "rmdir-cgroup",
        "rmdir-cgroup",
        "ready",
    ]


@pytest.mark.parametrize(
    ("track", "said"),
    [
        ([Op("stop-app", "web", 0)], "ends with ready"),
        ([Op("ready"), Op("stop-app", "web", 0)], "ends with ready"),
        ([Op("init", 0, "init", ""), Op("ready")], "cannot be done to a pod that runs"),
        ([Op("supervise", 0, 0, 0), Op("ready")], "cannot be done to a pod that runs"),
        ([Op("finish", ("/x",)), Op("ready")], "cannot be done to a pod that runs"),
        ([Op("handler", "web", "t", "", 0, ""), Op("ready")], "comes before the app web"),
        ([Op("app", "web", "t", "null", "null", "null", "", ""), Op("ready")], "not every app is started"),
        ([Op("run-again", "web", "absent"), Op("ready")], "starts a track that does not exist"),
    ],
)
def test_the_law_for_changes(track: list[Op], said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        check(Plan([Track("change", track)]))


def test_a_change_is_no_part_of_a_launch() -> None:
    track = [Op("stop-app", "web", 0), Op("ready")]
    with pytest.raises(LaunchError, match="has no keeper track"):
        check(Plan([Track("keeper", track), Track("change", track)]))
    with pytest.raises(LaunchError, match="is for a pod that runs already"):
        check(Plan([Track("keeper", track)]))


def test_what_a_change_adds_to_the_end_of_a_pod() -> None:
    end = Track("teardown", [Op("finish", ("/x",))])
    with pytest.raises(LaunchError, match="is the pod's own business"):
        check(Plan([Track("change", [Op("ready")]), end]))
