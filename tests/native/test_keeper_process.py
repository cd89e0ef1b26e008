"""Processes that may outlive their keeper: how they are left, await their start, and what their hooks are told."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from pathlib import Path

from planlib import CLONE_NEWPID, FAIL, Keeper, private_root, run_probe, wait_for

from appc.plan.ops import Op, Plan, Track

INHERIT = ("inherit", "inherit", "inherit")


def process_plan(
    tree: Path,
    *actions: str,
    detached: int = 0,
    awaits: bool = False,
    hooks: tuple[Op, ...] = (),
    pid_file: str = "",
    before: tuple[Op, ...] = (),
) -> Plan:
    keeper = [Op("process", "container", CLONE_NEWPID, detached, *INHERIT, "", ""), *hooks]
    keeper += [Op("proceed", pid_file), Op("ready"), *([] if detached else [Op("wait")])]
    inside = [*private_root(tree), *([Op("sync", "created")] if hooks else []), Op("pivot"), *before]
    inside += [Op("death-signal", 0 if detached else 9), *([Op("await-start")] if awaits else []), run_probe(*actions)]
    return Plan([Track("keeper", keeper), Track("container", inside)])


def left_behind(binaries: Path, plan: Plan, pod: Path) -> int:
    """Run a plan whose process is detached; return the process's pid."""
    keeper = Keeper(binaries, plan, pod, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    return int(keeper.status("_process")["pid"])


def end(pid: int) -> None:
    os.kill(pid, 9)
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text())


