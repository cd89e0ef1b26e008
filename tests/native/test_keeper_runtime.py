"""Apps that a runtime makes: a script stands for one, which does what the runtime specification has, or does not."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from planlib import CLONE_NEWNS, Keeper, pod_plan, wait_for

from appc.plan.ops import Op, Plan, Track

pytestmark = pytest.mark.root

# A container is a process that waits for its start and then performs the bundle's program, adopted by whoever takes in
# the orphans of its maker.
RUNTIME = """#!/bin/sh
verb=$1; shift
case $verb in
create) bundle=$2; pid=$4; id=$5;;
*) for id; do :; done; bundle=$BUNDLES/$id;;
esac
echo $verb "$@" >> $bundle/calls
case $verb in
create)
    rm -f $bundle/go
    sh -c "until [ -e $bundle/go ]; do sleep 0.01; done; . $bundle/program" &
    echo $! > $pid;;
start) echo > $bundle/go;;
esac
[ ! -e $bundle/$verb ] || . $bundle/$verb
"""
ENDED = "while kill -0 $(cat $bundle/pid) 2>/dev/null; do sleep 0.01; done\n"

Bundle = Callable[..., list[Op]]


@pytest.fixture
def bundle(sandbox: Path) -> Iterator[Bundle]:
    """Makes a bundle with scripts: the program, and what comes after a verb; returns what a track makes it with."""
    program = sandbox / "runtime"
    program.write_text(RUNTIME)
    program.chmod(0o755)

    def make(name: str, **scripts: str) -> list[Op]:
        directory = sandbox / name
        directory.mkdir()
        for verb, text in scripts.items():
            (directory / verb).write_text(text)
        env = (f"PATH={os.environ['PATH']}", f"BUNDLES={sandbox}")
        return [Op("runtime", (str(program),), env, str(directory), name, f"{directory}/pid")]

    yield make
    # What a runtime that was stopped in the middle had made is in no group here, by which pods are cleared of it.
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{sandbox}/" in line.read_text(errors="replace"):
                os.kill(int(line.parent.name), signal.SIGKILL)


def app(make: list[Op]) -> list[Op]:
    """The track of an app that `make` makes."""
    return [Op("unshare", CLONE_NEWNS), Op("sync", "start"), *make]


def plan_of(pod: Path, make: list[Op], **options: object) -> Plan:
    return pod_plan(pod, {"web": app(make)}, **options)  # type: ignore[arg-type]


def calls(sandbox: Path, name: str) -> list[str]:
    """The verbs of a runtime that were called."""
    return [line.split()[0] for line in (sandbox / name / "calls").read_text().splitlines()]


@pytest.mark.parametrize(("program", "key", "value"), [("exit 3", "status", "3"), ("kill -ABRT $$", "signal", "6")])
def test_its_end_is_the_apps(
    binaries: Path, pod: Path, sandbox: Path, bundle: Bundle, program: str, key: str, value: str
) -> None:
    keeper = Keeper(binaries, plan_of(pod, bundle("c", program=f"echo out; echo err >&2; {program}")), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == (3 if key == "status" else 128 + signal.SIGABRT)
    assert keeper.status("web")[key] == value
    assert keeper.status("web")["pid"] == (sandbox / "c/pid").read_text().strip()
    assert set(keeper.log("web")) == {"stdout F out", "stderr F err"}
    assert (sandbox / "c/calls").read_text().splitlines() == [
        f"create --bundle {sandbox}/c --pid-file {sandbox}/c/pid c",
        "start c",
    ]


def test_one_that_ends_before_its_start_is_told_has_run(binaries: Path, pod: Path, bundle: Bundle) -> None:
    keeper = Keeper(binaries, plan_of(pod, bundle("c", program="exit 4", start=ENDED)), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 4
    assert keeper.status("web")["status"] == "4"


@pytest.mark.parametrize(
    ("scripts", "error"),
    [
        ({"create": "kill $!; exit 1"}, errno.ECHILD),
        ({"create": "kill $!; rm $bundle/pid"}, errno.ENOENT),
        ({"create": "kill $!; echo x > $bundle/pid"}, errno.EINVAL),
        ({"create": "kill $!; echo 0 > $bundle/pid"}, errno.EINVAL),
        ({"create": "kill $!; echo 99999999999999 > $bundle/pid"}, errno.EINVAL),
        # The performer itself, and a process that the keeper could not wait for.
        ({"create": "kill $!; echo $PPID > $bundle/pid"}, errno.EPROTO),
        ({"create": f"kill $!; echo {os.getpid()} > $bundle/pid"}, errno.EPROTO),
        ({"start": "exit 1"}, errno.ECHILD),
    ],
)
def test_a_runtime_that_fails_fails_the_start(
    binaries: Path, pod: Path, bundle: Bundle, scripts: dict[str, str], error: int
) -> None:
    keeper = Keeper(binaries, plan_of(pod, bundle("c", program="sleep 600", **scripts)), pod)
    assert keeper.report() == [f"fail app web 2 {error}"]
    assert keeper.wait()[0] != 0
    assert not (pod / "status/web").exists()


def test_it_runs_again_when_the_runtime_has_forgotten_it(
    binaries: Path, pod: Path, sandbox: Path, bundle: Bundle
) -> None:
    make = bundle("c", program="exit 3")
    again = Track("again", [Op("join", CLONE_NEWNS), *make])
    plan = plan_of(pod, make, before_start=[Op("restart", "web", "again", 1, 10, 20, 1)], tracks=[again])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.wait()[0] == 3
    assert keeper.status("web")["restarts"] == "1"
    assert calls(sandbox, "c") == ["create", "start", "delete", "create", "start"]


def test_handlers_are_made_too_and_what_they_return_counts(
    binaries: Path, pod: Path, sandbox: Path, bundle: Bundle
) -> None:
    make = bundle("c", program="echo app")
    handlers = [("pre", "handler", "echo before"), ("post", "post-stop", "echo after; exit 6")]
    tracks = [Track(name, [Op("join", CLONE_NEWNS), *bundle(name, program=text)]) for name, _, text in handlers]
    before = [Op(op, "web", name, "logs/web.log", 0, "") for name, op, _ in handlers]
    keeper = Keeper(binaries, plan_of(pod, make, before_start=before, tracks=tracks), pod)
    assert keeper.report() == ["handler web 0", "ready"]
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F before", "stdout F app", "stdout F after"]
    assert keeper.status("web")["post-stop"] == "6"


@pytest.mark.parametrize("when", ["create", "start", "program"])
def test_a_stop_ends_it_at_any_time(binaries: Path, pod: Path, sandbox: Path, bundle: Bundle, when: str) -> None:
    here = f"echo > {sandbox}/here; sleep 600"
    scripts = {"program": "sleep 600", when: here}
    keeper = Keeper(binaries, plan_of(pod, bundle("c", **scripts), grace=50), pod)
    wait_for(lambda: (sandbox / "here").exists())
    keeper.process.terminate()
    assert keeper.wait()[0] != 0


def test_where_the_pods_namespaces_are(binaries: Path, pod: Path, sandbox: Path, bundle: Bundle) -> None:
    show = f"readlink {pod}/joined/pid; readlink /proc/self/ns/pid; exec sleep 600"
    plan = plan_of(pod, bundle("c", program=show), grace=0)
    ops = plan.track("keeper").ops
    ops.insert(next(index for index, op in enumerate(ops) if op.name == "init") + 1, Op("namespaces", f"{pod}/joined"))
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: len(keeper.log("web")) == 2)
    inside = os.readlink(f"/proc/{keeper.status('_keeper')['init']}/ns/pid")
    # What the runtime is, is for it to do: it is run where the keeper is.
    assert keeper.log("web") == [f"stdout F {inside}", f"stdout F {os.readlink('/proc/self/ns/pid')}"]
    keeper.process.terminate()
    keeper.wait()
