"""The order law: plans as compiled pass, plans with steps moved, doubled or left out are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appc.errors import LaunchError
from appc.plan.check import check
from appc.plan.ops import Op, Plan, Track
from golden.examples import PROGRAM, busybox, demo, facts

HOST = facts("hybrid")
APP = "app redis"  # with no_new_privs
OPEN_APP = "app web"  # without

# Pairs of which the first must stay before the second, by track.
ORDER = {
    APP: (
        ("cgroup", "unshare"),
        ("cgroup", "root-overlay"),
        ("join", "root-overlay"),
        ("unshare", "root-overlay"),
        ("root-overlay", "mount"),
        ("mknod", "bounding"),
        ("mask", "pivot"),
        ("pivot", "sync"),
        ("sync", "bounding"),
        ("bounding", "ids"),
        ("ids", "death-signal"),
        ("ids", "caps"),
        ("chdir", "seccomp"),
        ("caps", "no-new-privs"),
        ("no-new-privs", "seccomp"),
        ("seccomp", "exec"),
    ),
    "init": (
        ("cgroup", "root-tmpfs"),
        ("root-tmpfs", "pivot"),
        ("sysctl", "bounding"),
        ("bounding", "caps"),
        ("caps", "no-new-privs"),
        ("no-new-privs", "reap"),
    ),
    "pre-start web": (
        ("cgroup", "unshare"),
        ("cgroup", "join"),
        ("bounding", "ids"),
        ("ids", "seccomp"),
        ("seccomp", "caps"),
    ),
    "keeper": (
        ("mount-namespace", "tmpfs"),
        ("init", "app"),
        ("init", "listen"),
        ("app", "handler"),
        ("handler", "start"),
        ("post-stop", "start"),
        ("start", "ready"),
        ("ready", "supervise"),
    ),
    "teardown": (("record", "rename-phase"), ("rename-phase", "finish")),
}
PAIRS = [(track, *pair) for track, pairs in ORDER.items() for pair in pairs]


def position(track: Track, name: str, last: bool = False) -> int:
    found = [index for index, op in enumerate(track.ops) if op.name == name]
    return found[-1 if last else 0]


def refusal(plan: Plan) -> str:
    with pytest.raises(LaunchError) as caught:
        check(plan)
    return str(caught.value)


def edited(change: Callable[[list[Op]], object], track: str = APP) -> Plan:
    plan = demo(HOST)
    change(plan.track(track).ops)
    return plan


@pytest.mark.parametrize("layout", ["v1", "hybrid", "v2"])
def test_compiled_plans_obey(layout: str) -> None:
    check(demo(facts(layout)))
    check(busybox(facts(layout)))


@pytest.mark.parametrize(("name", "earlier", "later"), PAIRS)
def test_an_op_moved_behind_one_it_must_precede_is_refused(name: str, earlier: str, later: str) -> None:
    plan = demo(HOST)
    track = plan.track(name)
    moved = track.ops.pop(position(track, earlier, last=True))
    track.ops.insert(position(track, later, last=True) + 1, moved)
    assert name in refusal(plan)


@pytest.mark.parametrize("name", [APP, OPEN_APP, "pre-start web"])
@settings(deadline=None)
@given(data=st.data())
def test_any_two_ops_of_the_tail_exchanged_are_refused(name: str, data: st.DataObject) -> None:
    plan = demo(HOST)
    ops = plan.track(name).ops
    first = position(plan.track(name), "bounding")
    # It may stand anywhere after ids.
    tail = [index for index in range(first, len(ops)) if ops[index].name != "death-signal"]
    one, other = data.draw(st.lists(st.sampled_from(tail), min_size=2, max_size=2, unique=True))
    ops[one], ops[other] = ops[other], ops[one]
    if ops[one].name == ops[other].name:
        check(plan)  # both set capabilities: the law is about steps, not about masks
    else:
        refusal(plan)


@settings(deadline=None)
@given(st.data())
def test_no_op_can_be_left_out_of_the_tail(data: st.DataObject) -> None:
    ops = demo(HOST).track(APP).ops
    needed = ("pivot", "sync", "chdir", "bounding", "ids", "caps", "exec", "root-overlay", "unshare")
    name = data.draw(st.sampled_from(needed))
    plan = edited(lambda found: found.pop(position(Track("", found), name)))
    refusal(plan)
    assert len(ops) == len(plan.track(APP).ops) + 1


@pytest.mark.parametrize(
    "name", ["pivot", "sync", "bounding", "ids", "no-new-privs", "seccomp", "exec", "root-overlay", "chdir"]
)
def test_what_happens_once_cannot_happen_twice(name: str) -> None:
    def double(ops: list[Op]) -> None:
        index = position(Track("", ops), name)
        ops.insert(index, ops[index])

    refusal(edited(double))


@settings(deadline=None)
@given(st.integers(0, 200), st.sampled_from(["mount", "bind", "mkdir", "mknod", "join", "sysctl", "rlimit", "label"]))
def test_nothing_is_opened_or_joined_once_privileges_begin_to_fall(offset: int, name: str) -> None:
    args = {"mount": ("proc", "proc", "/x", 0, ()), "bind": ("/a", "/b", 0, 0), "mkdir": ("/x", 0o755, 0, 0)}
    args |= {"mknod": ("/x", 0o20666, 1, 3, 0, 0), "join": (0x40000000,), "sysctl": ("a.b", "1")}
    args |= {"rlimit": (7, 1, 1), "label": ("selinux", "x")}
    plan = demo(HOST)
    ops = plan.track(APP).ops
    after = position(plan.track(APP), "bounding") + 1
    ops.insert(after + offset % (len(ops) - after), Op(name, *args[name]))
    assert "comes after" in refusal(plan)


def test_a_filter_without_no_new_privs_is_loaded_before_the_final_capabilities() -> None:
    names = [op.name for op in demo(HOST).track(OPEN_APP).ops][-4:]
    assert names == ["caps", "seccomp", "caps", "exec"]

    def exchange(ops: list[Op]) -> None:
        ops[-3], ops[-2] = ops[-2], ops[-3]

    refusal(edited(exchange, OPEN_APP))


def test_capabilities_are_not_set_again_without_a_filter_to_load() -> None:
    def doubled(ops: list[Op]) -> None:
        ops.insert(position(Track("", ops), "caps"), Op("caps", 0, 0, 0, 0))

    assert "more often" in refusal(edited(doubled))


BREACHES: dict[str, tuple[str, Callable[[Plan], object]]] = {
    "a track nobody performs": ("nobody performs", lambda plan: plan.tracks.append(Track("app x", []))),
    "a track that is missing": ("does not exist", lambda plan: plan.tracks.remove(plan.track("post-stop web"))),
    "two tracks of a name": ("two tracks", lambda plan: plan.tracks.append(Track("init", []))),
    "no keeper": ("no keeper", lambda plan: plan.tracks.remove(plan.track("keeper"))),
    "a track started twice": (
        "second time",
        lambda plan: plan.track("keeper").ops.insert(4, Op("app", "x", "app redis", "null", "null", "null", "")),
    ),
    "an app that is not started": (
        "not every app",
        lambda plan: plan.track("keeper").ops.remove(Op("start", "web", source="apps[1]")),
    ),
    "an op of the keeper inside": ("cannot be performed", lambda plan: plan.track(APP).ops.insert(0, Op("ready"))),
    "an op of the inside in the keeper": (
        "cannot be performed",
        lambda plan: plan.track("keeper").ops.insert(0, Op("pivot")),
    ),
    "an op of the end in the keeper's track": (
        "teardown",
        lambda plan: plan.track("keeper").ops.insert(0, Op("record")),
    ),
    "a start in the teardown": ("no place", lambda plan: plan.track("teardown").ops.insert(0, Op("ready"))),
    "an app that ends like PID 1": ("cannot be started", lambda plan: plan.track(APP).ops.__setitem__(-1, Op("reap"))),
    "PID 1 that waits for a start": ("sync", lambda plan: plan.track("init").ops.insert(2, Op("sync", "start"))),
    "a handler in the host's root": (
        "host's root",
        lambda plan: plan.track("pre-start web").ops.remove(Op("join", 0x20000, source="linux.namespaces")),
    ),
    "an empty track": ("does not end", lambda plan: plan.track(APP).ops.clear()),
    "a second root": (
        "more than one root",
        lambda plan: plan.track(APP).ops.insert(5, Op("root-bind", "/", "/")),
    ),
    "a root in the keeper's own namespace": (
        "keeper's mount namespace",
        lambda plan: plan.track(APP).ops.__setitem__(position(plan.track(APP), "unshare"), Op("unshare", 0x2000000)),
    ),
}


@pytest.mark.parametrize("case", BREACHES)
def test_breaches_are_refused_and_told(case: str) -> None:
    words, change = BREACHES[case]
    plan = demo(HOST)
    change(plan)
    assert words in refusal(plan)


def test_a_failed_start_may_have_a_track_of_its_own() -> None:
    plan = demo(HOST)
    plan.tracks.append(Track("failure", [Op("finish", ("/usr/bin/appc", "finish"))]))
    check(plan)
    plan.track("failure").ops.append(Op("record"))
    assert "last step" in refusal(plan)


def test_entering_needs_a_namespace_to_enter() -> None:
    tail = [Op("chdir", "/"), Op("bounding", 0), Op("ids", 0, 0, ()), Op("seccomp", 0, PROGRAM), Op("caps", 0, 0, 0, 0)]
    inside = Track("enter web", [Op("join", 0x20000), *tail, Op("exec", ("/x",), ("x",), ())])
    execute = Op("execute", "enter web", "null", "null", "null", "")
    check(Plan([Track("keeper", [Op("adopt", 0x20000, "/proc/1/ns/mnt"), execute]), inside]))
    assert "runs already" in refusal(Plan([Track("keeper", [execute]), inside]))