def started(pod: Path) -> tuple[int, int, int]:
    """Say the word; return (kind, op, errno) of the packet that came back, zeros for none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.settimeout(20)
        directory = os.open(pod, os.O_PATH)
        caller.connect(f"/proc/self/fd/{directory}/start")
        os.close(directory)
        caller.send(b"x")
        packet = caller.recv(16)
    return struct.unpack("<3I", packet[:12]) if packet else (0, 0, 0)


def test_the_status_of_one_that_is_waited_for(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, process_plan(tree, "echo", "out", "exit", "7"), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[:2] == (7, "out\n")


def test_one_that_is_left_goes_on(binaries: Path, pod: Path, tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    pid = left_behind(binaries, process_plan(tree, "wait", detached=1, pid_file=str(file)), pod)
    assert file.read_text() == str(pid)
    assert Path(f"/proc/{pid}/comm").read_text() == "probe\n"
    end(pid)


def test_who_comes_and_goes_without_a_word_starts_nothing(binaries: Path, pod: Path, tree: Path) -> None:
    pid = left_behind(binaries, process_plan(tree, "wait", detached=1, awaits=True), pod)
    directory = os.open(pod, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(f"/proc/self/fd/{directory}/start")
    os.close(directory)
    assert Path(f"/proc/{pid}/comm").read_text() == "appc-init\n"
    assert started(pod) == (0, 0, 0)
    assert Path(f"/proc/{pid}/comm").read_text() == "probe\n"
    end(pid)


def test_who_starts_it_is_told_what_fails_then(binaries: Path, pod: Path, tree: Path) -> None:
    plan = process_plan(tree, detached=1, awaits=True)
    plan.track("container").ops[-1] = Op("exec", ("/nosuch",), ("nosuch",), ())
    left_behind(binaries, plan, pod)
    assert started(pod) == (FAIL, len(plan.track("container").ops) - 1, errno.ENOENT)


def test_a_program_is_looked_for_before_the_start(binaries: Path, pod: Path, tree: Path) -> None:
    for files, error in ((("/nosuch", "/proc"), errno.EACCES), (("/nosuch",), errno.ENOENT)):
        plan = process_plan(tree, detached=1, awaits=True, before=(Op("program", files),))
        keeper = Keeper(binaries, plan, pod, stdout=subprocess.DEVNULL)
        assert keeper.report() == [f"fail container 4 {error}"]
        assert keeper.wait()[0] == 125
        (pod / "start").unlink()
    plan = process_plan(tree, "exit", "0", before=(Op("program", ("/nosuch", "/probe")),))
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0


def shell(script: str, timeout: int = 0, inside: int = 0) -> Op:
    return Op("hook", "/bin/sh", ("sh", "-c", script), ("PATH=/bin:/usr/bin",), timeout, inside, ("{", "}"))


def test_hooks_are_told_the_pid_and_end_before_the_program_begins(
    binaries: Path, pod: Path, tree: Path, tmp_path: Path
) -> None:
    out, namespace = tmp_path / "out", tmp_path / "namespace"
    hooks = (shell(f"cat >{out}"), shell(f"readlink /proc/self/ns/mnt >{namespace}", inside=1))
    keeper = Keeper(binaries, process_plan(tree, "exit", "0", hooks=hooks), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    assert out.read_text() == "{" + keeper.status("_process")["pid"] + "}"
    assert namespace.read_text().strip() != os.readlink("/proc/self/ns/mnt")


def test_a_hook_that_fails_ends_the_process(binaries: Path, pod: Path, tree: Path) -> None:
    for hook, error in ((shell("exit 3"), errno.ECHILD), (shell("sleep 1000", timeout=50), errno.ETIMEDOUT)):
        keeper = Keeper(binaries, process_plan(tree, "exit", "0", hooks=(shell("true"), hook)), pod)
        assert keeper.report() == [f"fail keeper 2 {error}"]
        assert keeper.wait()[0] == 125


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_namespaces_are_adopted_only_of_the_process_that_is_meant(binaries: Path, pod: Path, tree: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as other:
        path = f"/proc/{other.pid}/ns/net"

        def outcome(pid: int, started: int) -> tuple[str, ...]:
            plan = process_plan(tree, "exit", "0")
            plan.tracks[0].ops[:0] = [Op("target", pid, started), Op("adopt", 0x40000000, path)]
            keeper = Keeper(binaries, plan, pod)
            report = keeper.report()
            keeper.wait()
            return tuple(report)

        assert outcome(other.pid, start_time(other.pid)) == ("ready",)
        assert outcome(other.pid, start_time(other.pid) + 1) == (f"fail keeper 0 {errno.ESRCH}",)
        assert outcome(1 << 31, 1) == (f"fail keeper 0 {errno.EINVAL}",)
        other.kill()
    assert outcome(other.pid, 1) == (f"fail keeper 0 {errno.ESRCH}",)


def test_a_pidfd_is_sent_before_the_process_goes_on(binaries: Path, pod: Path, tree: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        plan = process_plan(tree, "wait", detached=1, hooks=(Op("pidfd", str(tmp_path / "s")),))
        pid = left_behind(binaries, plan, pod)
        connection, _ = listener.accept()
        _, (pidfd,), _, _ = socket.recv_fds(connection, 64, 1)
        connection.close()
        assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        end(pid)
        os.close(pidfd)
    plan = process_plan(tree, "wait", hooks=(Op("pidfd", str(tmp_path / "nobody")),))
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == [f"fail keeper 1 {errno.ENOENT}"]
    keeper.wait()


def test_devices_are_moved_only_by_names_they_can_have(binaries: Path, pod: Path, tree: Path) -> None:
    for name, new, number in (("appc-none", "eth0", errno.ENODEV), ("lo", "x" * 16, errno.EINVAL)):
        keeper = Keeper(binaries, process_plan(tree, "wait", hooks=(Op("net-device", name, new),)), pod)
        assert keeper.report() == [f"fail keeper 1 {number}"]
        keeper.wait()


def test_a_listener_without_an_agent_ends_the_process(binaries: Path, pod: Path, tree: Path, tmp_path: Path) -> None:
    allow = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)

    def outcome(*agents: Op) -> list[str]:
        plan = process_plan(tree, "wait", before=(Op("no-new-privs"), Op("seccomp", 8, allow)))
        plan.tracks[0].ops[:0] = agents
        keeper = Keeper(binaries, plan, pod)
        report: list[str] = keeper.report()
        keeper.wait()
        return report

    ops = [op.name for op in process_plan(tree, "wait", before=(Op("seccomp", 8, allow),)).tracks[1].ops]
    index = ops.index("seccomp") + 1
    assert outcome() == [f"fail container {index} {errno.EPROTO}"]
    agent = Op("agent", str(tmp_path / "nobody"), ("a", "b"))
    assert outcome(agent) == [f"fail container {index} {errno.ENOENT}"]
    assert outcome(agent, agent) == [f"fail keeper 1 {errno.EINVAL}"]


def test_a_namespace_of_another_type_is_told_where_it_was_asked_for(binaries: Path, pod: Path, tree: Path) -> None:
    for path in ("/proc/self/ns/mnt", "/dev/null"):
        plan = process_plan(tree, "exit", "0")
        plan.tracks[0].ops.insert(0, Op("adopt", CLONE_NEWPID, path))
        keeper = Keeper(binaries, plan, pod)
        assert keeper.report() == [f"fail keeper 0 {errno.EINVAL}"], path
        keeper.wait()
