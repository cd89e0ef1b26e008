"""What callers hand over to a container and get from it: descriptors, pidfds, hooks inside, agents of filters."""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capabilities import need
from conftest import PATIENCE, Runtime, configuration

# linux/seccomp.h on 64-bit machines
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
NOTIFICATION, RESPONSE = 80, "=QqiI"


def started(runtime: Runtime, config: dict[str, Any]) -> None:
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")


def handing_over(runtime: Runtime, given: dict[int, int], *words: str, environment: str = "") -> str:
    """Call the runtime with descriptors at these numbers, and none besides; return its output."""
    # Above every number they could cover.
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for number, fd in given.items()}
    path = runtime.base / "handed"
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_OPEN, 1, str(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)]  # type: ignore[list-item]
    actions += [(os.POSIX_SPAWN_DUP2, 1, 2), (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]  # type: ignore[list-item]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()]
    script = f'{environment} exec "$@"'
    command = ["/bin/sh", "-c", script, "sh", *runtime.words(*words)]
    pid = os.posix_spawn(command[0], command, dict(os.environ), file_actions=actions)  # type: ignore[arg-type]
    for fd in high.values():
        os.close(fd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, path.read_text()
    return path.read_text()


def descriptors(report: str) -> dict[str, str]:
    return {line.split("=")[0]: line.split("=")[1] for line in report.splitlines() if line.startswith("fd.")}


def test_descriptors_become_the_containers_from_three_on(runtime: Runtime, sandbox: Path) -> None:
    files = []
    for name in ("a", "b", "c"):
        (sandbox / name).write_text(name)
        files.append(os.open(sandbox / name, os.O_RDONLY))
    given = dict(enumerate(files, 3))
    try:
        runtime.configure(configuration("/probe", "report"))
        words = ("run", "--bundle", str(runtime.bundle))
        found = descriptors(handing_over(runtime, given, *words, "--preserve-fds", "2", "one"))
        assert {name: path for name, path in found.items() if name not in ("fd.0", "fd.1", "fd.2")} == {
            "fd.3": str(sandbox / "a"),
            "fd.4": str(sandbox / "b"),
        }
        assert set(descriptors(handing_over(runtime, given, *words, "one"))) <= {"fd.0", "fd.1", "fd.2"}
        report = handing_over(
            runtime, given, *words, "--preserve-fds", "1", "one", environment="LISTEN_FDS=2 LISTEN_PID=$$"
        )
        assert len(descriptors(report)) == 6
        assert "env.LISTEN_FDS=2\nenv.LISTEN_PID=1\n" in report
        # Meant for another process.
        report = handing_over(runtime, given, *words, "one", environment="LISTEN_FDS=2 LISTEN_PID=1")
        assert len(descriptors(report)) == 3
        runtime.configure(configuration("/bin/sleep", "1000"))
        runtime.create("one")
        runtime("start", "one")
        found = descriptors(handing_over(runtime, given, "exec", "--preserve-fds", "3", "one", "/probe", "report"))
        assert found["fd.5"] == str(sandbox / "c")
        words = ("exec", "one", "/bin/sh", "-c", "[ $LISTEN_PID = $$ ] && echo mine")
        assert handing_over(runtime, given, *words, environment="LISTEN_FDS=1 LISTEN_PID=$$") == "mine\n"
    finally:
        for fd in files:
            os.close(fd)


def test_descriptors_that_are_not_there_are_refused(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/true"))
    assert "descriptor 3 is not open" in runtime.create("one", "--preserve-fds", "1", fails=1)
    assert "not a number" in runtime.create("one", "--preserve-fds", "-1", fails=1)
    assert "no more than 32" in runtime.create("one", "--preserve-fds", "33", fails=1)
    assert not (runtime.root / "one").exists()


@pytest.fixture
def receiver(sandbox: Path) -> Iterator[socket.socket]:
    """A socket that is sent descriptors, at `receiver.sock` in the test's directory."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(sandbox / "receiver.sock"))
    listener.listen()
    listener.settimeout(PATIENCE)
    yield listener
    listener.close()


def received(listener: socket.socket) -> tuple[bytes, int]:
    connection, _ = listener.accept()
    with connection:
        data, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(4))
    ((_, _, fds),) = ancillary
    return data, array.array("i", fds)[0]


def test_a_pidfd_of_the_process_is_sent(runtime: Runtime, receiver: socket.socket, sandbox: Path) -> None:
    path = str(sandbox / "receiver.sock")
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one", "--pidfd-socket", path)
    _, pidfd = received(receiver)
    assert f"Pid:\t{runtime.state('one')['pid']}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    assert select.select([pidfd], [], [], 0)[0] == []
    runtime("start", "one")
    runtime("exec", "--pidfd-socket", path, "one", "/bin/true")
    _, other = received(receiver)
    assert select.select([other], [], [], PATIENCE)[0]
    runtime("delete", "--force", "one")
    assert select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)
    os.close(other)
    receiver.close()
    os.unlink(path)
    assert "--pidfd-socket" in runtime.create("two", "--pidfd-socket", path, fails=1)


def test_a_root_can_be_moved_instead(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sh", "-c", "ls /; /probe mounts"))
    out = runtime("run", "--bundle", str(runtime.bundle), "--no-pivot", "one").stdout
    assert "probe\n" in out
    assert sorted(out.partition("mount=")[0].split()) == sorted(os.listdir(runtime.bundle / "rootfs"))
    kernels = [line for line in out.splitlines() if " - proc " in line or " - sysfs " in line]
    assert len(kernels) == 1


def test_hooks_of_the_start_run_inside_before_the_program(runtime: Runtime) -> None:
    config = configuration("/bin/sh", "-c", "cat /hook; sleep 1000")
    script = "cat > /state; readlink /proc/self/ns/mnt > /hook; echo $A $0 >> /hook; /probe report > /report 2> /errors"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script, "zero"], "env": ["A=b"]}
    config["hooks"] = {"startContainer": [{"path": "/bin/true"}, hook]}
    config["process"]["user"] = {"uid": 0, "gid": 0}
    runtime.configure(config)
    runtime.create("one")
    root = runtime.bundle / "rootfs"
    assert not (root / "hook").exists()
    pid = runtime.state("one")["pid"]
    namespace = os.readlink(f"/proc/{pid}/ns/mnt")
    runtime("start", "one")
    assert (root / "hook").read_text() == f"{namespace}\nb zero\n"
    state = json.loads((root / "state").read_text())
    assert (state["id"], state["status"], state["pid"]) == ("one", "created", 1)
    report = (root / "report").read_text()
    assert "status.CapBnd=0000000000000420\n" in report
    assert set(descriptors(report)) == {"fd.0", "fd.1", "fd.2"}


def test_one_that_fails_or_hangs_stops_the_container(runtime: Runtime) -> None:
    for hook, words in (
        ({"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}, "it failed"),
        ({"path": "/missing"}, "it failed"),
        ({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}, "did not end in time"),
    ):
        config = configuration("/bin/sleep", "1000")
        config["hooks"] = {"startContainer": [hook]}
        runtime.configure(config)
        runtime.create("one")
        pid = runtime.state("one")["pid"]
        message = runtime("start", "one", fails=1).stderr
        assert "hooks.startContainer[0]" in message
        assert words in message
        runtime.wait(pid)
        assert runtime.state("one")["status"] == "stopped"
        runtime("delete", "one")


def test_commands_join_groups_below_the_containers(runtime: Runtime) -> None:
    started(runtime, configuration("/bin/sleep", "1000"))
    groups = [line.split(":") for line in Path(f"/proc/{runtime.state('one')['pid']}/cgroup").read_text().splitlines()]
    record = json.loads((runtime.root / "one/state.json").read_text())
    made = [Path(group) / "below" for group in record["cgroups"]]
    for group in made:
        group.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists():
                (group / name).write_text((group.parent / name).read_text())
    script = "while read line; do echo $line; done < /proc/self/cgroup"
    shown = runtime("exec", "--cgroup", "below", "one", "/bin/sh", "-c", script).stdout
    assert shown.count("/below\n") == len(made)
    assert len(groups) >= len(made)
    for path in ("missing", "../one", "nosuch:below"):
        runtime("exec", "--cgroup", path, "one", "/bin/true", fails=255)


class Agent(threading.Thread):
    """Answers getcwd's calls of one process with an errno; `states` is what it was told."""

    def __init__(self, listener: socket.socket, errno: int) -> None:
        super().__init__(daemon=True)
        self._listener = listener
        self._errno = errno
        self.states: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                data, fd = received(self._listener)
            except OSError:
                return
            self.states.append(json.loads(data))
            threading.Thread(target=self._answer, args=(fd,), daemon=True).start()

    def _answer(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while any(events & select.POLLIN for _, events in poll.poll(PATIENCE * 1000)):
            call = ctypes.create_string_buffer(NOTIFICATION)
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, call)
            identity = struct.unpack_from("=Q", call)[0]
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, struct.pack(RESPONSE, identity, 0, -self._errno, 0))
        os.close(fd)


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_an_agent_answers_calls(
    runtime: Runtime, receiver: socket.socket, sandbox: Path, *, no_new_privs: bool
) -> None:
    need("seccomp", "libseccomp")
    agent = Agent(receiver, 123)
    config = configuration("/probe", "syscall", "39", "sleep", "1000")
    if os.uname().machine != "x86_64":
        pytest.skip("needs x86_64")
    config["process"]["noNewPrivileges"] = no_new_privs
    if not no_new_privs:
        config["process"]["user"] = {"uid": 5, "gid": 5}
    config["annotations"] = {"a": "b"}
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(sandbox / "receiver.sock"),
        "listenerMetadata": "meta",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_NOTIFY"}],
    }
    runtime.configure(config)
    runtime.create("one")
    assert agent.states == []
    runtime("start", "one")
    state = runtime.state("one")
    (told,) = agent.states
    assert told["fds"] == ["seccompFd"]
    assert (told["pid"], told["metadata"], told["state"]["pid"]) == (state["pid"], "meta", state["pid"])
    assert (told["state"]["id"], told["state"]["annotations"]) == ("one", {"a": "b"})
    done = runtime("exec", "one", "/probe", "syscall", "39").stdout
    assert "errno=123" in done or "No medium" in done or "123" in done, done
    assert agent.states[1]["pid"] != state["pid"]
    assert agent.states[1]["state"]["pid"] == state["pid"]
    runtime("delete", "--force", "one")
    config["process"]["args"] = ["/probe", "syscall", "39"]
    runtime.configure(config)
    runtime("run", "--bundle", str(runtime.bundle), "two")
    assert agent.states[2]["state"]["id"] == "two"


def test_without_an_agent_nothing_runs(runtime: Runtime, sandbox: Path) -> None:
    need("seccomp", "libseccomp")
    config = configuration("/bin/sleep", "1000")
    section: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}],
    }
    config["linux"]["seccomp"] = section
    runtime.configure(config)
    assert "linux.seccomp.syscalls[0].action: needs a listenerPath" in runtime.create("one", fails=1)
    section["listenerPath"] = str(sandbox / "nobody")
    runtime.configure(config)
    runtime.create("one")
    assert "linux.seccomp.listenerPath" in runtime("start", "one", fails=1).stderr
    assert runtime.state("one")["status"] == "created"
    assert "linux.seccomp" in runtime("run", "--bundle", str(runtime.bundle), "two", fails=1).stderr
    section["syscalls"][0]["names"] = ["execve"]
    runtime.configure(config)
    assert "cannot be started when execve" in runtime.create("three", fails=1)
