"""Containers written down and brought back with CRIU, and what is said where it does not work.

On kernels that CRIU does not know (`criu check` says so) only the latter can be shown; the virtual machine of tests/vm
has one that it knows.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from appc.host import criu
from appc.oci.external import dumped_mounts, restored_mounts
from conftest import PATIENCE, Runtime, configuration

# The front leaves all of it to Python, and only what follows a restore could differ.
in_python = pytest.mark.parametrize("runtime", ["python"], indirect=True)
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/vol/count; sleep 0.1; done"
LONG = 300  # seconds that CRIU takes nowhere, not even when it is emulated
CHECK = "#!/bin/sh\necho 'Error (criu/vdso.c:1): vdso: unexpected area' >&2\nexit 1\n"


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    (runtime.base / "vol").mkdir()
    return runtime


@pytest.fixture
def restorer(runtime: Runtime) -> Runtime:
    """Where CRIU works."""
    obstacle = criu.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    return runtime


def counting(runtime: Runtime, *options: str) -> dict[str, Any]:
    """A configuration that counts in a file outside, in an environment as engines give it."""
    config = configuration("/bin/sh", "-c", COUNT)
    config["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
        {"destination": "/vol", "type": "bind", "source": str(runtime.base / "vol"), "options": ["rbind", *options]},
    ]
    config["linux"]["maskedPaths"] = ["/proc/cpuinfo", "/sys/firmware"]
    config["linux"]["readonlyPaths"] = ["/proc/sys"]
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
    }
    return config


def count(runtime: Runtime) -> int:
    return int((runtime.base / "vol/count").read_text() or 0)


def goes_on(runtime: Runtime) -> int:
    """Wait until the count has grown; return it."""
    deadline = time.monotonic() + LONG
    before = 0
    while time.monotonic() < deadline:
        try:
            now = count(runtime)
        except (FileNotFoundError, ValueError):
            now = 0
        if before and now > before:
            return now
        before = before or now
        time.sleep(0.05)
    pytest.fail("it does not go on")


def started(runtime: Runtime, config: dict[str, Any]) -> int:
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    goes_on(runtime)
    pid: int = runtime.state("one")["pid"]
    return pid


def restore(runtime: Runtime, *options: str) -> int:
    """Restore the container, with its output in the file `again`; return the status."""
    words = ("restore", "--bundle", str(runtime.bundle), "--image-path", str(runtime.base / "image"), *options, "one")
    with (runtime.base / "again").open("wb") as output:
        return subprocess.run(
            runtime.words(*words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=LONG,
            check=False,
        ).returncode


def checkpoint(runtime: Runtime, *options: str, image: str = "image") -> Path:
    """Write the container down; return the directory of the image."""
    path = runtime.base / image
    runtime("checkpoint", "--image-path", str(path), *options, "one", timeout=LONG)
    return path


def privileges(pid: int) -> list[str]:
    """What a process may do, and where it is limited."""
    names = ("Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [*(line for line in lines if line.startswith(names)), Path(f"/proc/{pid}/cgroup").read_text()]


def own_namespaces(pid: int) -> set[str]:
    names = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    return {name for name in names if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")}


def mounted(pid: int) -> set[tuple[str, str]]:
    """The mount points of a process, and whether each is writable."""
    lines = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return {(line[4], line[5].split(",")[0]) for line in lines}


def test_a_container_goes_on_where_it_was_written_down(restorer: Runtime) -> None:
    runtime = restorer
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >>{runtime.base}/hook"]}
    config = counting(runtime)
    config["hooks"] = {"createRuntime": [hook]}
    first = started(runtime, config)
    before = (privileges(first), own_namespaces(first), mounted(first))
    image = checkpoint(runtime)
    assert "container does not exist" in runtime("state", "one", fails=1).stderr
    assert not Path(f"/proc/{first}").exists()
    stopped = count(runtime)
    assert image.stat().st_mode & 0o077 == 0, "it holds the memory of the container"
    (runtime.base / "hook").unlink()
    pid_file = runtime.base / "pid"
    assert restore(runtime, "--detach", "--pid-file", str(pid_file)) == 0, (runtime.base / "again").read_text()
    state = runtime.state("one")
    assert (state["status"], str(state["pid"])) == ("running", pid_file.read_text())
    assert stopped < goes_on(runtime) < stopped + 1000
    assert (privileges(state["pid"]), own_namespaces(state["pid"]), mounted(state["pid"])) == before
    told = json.loads((runtime.base / "hook").read_text())
    assert (told["status"], told["pid"]) == ("creating", state["pid"])
    assert runtime("exec", "one", "/bin/cat", "/proc/cpuinfo").stdout == ""
    assert json.loads(runtime("ps", "--format", "json", "one").stdout)
    runtime("kill", "one", "KILL")
    runtime.wait(state["pid"])
    runtime("delete", "one")
    assert list(runtime.root.iterdir()) == []


@in_python
def test_a_container_is_written_down_while_it_goes_on(restorer: Runtime) -> None:
    """And in steps: first what it has in memory, then what has changed since."""
    runtime = restorer
    pid = started(runtime, counting(runtime))
    checkpoint(runtime, "--pre-dump", image="before")
    goes_on(runtime)
    runtime("pause", "one")
    checkpoint(runtime, "--parent-path", "../before", "--leave-running", "--work-path", str(runtime.base))
    assert (runtime.base / "dump.log").exists()
    assert (runtime.base / "image/parent").is_symlink()
    assert runtime.state("one")["status"] == "paused"
    runtime("resume", "one")
    assert runtime.state("one")["pid"] == pid
    goes_on(runtime)
    runtime("delete", "--force", "one")
    assert restore(runtime, "--detach") == 0
    goes_on(runtime)


@in_python
def test_a_terminal_comes_back(restorer: Runtime, console: socket.socket) -> None:
    runtime = restorer
    config = counting(runtime)
    config["process"].update(terminal=True, args=["/bin/sh", "-c", f"trap 'echo terminal >/dev/tty' USR1; {COUNT}"])
    runtime.configure(config)
    place = ("--console-socket", str(runtime.base / "console.sock"))
    runtime("run", "--detach", "--bundle", str(runtime.bundle), *place, "one")
    goes_on(runtime)
    checkpoint(runtime)
    console.accept()[0].close()
    assert restore(runtime) == 1
    assert "--console-socket" in (runtime.base / "again").read_text()
    assert restore(runtime, "--detach", *place) == 0, (runtime.base / "again").read_text()
    connection, _ = console.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    runtime("kill", "one", "USR1")
    said = b""
    with os.fdopen(fds[0], "rb", buffering=0) as terminal:
        while b"terminal" not in said:
            said += terminal.read(100) or b""


@in_python
def test_who_waits_for_a_restored_container_gets_its_status(restorer: Runtime) -> None:
    runtime = restorer
    config = counting(runtime)
    script = "while [ ! -e /vol/go ]; do echo 1 >>/vol/count; sleep 0.1; done; echo out; exit 7"
    config["process"]["args"] = ["/bin/sh", "-c", script]
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    deadline = time.monotonic() + PATIENCE
    while not (runtime.base / "vol/count").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    checkpoint(runtime)
    (runtime.base / "vol/go").touch()
    assert restore(runtime) == 7
    assert (runtime.base / "again").read_text() == "out\n"
    assert list(runtime.root.iterdir()) == []


@in_python
def test_namespaces_that_were_joined_are_joined_again(restorer: Runtime) -> None:
    runtime = restorer
    names = {"ipc": "ipc", "uts": "uts", "network": "net"}
    words = ["unshare", "--ipc", "--uts", "--net", "sh", "-c", "echo; exec sleep 1000"]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.read(1)
        config = counting(runtime)
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] in names:
                namespace["path"] = f"/proc/{holder.pid}/ns/{names[namespace['type']]}"
        started(runtime, config)
        checkpoint(runtime)
        assert restore(runtime, "--detach") == 0, (runtime.base / "again").read_text()
        goes_on(runtime)
        pid = runtime.state("one")["pid"]
        for name in names.values():
            assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{holder.pid}/ns/{name}")
        runtime("delete", "--force", "one")
    finally:
        holder.kill()
        holder.communicate()


@in_python
def test_what_comes_from_outside_is_named(runtime: Runtime) -> None:
    """The keys that CRIU is given for it are found again from the configuration alone."""
    config = counting(runtime, "ro")
    config["mounts"].append({"destination": "/vol/tmp", "type": "tmpfs", "source": "tmpfs"})
    (runtime.base / "vol/tmp").mkdir()
    runtime.configure(config)
    runtime.create("one")
    pid = runtime.state("one")["pid"]
    found = dumped_mounts(config, pid)
    assert found == [("/vol", "/vol"), ("/proc/cpuinfo", "device c 1:3")]
    sources = dict(restored_mounts(config, str(runtime.bundle)))
    assert [sources[key] for _, key in found] == [str(runtime.base / "vol"), "/dev/null"]


@in_python
def test_one_line_says_why_there_are_no_checkpoints(runtime: Runtime) -> None:
    pid = started(runtime, counting(runtime))
    program = runtime.base / "criu"
    program.write_text(CHECK)
    program.chmod(0o755)
    words = ("--image-path", str(runtime.base / "image"), "one")
    reason = "CRIU does not work here, criu check says: vdso: unexpected area"
    assert runtime("--criu", str(program), "checkpoint", *words, fails=1).stderr == f"appc-oci: one: {reason}\n"
    reason = "CRIU (the program criu) is not installed (apt-get install criu)"
    assert runtime("--criu", "/none", "checkpoint", *words, fails=1).stderr == f"appc-oci: checkpoint: {reason}\n"
    assert runtime.state("one")["pid"] == pid
    goes_on(runtime)
    runtime("delete", "--force", "one")
    words = ("--bundle", str(runtime.bundle), *words)
    assert runtime("--criu", "/none", "restore", *words, fails=1).stderr == f"appc-oci: restore: {reason}\n"
    message = runtime("--criu", str(program), "restore", *words, fails=1).stderr
    assert "inventory.img is missing" in message
    for name, content in (("inventory.img", ""), ("descriptors.json", '["/dev/null", "pipe:[1]", "pipe:[2]"]')):
        (runtime.base / "image" / name).write_text(content)
    message = runtime("--criu", str(program), "restore", "--detach", *words, fails=1).stderr
    assert "criu check says: vdso: unexpected area" in message
    assert list(runtime.root.iterdir()) == []


@in_python
def test_what_is_no_running_container_is_not_written_down(runtime: Runtime) -> None:
    config = configuration("/bin/true")
    config["linux"]["namespaces"].append({"type": "time"})
    runtime.configure(config)
    assert "does not exist" in runtime("checkpoint", "one", fails=1).stderr
    runtime.create("one")
    assert "a container that is created" in runtime("checkpoint", "one", fails=1).stderr
    pid = runtime.state("one")["pid"]
    runtime("start", "one")
    runtime.wait(pid)
    assert "a container that is stopped" in runtime("checkpoint", "one", fails=1).stderr


@in_python
def test_engines_find_out_that_there_are_checkpoints(runtime: Runtime) -> None:
    """As podman asks: by the status of a help, and the words of a fault."""
    assert "--leave-running" in runtime("checkpoint", "--help").stdout
    assert "flag needs an argument" in runtime("restore", "--lsm-mount-context", fails=1).stderr
