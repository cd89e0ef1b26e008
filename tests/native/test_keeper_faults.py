"""A keeper among liars and leftovers: forged reports, stubborn groups, missing pieces."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from planlib import NO_OP, Keeper, app_ops, pod_plan, wait_for, wait_idle, wait_listening

from appc.plan.ops import Op, Plan, Track
from capabilities import need

pytestmark = pytest.mark.root


@pytest.fixture(scope="session")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that takes the place of appc-init."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        need("gcc")
    program = tmp_path_factory.mktemp("liar") / "false-init"
    source = Path(__file__).parent / "false_init.c"
    subprocess.run([str(compiler), "-D_GNU_SOURCE", "-static", "-o", program, source], check=True)
    return program


@pytest.mark.parametrize(
    ("lie", "index", "error"),
    [
        ("short", NO_OP, errno.EPROTO),
        ("large", NO_OP, errno.EPROTO),
        ("unknown", 0, errno.EPROTO),
        ("beyond", NO_OP, errno.EPROTO),
        ("early-start", 0, errno.EPROTO),
        ("not-pid-1", 0, errno.EPROTO),
        ("descriptors", NO_OP, errno.EPROTO),
        ("pair", NO_OP, errno.EPROTO),
    ],
)
def test_a_child_that_lies_is_ended(binaries: Path, liar: Path, pod: Path, lie: str, index: int, error: int) -> None:
    (pod / "logs").mkdir()
    keep = [Op("app", "web", lie, "null", "log", "log", "logs/web.log", ""), Op("supervise", 100, 0, 0)]
    plan = Plan([Track("keeper", keep), Track(lie, [Op("umask", 0), Op("sync", "start")])])
    keeper = Keeper(binaries, plan, pod, init=liar)
    assert keeper.report() == [f"fail {lie} {index} {error}"]
    assert keeper.wait()[0] == 125


@pytest.mark.parametrize("lie", ["close", "die"])
def test_a_child_that_goes_away_fails_the_launch(binaries: Path, liar: Path, pod: Path, lie: str) -> None:
    keep = [Op("app", "web", lie, "null", "null", "null", "", "")]
    plan = Plan([Track("keeper", keep), Track(lie, [Op("umask", 0), Op("sync", "start")])])
    keeper = Keeper(binaries, plan, pod, init=liar)
    if lie == "close":
        # Alive but silent: only its keeper's patience, or a signal, ends it.
        wait_listening(keeper.process.pid)
        wait_idle(keeper.process.pid)
        keeper.process.send_signal(signal.SIGTERM)
        assert keeper.report() == []
        assert keeper.wait()[0] == 143
    else:
        assert keeper.report() == [f"fail keeper 0 {errno.ECONNRESET}"]
        assert keeper.wait()[0] == 125


def test_a_flood_of_warnings_does_not_hold_up_the_keeper(binaries: Path, liar: Path, pod: Path) -> None:
    keep = [Op("app", "web", "flood", "null", "null", "null", "", "")]
    plan = Plan([Track("keeper", keep), Track("flood", [Op("umask", 0), Op("sync", "start")])])
    keeper = Keeper(binaries, plan, pod, init=liar)
    wait_listening(keeper.process.pid)
    time.sleep(0.3)
    keeper.process.send_signal(signal.SIGTERM)
    # Nobody read the report meanwhile: it is given up, the pod is ended.
    assert keeper.wait()[0] == 143


def test_a_program_that_is_none(binaries: Path, pod: Path) -> None:
    script = pod / "text"
    script.write_text("no program")
    script.chmod(0o755)
    plan = Plan([Track("keeper", [Op("init", 0x20000000, "init", "")]), Track("init", [Op("reap")])])
    keeper = Keeper(binaries, plan, pod, init=script)
    assert keeper.report() == [f"fail init {NO_OP} {errno.ENOEXEC}"]
    assert keeper.wait()[0] == 125


@pytest.mark.parametrize(
    "arguments", ["", "3", "3 4 - -", "x - - - -", "900 901 - - -", "0 1 - - -", "3x - - - -", "99999999999 - - - -"]
)
def test_a_wrong_call_is_refused(binaries: Path, arguments: str) -> None:
    done = subprocess.run([binaries / "appc-keep", *arguments.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert done.stderr.startswith(("usage: appc-keep", "appc: keeper: Bad file descriptor"))


def test_standard_streams_that_are_closed(release: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(release, pod_plan(pod, {"web": app_ops(tree, "report")}, mode="inherit"), pod, close_standard=True)
    assert keeper.wait()[0] == 0


def test_a_group_is_emptied_and_removed(binaries: Path, pod: Path, tree: Path, group: Path) -> None:
    nested = group / "made-inside" / "deeper"
    nested.mkdir(parents=True)
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    for sleeper, where in zip(sleepers, (group, group / "made-inside", nested), strict=True):
        (where / "cgroup.procs").write_text(str(sleeper.pid))
    plan = pod_plan(pod, {"web": app_ops(tree)}, teardown=[Op("rmdir-cgroup", str(group), f"{group}/cgroup.procs")])
    keeper = Keeper(binaries, plan, pod)
    assert [sleeper.wait() for sleeper in sleepers] == [-9] * 3
    assert keeper.wait()[0] == 0
    assert not group.exists()
    assert not (pod / "status/_warnings").exists()


def test_a_group_that_is_gone_is_fine(binaries: Path, pod: Path, tree: Path) -> None:
    steps = [Op("rmdir-cgroup", "/sys/fs/cgroup/absent/appc/x", "cgroup.procs"), Op("rmdir-cgroup", str(pod / "y"), "")]
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree)}, teardown=steps), pod)
    assert keeper.wait()[0] == 0
    assert not (pod / "status/_warnings").exists()


def test_a_removed_directory_is_never_anothers(binaries: Path, pod: Path, tree: Path, sandbox: Path) -> None:
    """Only empty directories of a control group file system can be removed: rmdir takes nothing else."""
    (sandbox / "data").mkdir()
    (sandbox / "data/file").touch()
    keeper = Keeper(
        binaries,
        pod_plan(pod, {"web": app_ops(tree)}, teardown=[Op("rmdir-cgroup", str(sandbox / "data"), "file")]),
        pod,
    )
    assert keeper.wait()[0] == 0
    assert (sandbox / "data/file").exists()


def test_the_keeper_reaps_what_falls_to_it(binaries: Path, pod: Path, tree: Path, sandbox: Path) -> None:
    """Orphans of helpers become the keeper's children, being nobody else's."""
    mark = sandbox / "pid"
    helper = Op("finish", ("/bin/sh", "-c", f"sleep 600 & echo $! > {mark}"))
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "wait")}, keeper=[helper]), pod)
    assert keeper.report() == ["ready"]
    orphan = int(mark.read_text())
    assert Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1] == str(keeper.process.pid)
    os.kill(orphan, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{orphan}"))
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 143
