"""Commands beside a container, terminals, and what of the runtime reaches into either."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from appc.host.probe import facts
from conftest import PATIENCE, Runtime, configuration


@pytest.fixture
def running(runtime: Runtime) -> Runtime:
    """The runtime, with a container `one` that runs."""
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    runtime("start", "one")
    return runtime


def report(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_a_command_is_what_the_container_is(running: Runtime) -> None:
    pid = running.state("one")["pid"]
    kinds = ("mnt", "net", "pid", "uts", "ipc")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    inside = running("exec", "one", "/bin/sh", "-c", script).stdout.split()
    assert inside == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    # What the container has not, the command has not either.
    status = report(running("exec", "one", "/probe", "report").stdout)
    assert int(status["status.CapEff"], 16) == 1 << 5 | 1 << 10
    assert status["status.NoNewPrivs"] == "1"


def test_options_change_the_process(running: Runtime) -> None:
    done = running("exec", "--user", "5:6", "-e", "A=b", "--cwd", "/bin", "one", "/bin/sh", "-c", "echo $A $PWD")
    assert done.stdout == "b /bin\n"
    assert running("exec", "one", "/bin/sh", "-c", "exit 5", fails=5).stdout == ""
    for text in ("root", "0:x", "-1", "4294967295", ""):
        if text:
            assert "not the number" in running("exec", f"--user={text}", "one", "/bin/true", fails=255).stderr


def test_a_detached_command_outlives_the_runtime(running: Runtime, tmp_path: Path) -> None:
    process = {**configuration("/bin/sleep", "1000")["process"]}
    (tmp_path / "process.json").write_text(json.dumps(process))
    pid_file = tmp_path / "exec.pid"
    words = ("exec", "--detach", "--process", str(tmp_path / "process.json"), "--pid-file", str(pid_file), "one")
    subprocess.run(
        running.words(*words), check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    pids = json.loads(running("ps", "--format", "json", "one").stdout)
    assert int(pid_file.read_text()) in pids
    assert len(pids) == 2


def test_a_descriptor_of_the_runtime_is_no_place_to_work_in(running: Runtime) -> None:
    """CVE-2024-21626: a working directory that leads out of the container by a descriptor left open."""
    for number in range(3, 20):
        done = running("exec", "--cwd", f"/proc/self/fd/{number}", "one", "/bin/true", fails=255)
        assert "working directory" in done.stderr


def test_nothing_but_the_streams_is_open_inside(running: Runtime) -> None:
    for inside in (
        report(running("exec", "one", "/probe", "report").stdout),
        report(running("run", "--bundle", str(configured(running, "/probe", "report")), "two").stdout),
    ):
        assert {key for key in inside if key.startswith("fd.")} == {"fd.0", "fd.1", "fd.2"}


def configured(runtime: Runtime, *args: str) -> Path:
    runtime.configure(configuration(*args))
    return runtime.bundle


def receive_terminal(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, control, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    ((_, kind, data),) = control
    assert kind == socket.SCM_RIGHTS
    return array.array("i", data)[0]


def test_the_terminal_goes_to_the_console_socket(runtime: Runtime, console: socket.socket, tmp_path: Path) -> None:
    config = configuration("/bin/sh", "-c", "test -t 0 && test -t 2 && echo yes; ls /dev/console; exec sleep 1000")
    config["process"].update(terminal=True, consoleSize={"height": 33, "width": 111})
    runtime.configure(config)
    assert "console socket" in runtime.create("one", fails=1)
    runtime.create("one", "--console-socket", str(tmp_path / "console.sock"))
    master = receive_terminal(console)
    assert struct.unpack("HHHH", fcntl.ioctl(master, termios.TIOCGWINSZ, bytes(8)))[:2] == (33, 111)
    runtime("start", "one")
    assert b"yes" in os.read(master, 100)
    os.close(master)
    runtime("delete", "--force", "one")
    config["process"]["terminal"] = False
    runtime.configure(config)
    assert "console socket" in runtime.create("one", "--console-socket", str(tmp_path / "console.sock"), fails=1)


def test_who_is_told_only_a_user_keeps_groups_and_mask_of_the_container(runtime: Runtime) -> None:
    """Else a user without rights would have those of root's group."""
    etc = runtime.bundle / "rootfs/etc"
    etc.mkdir()
    (etc / "passwd").write_text("a:x:5:6::/home/a:/bin/sh\nb:x:9:9::/home/b:/bin/sh\n")
    config = configuration("/bin/sleep", "1000")
    config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27}
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    status = report(runtime("exec", "--user", "9", "one", "/probe", "report").stdout)
    assert [status[name] for name in ("uid", "gid", "groups", "umask")] == ["9 9 9", "6 6 6", "7 8", "0027"]
    assert report(runtime("exec", "--user", "9:10", "one", "/probe", "report").stdout)["gid"] == "10 10 10"
    # Where it is at home is looked up for itself.
    assert status["env.HOME"] == "/home/b"


def test_sockets_of_the_container_are_not_promised_to_commands(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sleep", "1000"))
    with socket.socket(socket.AF_UNIX) as handed, (runtime.base / "output").open("w") as output:
        words = runtime.words("create", "--bundle", str(runtime.bundle), "one")
        fd = fcntl.fcntl(handed.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
        os.dup2(fd, 3)
        os.close(fd)
        command = ["/bin/sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh", *words]
        subprocess.run(command, pass_fds=[3], check=True, timeout=PATIENCE, stdout=output, stderr=output)
    runtime("start", "one")
    assert "LISTEN" not in runtime("exec", "one", "/probe", "report").stdout


def test_a_command_comes_to_the_first_process_where_the_container_gave_controllers_away(runtime: Runtime) -> None:
    """As systemd does: its own group may then hold no process, which only version 2 has for a rule."""
    give = "busybox mkdir leaf && echo 1 > leaf/cgroup.procs && echo +pids > cgroup.subtree_control && "
    script = f"cd /sys/fs/cgroup && {give if facts().cgroup == 'v2' else ''}echo given; exec sleep 1000"
    config = configuration("/bin/sh", "-c", script)
    config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs"})
    config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    deadline = time.monotonic() + PATIENCE
    while (runtime.base / "output").read_text() != "given\n":
        assert time.monotonic() < deadline, (runtime.base / "output").read_text()
        time.sleep(0.05)
    own, first = (runtime("exec", "one", "/bin/cat", f"/proc/{which}/cgroup").stdout for which in ("self", "1"))
    assert own == first
