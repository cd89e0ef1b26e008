"""The life of a pod under its keeper: statuses, stopping, records, namespaces, teardown."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from planlib import CLONE_NEWUTS, Keeper, app_ops, pod_plan, private_root, run_probe, wait_for, wait_taken

from appc.plan.ops import Op, Plan, Track
from capabilities import need

pytestmark = pytest.mark.root


def test_a_pod_of_one_app(binaries: Path, pod: Path, tree: Path) -> None:
    before = time.time_ns()
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "echo", "hello", "error", "oops")}), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait() == (0, "", "")
    assert sorted(keeper.log("web")) == ["stderr F oops", "stdout F hello"]
    status = keeper.status("web")
    assert status["status"] == "0"
    assert before < int(status["started"]) < int(status["exited"]) < time.time_ns()
    assert set(keeper.status("_keeper")) == {"pid", "starttime", "init", "init-starttime", "ready"}
    assert keeper.status("_keeper")["pid"] == str(keeper.process.pid)
    assert not (pod / "status/_failure").exists()


@pytest.mark.parametrize("swaps", [True, False], ids=["swapping", "not-swapping"])
def test_status_files_are_replaced_without_a_rename_that_flushes(
    binaries: Path, pod: Path, tree: Path, tmp_path: Path, swaps: bool
) -> None:
    """A rename over a file makes ext4 and btrfs write the new one to disk; a file system may know nothing else."""
    need("strace")
    trace = tmp_path / "trace"
    fault = () if swaps else ("-e", "inject=renameat2:error=EINVAL")
    prefix = ("strace", "-f", "-e", "trace=renameat,renameat2", *fault, "-o", str(trace))
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "exit", "7")}), pod, prefix=prefix)
    assert keeper.wait()[0] == 7
    assert keeper.status("web")["status"] == "7"
    assert sorted(entry.name for entry in (pod / "status").iterdir()) == ["_keeper", "web"], "and nothing half-done"
    renamed = [line for line in trace.read_text().splitlines() if "renameat(" in line and '"status/web"' in line]
    assert (len(renamed) == 1) is swaps, "the first time, when there is nothing to swap with"


@pytest.mark.parametrize(
    ("actions", "record", "status"),
    [
        (("exit", "7"), ("status", "7"), 7),
        (("kill", "9"), ("signal", "9"), 137),
        (("kill", "15"), ("signal", "15"), 143),
    ],
)
def test_the_apps_status_is_the_pods(
    binaries: Path, pod: Path, tree: Path, actions: tuple[str, ...], record: tuple[str, str], status: int
) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, *actions)}), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == status
    assert record in keeper.status("web").items()


def test_apps_share_the_pods_namespaces(binaries: Path, pod: Path, tree: Path) -> None:
    look = ("report", *sum((("link", f"/proc/self/ns/{kind}") for kind in ("net", "ipc", "uts", "pid", "mnt")), ()))
    keeper = Keeper(binaries, pod_plan(pod, {"a": app_ops(tree, *look), "b": app_ops(tree, *look)}), pod)
    assert keeper.wait()[0] == 0
    first, second = ([line for line in keeper.log(name) if ":[" in line and "fd." not in line] for name in "ab")
    assert first[:4] == second[:4]
    assert first[4] != second[4]
    assert f"stdout F uts:[{os.stat('/proc/self/ns/uts').st_ino}]" not in first
    for name in "ab":
        values = dict(line.removeprefix("stdout F ").partition("=")[::2] for line in keeper.log(name))
        assert values["hostname"] == "pod"
        assert values["ppid"] == "0"
        assert values["sid"] == values["pid"]


def test_the_app_sees_a_sealed_init_and_no_descriptors(binaries: Path, pod: Path, tree: Path) -> None:
    peek = ("report", "write", "/proc/1/exe", "x", "list", "/proc/1/fd")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, *peek)}), pod)
    assert keeper.wait()[0] == 0
    lines = [line.partition(" F ")[2] for line in keeper.log("web")]
    values = dict(line.partition("=")[::2] for line in lines if "=" in line)
    assert values["init.exe"] == "/memfd:appc-init (deleted)"
    assert values["init.comm"] == "appc-init"
    assert {name for name in values if name.startswith("fd.")} == {"fd.0", "fd.1", "fd.2"}
    assert any(line.startswith("/proc/1/exe: errno") for line in lines)
    # The keeper's socket and the lock, besides standard streams.
    assert lines[lines.index(next(line for line in lines if line.startswith("/proc/1/exe"))) + 1 :] == list("01235")


def test_a_failing_app_stops_the_others(binaries: Path, pod: Path, tree: Path) -> None:
    apps = {
        "main": app_ops(tree, "trap", "15", "0", "write", "/tmp/up", "", "wait"),
        "side": app_ops(tree, "await", "/tmp/up", "exit", "3"),
    }
    keeper = Keeper(binaries, pod_plan(pod, apps), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 3
    assert keeper.status("main")["status"] == "0"
    assert keeper.log("main")[-1] == "stdout F caught 15"


def test_an_app_that_has_just_begun_is_stopped_as_one_that_has(release: Path, pod: Path, tree: Path) -> None:
    """Both are there when the keeper looks: that one app has failed, and that the other was executed before that."""
    need("strace")
    apps = {
        "side": app_ops(tree, "await", "/tmp/up", "exit", "3"),
        "main": app_ops(tree, "trap", "15", "0", "write", "/tmp/up", "", "wait"),
    }
    slow = ("strace", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:delay_exit=500000")
    keeper = Keeper(release, pod_plan(pod, apps), pod, prefix=slow)
    assert keeper.wait()[0] == 3
    assert keeper.status("main")["status"] == "0"


def test_an_app_that_ends_well_leaves_the_others_alone(binaries: Path, pod: Path, tree: Path) -> None:
    apps = {"short": app_ops(tree, "exit", "0"), "long": app_ops(tree, "sleep", "0.4", "echo", "done")}
    keeper = Keeper(binaries, pod_plan(pod, apps), pod)
    assert keeper.wait()[0] == 0
    assert keeper.log("long") == ["stdout F done"]


def test_sigterm_stops_the_pod(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "trap", "15", "5", "echo", "up", "wait")}), pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 5
    assert keeper.log("web") == ["stdout F up", "stdout F caught 15"]


def test_grace_ends_in_sigkill(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree, "ignore", "15", "echo", "up", "wait")}, grace=300)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    started = time.monotonic()
    keeper.process.send_signal(signal.SIGINT)
    assert keeper.wait()[0] == 137
    assert time.monotonic() - started >= 0.3
    assert keeper.status("web")["signal"] == "9"


def test_a_second_interrupt_kills_at_once(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree, "ignore", "15", "echo", "up", "wait")}, grace=60000)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    keeper.process.send_signal(signal.SIGINT)
    wait_taken(keeper.process.pid, signal.SIGINT)
    keeper.process.send_signal(signal.SIGINT)
    assert keeper.wait()[0] == 137


def test_a_second_request_to_stop_is_no_hurry(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree, "ignore", "15", "echo", "up", "await", "/tmp/go")}, grace=60000)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    for _ in range(3):
        keeper.process.send_signal(signal.SIGTERM)
        wait_taken(keeper.process.pid, signal.SIGTERM)
    (tree / "tmp/go").touch()
    assert keeper.wait()[0] == 0


def test_a_stop_during_the_launch(binaries: Path, pod: Path, tree: Path) -> None:
    handler = [Op("join", 0x20000), run_probe("echo", "up", "wait")]
    plan = pod_plan(
        pod,
        {"web": app_ops(tree)},
        before_start=[Op("handler", "web", "pre", "logs/web.log", 0, "")],
        tracks=[Track("pre", handler)],
    )
    keeper = Keeper(binaries, plan, pod)
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.report() == []
    assert keeper.wait()[0] == 128 + signal.SIGTERM
    assert not (pod / "status/web").exists()


def test_an_app_that_cannot_start_fails_the_pod(binaries: Path, pod: Path, tree: Path) -> None:
    broken = [*app_ops(tree)[:-1], Op("exec", ("/absent",), ("absent",), ())]
    apps = {"first": app_ops(tree, "trap", "15", "0", "wait"), "broken": broken}
    keeper = Keeper(binaries, pod_plan(pod, apps), pod)
    assert keeper.report() == [f"fail app broken {len(broken) - 1} {errno.ENOENT}"]
    assert keeper.wait()[0] == 125
    assert keeper.status("_failure") == {"track": "app broken", "op": str(len(broken) - 1), "errno": str(errno.ENOENT)}
    # Stopped like any other; it may not have come to set its trap.
    assert "exited" in keeper.status("first")
    assert not (pod / "status/broken").exists()


def test_a_failed_op_of_the_keeper(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree)}, keeper=[Op("adopt", CLONE_NEWUTS, "/absent")])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == [f"fail keeper 1 {errno.ENOENT}"]
    assert keeper.wait()[0] == 125
    assert keeper.status("_failure")["op"] == "1"


def test_warnings_are_told_and_kept(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, before=[Op("umask", 0o7777, tolerate=(errno.EINVAL,))])
    plan = pod_plan(pod, {"web": app}, keeper=[Op("adopt", 1, "/absent", tolerate=(errno.EINVAL,))])
    keeper = Keeper(binaries, plan, pod)
    lines = [f"warn keeper 1 {errno.EINVAL}", f"warn app web {len(app) - 3} {errno.EINVAL}"]
    assert keeper.report() == [*lines, "ready"]
    assert keeper.wait()[0] == 0
    assert (pod / "status/_warnings").read_text().splitlines() == [line.removeprefix("warn ") for line in lines]


@pytest.mark.parametrize(
    "damage", [lambda plan: plan[:-1], lambda plan: b"", lambda plan: plan[:12] + b"\0" + plan[13:]]
)
def test_a_refused_plan(binaries: Path, pod: Path, tree: Path, damage: Callable[[bytes], bytes]) -> None:
    from appc.plan.wire import encode

    plan = encode(pod_plan(pod, {"web": app_ops(tree)}, keeper=[Op("tmpfs", str(pod / "made"), ())]))
    keeper = Keeper(binaries, damage(plan), pod)
    (line,) = keeper.report()
    assert line.startswith("fail keeper 4294967295 ")
    assert keeper.wait()[0] == 125
    assert not (pod / "made").exists()


def test_ops_of_init_are_no_work_for_the_keeper(binaries: Path, pod: Path) -> None:
    keeper = Keeper(binaries, Plan([Track("keeper", [Op("ready"), Op("umask", 0)])]), pod)
    assert keeper.report() == [f"fail keeper 4294967295 {errno.EBADMSG}"]
    assert keeper.wait()[0] == 125


@pytest.mark.parametrize("name", ["_keeper", "", ".hidden", "a/b", "x" * 300])
def test_names_that_are_no_file_names_are_refused(binaries: Path, pod: Path, tree: Path, name: str) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {name: app_ops(tree)}, mode="null"), pod)
    (line,) = keeper.report()
    assert line.startswith("fail keeper")
    assert keeper.wait()[0] == 125


def test_pid_1_reaps_orphans(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(
        binaries, pod_plan(pod, {"web": app_ops(tree, "orphan", "0.1", "gone", "/proc/4", "list", "/proc")}), pod
    )
    assert keeper.wait()[0] == 0
    processes = [line for line in keeper.log("web") if line.partition(" F ")[2].isdigit()]
    assert processes == ["stdout F 1", "stdout F 2"]


def test_what_an_app_leaves_behind_ends_with_the_pod(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "orphan", "600")}), pod)
    assert keeper.wait()[0] == 0


def test_the_pods_tmpfs_is_the_apps_alone(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "shm").mkdir()
    shm = str(pod / "shm")
    look = ("stat", "/shm", "write", "/shm/x", "y", "mounts")
    app = app_ops(tree, *look)
    app[-5:-5] = [Op("bind", shm, "/shm", 0, 0)]
    plan = pod_plan(pod, {"web": app}, keeper=[Op("tmpfs", shm, ("mode=1777", "size=1m"))])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.wait()[0] == 0
    log = keeper.log("web")
    assert any(line.startswith("stdout F /shm 041777") for line in log)
    assert "stdout F /shm/x: written" in log
    assert any(" /shm rw,nosuid,nodev,relatime" in line and "size=1024k" in line for line in log)
    assert list((pod / "shm").iterdir()) == []


def test_teardown_goes_on_after_a_failure_and_ends_with_finish(
    binaries: Path, pod: Path, tree: Path, sandbox: Path
) -> None:
    mark = sandbox / "finished"
    moved = sandbox / "exited"
    steps = [
        Op("rmdir-cgroup", "/proc/self", "cgroup.procs"),
        Op("rename-phase", str(sandbox / "absent"), str(sandbox / "x"), tolerate=(errno.ENOENT,)),
        Op("rename-phase", str(pod), str(moved)),
        Op("finish", ("/bin/sh", "-c", f"ls -l /proc/self/fd > {mark}; readlink /proc/self/ns/mnt >> {mark}")),
    ]
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree)}, teardown=steps), pod)
    assert keeper.wait()[0] == 0
    assert (moved / "status/web").exists()
    assert (moved / "status/_warnings").read_text().startswith("teardown 1 ")
    lines = mark.read_text().splitlines()
    assert lines[-1] == os.readlink("/proc/self/ns/mnt")
    assert not any(str(sandbox) in line and str(mark) not in line for line in lines)


def test_the_lock_is_held_as_long_as_anything_lives(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "wait")}), pod)
    assert keeper.report() == ["ready"]
    fd = os.open(pod / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    keeper.process.send_signal(signal.SIGTERM)
    keeper.wait()
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_a_killed_keeper_takes_the_pod_along(binaries: Path, pod: Path, tree: Path) -> None:
    apps = {"web": app_ops(tree, "ignore", "15", "orphan", "600", "wait"), "two": app_ops(tree, "wait")}
    keeper = Keeper(binaries, pod_plan(pod, apps), pod)
    assert keeper.report() == ["ready"]
    pids = [int(keeper.status(name)["pid"]) for name in apps] + [int(keeper.status("_keeper")["init"])]
    keeper.process.kill()
    keeper.process.wait()
    fd = os.open(pod / "lock", os.O_RDWR)

    def free() -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    wait_for(free)
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    os.close(fd)


def test_a_killed_keeper_takes_a_starting_pod_along(binaries: Path, pod: Path, tree: Path) -> None:
    handler = [Op("join", 0x20000), run_probe("echo", "up", "wait")]
    plan = pod_plan(
        pod,
        {"web": app_ops(tree, "wait")},
        before_start=[Op("handler", "web", "pre", "logs/web.log", 0, "")],
        tracks=[Track("pre", handler)],
    )
    keeper = Keeper(binaries, plan, pod)
    wait_for(lambda: keeper.log("web") == ["stdout F up"])
    keeper.process.kill()
    keeper.wait()


def test_a_killed_pid_1_ends_the_pod_on_record(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(
        pod,
        {"web": app_ops(tree, "wait"), "two": app_ops(tree, "wait")},
        before_start=[Op("post-stop", "web", "post", "logs/web.log", 0, "")],
        tracks=[Track("post", [Op("join", 0x20000), run_probe("echo", "post")])],
    )
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    os.kill(int(keeper.status("_keeper")["init"]), signal.SIGKILL)
    assert keeper.wait()[0] == 137
    assert keeper.status("web")["signal"] == keeper.status("two")["signal"] == "9"
    assert keeper.status("web")["post-stop"] == "skipped"
    assert keeper.log("web") == []


def test_the_keeper_keeps_nothing_of_its_caller(release: Path, pod: Path, tree: Path) -> None:
    stray = os.open("/", os.O_RDONLY)
    os.set_inheritable(stray, True)
    keeper = Keeper(release, pod_plan(pod, {"web": app_ops(tree, "wait")}), pod, pass_more=(stray,))
    os.close(stray)
    assert keeper.report() == ["ready"]
    pid = keeper.process.pid
    open_files = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert "/" not in open_files
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.stat(f"/proc/{pid}/stat").st_uid == 0
    assert Path(f"/proc/{pid}/comm").read_text() == "appc-keep\n"
    assert os.getsid(pid) == pid
    keeper.process.send_signal(signal.SIGTERM)
    keeper.wait()


def test_handlers_and_apps_stay_in_one_root(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "data").mkdir()
    app = app_ops(tree, "read", "/data/from-handler")
    app[-5:-5] = [Op("mount", "tmpfs", "t", "/data", 0, ())]
    plan = pod_plan(
        pod,
        {"web": app},
        before_start=[Op("handler", "web", "pre", "logs/web.log", 5000, "")],
        tracks=[Track("pre", [Op("join", 0x20000), run_probe("write", "/data/from-handler", "hello\n")])],
    )
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["handler web 0", "ready"]
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F /data/from-handler: written", "stdout F hello"]
    assert list((tree / "data").iterdir()) == []


def test_private_roots_can_be_shared_by_apps(binaries: Path, pod: Path, tree: Path) -> None:
    lone = [*private_root(tree), Op("pivot"), Op("sync", "start"), Op("death-signal", 9), run_probe("exit", "0")]
    keeper = Keeper(binaries, pod_plan(pod, {f"app{number}": lone for number in range(12)}), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
