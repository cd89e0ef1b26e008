"""Plans of pods whose apps another OCI runtime makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from compiling import config

from appc.errors import LaunchError
from appc.plan.check import check
from appc.plan.compile_pod import PodApp, compile_pod
from appc.plan.compile_root import REPLACES_FILE, RootFS
from appc.plan.compile_runtime import Runtime
from appc.plan.constants import CLONE_NEWNET, CLONE_NEWNS
from appc.plan.ops import Op, Plan
from golden.examples import facts

SANDBOX = {"linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]}}


def compiled() -> Plan:
    """A pod of one app with handlers and a volume where its image has a file, which runc makes."""
    volume = {"destination": "/data", "type": "bind", "source": "/srv", "options": ["bind"]}
    app = PodApp(
        "web",
        config(mounts=[volume]),
        RootFS("/pod/apps/web/rootfs", ("/tree",), "/pod/apps/web/upper", "/pod/apps/web/work"),
        cgroups=("/sys/fs/cgroup/unified/appc/1/web",),
        hints={"/data": (REPLACES_FILE,)},
        files=[("/etc/hosts", 0o644, b"127.0.0.1 localhost\n", True)],
        pre_start=config(),
        post_stop=config(),
        restart=(1, 0),
        runtime=Runtime(("/bin/runc", "--root", "/pod/runtime/state"), "/pod/runtime", "1-"),
    )
    return compile_pod(
        [app], sandbox=SANDBOX, facts=facts("hybrid"), pod_dir="/pod", namespaces="/pod/runtime/namespaces"
    )


def made(plan: Plan, track: str) -> tuple[list[str], str]:
    """What a track does before its runtime makes a container, and the ID of that."""
    *before, last = plan.track(track).ops
    assert last.name == "runtime"
    return [op.name for op in before], str(last.args[3])


def test_an_apps_root_is_mounted_and_changed_and_all_else_is_the_runtimes() -> None:
    names, container = made(compiled(), "app web")
    assert names == ["unshare", "root-overlay", "remove", "remove", "file", "sync"]
    assert container == "1-web"


def test_what_is_run_beside_it_has_its_root_and_a_container_of_its_own() -> None:
    plan = compiled()
    assert made(plan, "pre-start web") == (["join"], "1-web.pre-start")
    assert made(plan, "post-stop web") == (["join"], "1-web.post-stop")
    # The app itself, once more.
    assert made(plan, "again web") == (["join"], "1-web")


def test_the_runtime_is_told_what_engines_tell_one() -> None:
    argv, _, bundle, _, pid_file = compiled().track("app web").ops[-1].args
    log = ("--log", "/pod/runtime/web/log", "--log-format", "json")
    assert argv == ("/bin/runc", "--root", "/pod/runtime/state", *log)
    assert (bundle, pid_file) == ("/pod/runtime/web", "/pod/runtime/web/pid")


def test_the_pods_namespaces_are_told_and_the_runtime_is_born_in_no_group_of_an_app() -> None:
    ops = compiled().track("keeper").ops
    names = [op.name for op in ops]
    assert names.index("init") < names.index("namespaces") < names.index("app")
    assert [op.args[-1] for op in ops if op.name in ("app", "handler", "post-stop")] == ["", "", ""]


BREACHES: dict[str, tuple[str, Callable[[list[Op]], object]]] = {
    "a runtime before the end": ("ends with runtime", lambda ops: ops.insert(-1, ops[-1])),
    "an op that runs inside": ("not for a container", lambda ops: ops.insert(1, Op("bounding", 0))),
    "a namespace of the pod": ("not for a container", lambda ops: ops.insert(1, Op("join", CLONE_NEWNET))),
    "a root in the keeper's mounts": ("keeper's mount namespace", lambda ops: ops.pop(0)),
    "a root in another's mounts": ("keeper's mount namespace", lambda ops: ops.insert(1, Op("join", CLONE_NEWNS))),
    "an app that does not wait": ("sync", lambda ops: ops.pop(-2)),
}


@pytest.mark.parametrize("case", BREACHES)
def test_breaches_are_refused_and_told(case: str) -> None:
    said, change = BREACHES[case]
    plan = compiled()
    change(plan.track("app web").ops)
    with pytest.raises(LaunchError, match=said):
        check(plan)


def test_only_what_a_pod_is_made_of_can_be_made_so() -> None:
    plan = compiled()
    plan.track("init").ops[:] = plan.track("pre-start web").ops
    with pytest.raises(LaunchError, match="cannot be started by init"):
        check(plan)
