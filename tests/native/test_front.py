"""The front of `appc-oci`: what it does by itself, and what it leaves to Python untouched."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import appc
from appc.host import procs
from appc.oci.container import RUNNING, STOPPED, Container, boot_id
from appc.oci.front import FILE, describe
from appc.oci.life import START_FAILED
from capabilities import need

# Stands for Python's part of appc-oci: everything that reaches it was left to it.
PYTHON = f"""
import os, sys
def main():
    print("left to Python", *sys.argv[1:], os.environ.get({START_FAILED!r}, ""), sep="|")
    return 99
"""
LEFT = 99
FAIL = 1  # native/report.h
PATIENCE = 30  # seconds that nothing here takes


class Front:
    """The program in an installation of its own, with one container `one` whose process sleeps."""

    def __init__(self, base: Path, program: Path) -> None:
        package = base / f"lib/python3.{sys.version_info.minor}/site-packages/appc"
        (package / "oci").mkdir(parents=True)
        for name in ("__init__.py", "oci/__init__.py"):
            (package / name).touch()
        (package / "oci/main.py").write_text(PYTHON)
        (package / "startup.py").write_text("def hasten(packages): pass\n")
        (base / "bin").mkdir()
        self.program = shutil.copy(program, base / "bin/appc-oci")
        self.root = base / "root"
        self.group = base / "group"
        self.container = Container(str(self.root), "one")
        self.directory = Path(self.container.path)
        self.process = subprocess.Popen(["/bin/sleep", "1000"])

    def make(self, config: dict[str, Any] | None = None, groups: int = 1) -> None:
        """Write the container's directory."""
        (self.directory / "status").mkdir(parents=True)
        self.group.mkdir()
        self.container.record = {
            "ociVersion": "1.3.0",
            "bundle": '/a "bundle"',
            "rootfs": "/a bundle/rootfs",
            "created": 1_700_000_000_000_000_007,
            "boot": boot_id(),
            "annotations": {"key": 'line\n  "pid": 0,\n  "status": "stopped"', "ü": "\0"},
            "cgroups": [str(self.group)] * groups,
        }
        (self.directory / "state.json").write_text("{}")
        (self.directory / FILE).write_bytes(describe(self.container, {"process": {"cwd": "/"}, **(config or {})}))
        self.record(self.process.pid, procs.start_time(self.process.pid))

    def record(self, pid: int, started: int) -> None:
        """Say which process it is."""
        (self.directory / "status/_process").write_text(f"pid={pid}\nstarttime={started}\ncreated=1\n")

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def __call__(self, *words: str, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [self.program, *words],
            capture_output=True,
            env={"PATH": os.defpath, "APPC_OCI_ROOT": str(self.root), **environment},
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    def leaves(self, *words: str) -> bool:
        """Whether Python has to do it, with the words that were given."""
        status, output = self(*words)
        return status == LEFT and output == "|".join(["left to Python", *words, ""]) + "\n"


@pytest.fixture
def front(binaries: Path, tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path / "installed here", binaries / "appc-start")
    yield made
    made.end()


def test_state_is_what_python_prints(front: Front) -> None:
    front.make()
    status, output = front("state", "one")
    expected = {**front.container.described(RUNNING), "pid": front.process.pid}
    assert (status, json.loads(output)) == (0, expected)
    assert list(json.loads(output)) == list(expected)
    front.end()
    status, output = front("state", "one")
    assert (status, json.loads(output)) == (0, front.container.described(STOPPED))


def test_the_status_follows_socket_and_freezer(front: Front) -> None:
    front.make()
    (front.directory / "start").touch()
    assert json.loads(front("state", "one")[1])["status"] == "created"
    (front.group / "cgroup.freeze").write_text("0\n")
    assert json.loads(front("state", "one")[1])["status"] == "created"
    (front.group / "cgroup.freeze").write_text("1\n")
    assert json.loads(front("state", "one")[1])["status"] == "paused"
    (front.group / "cgroup.freeze").unlink()
    (front.group / "freezer.state").write_text("FREEZING\n")
    assert json.loads(front("state", "one")[1])["status"] == "paused"


def test_another_process_or_boot_is_not_the_container(front: Front) -> None:
    front.make()
    front.record(front.process.pid, 1)
    assert json.loads(front("state", "one")[1])["status"] == "stopped"
    assert front.leaves("kill", "one", "KILL")
    front.record(front.process.pid, procs.start_time(front.process.pid))
    front.container.record["boot"] = "another"
    (front.directory / FILE).write_bytes(describe(front.container, {}))
    assert json.loads(front("state", "one")[1])["pid"] == 0
    assert front.leaves("kill", "one", "KILL")


@pytest.mark.parametrize("word", ["", "term", "SIGTERM", "sigterm", "15", "9", "KILL"])
def test_kill_signals_the_process(front: Front, word: str) -> None:
    front.make()
    assert front("kill", "one", *([word] if word else [])) == (0, "")
    assert front.process.wait(PATIENCE) == -(signal.SIGKILL if word in ("9", "KILL") else signal.SIGTERM)
    assert front.leaves("kill", "one")


def test_kill_all_signals_the_first_group_that_has_processes(front: Front) -> None:
    front.make()
    inner = front.group / "inner"
    inner.mkdir()
    (front.group / "cgroup.procs").write_text("0\n")
    (inner / "cgroup.procs").write_text(f"{front.process.pid}\n")
    assert front("kill", "--all", "one", "INT") == (0, "")
    assert front.process.wait(PATIENCE) == -signal.SIGINT
    assert front("kill", "-a", "one", "INT") == (0, ""), "what is gone is no fault"


def test_all_are_killed_by_the_kernel_or_by_python(front: Front) -> None:
    """Processes that are made meanwhile are on no list; and of v1 the frozen ones have to be thawed."""
    front.make()
    assert front.leaves("kill", "--all", "one", "KILL")
    kill = front.group / "cgroup.kill"
    kill.touch()
    assert front("kill", "-a", "one", "9") == (0, "")
    assert kill.read_text() == "1"
    (front.group / "freezer.state").write_text("FROZEN\n")
    assert front.leaves("kill", "--all", "one", "KILL")


def test_delete_removes_what_has_ended(front: Front) -> None:
    front.make(groups=2)
    assert front.leaves("delete", "one"), "it runs"
    front.end()
    (front.group / "below").mkdir()
    assert front("delete", "one") == (0, "")
    assert not front.directory.exists()
    assert not front.group.exists()
    assert front.leaves("delete", "one")
    assert front.leaves("delete", "--force", "one")


@pytest.mark.parametrize("forced", [False, True])
def test_delete_ends_what_awaits_its_start_and_by_force_what_runs(front: Front, forced: bool) -> None:
    front.make()
    if not forced:
        (front.directory / "start").touch()
    assert front("delete", *(["-f"] if forced else []), "one") == (0, "")
    assert front.process.wait(PATIENCE) == -signal.SIGKILL
    assert not front.directory.exists()


def test_delete_waits_for_who_holds_the_lock(front: Front) -> None:
    front.make()
    front.end()
    fd = os.open(front.directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = threading.Thread(target=front, args=("delete", "one"))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert front.directory.exists()
    os.close(fd)
    waiting.join(PATIENCE)
    assert not front.directory.exists()


def test_what_cannot_be_removed_is_left_to_python(front: Front) -> None:
    front.make()
    front.end()
    (front.directory / "odd").mkdir()
    assert front.leaves("delete", "one")


def test_start_says_the_word_and_waits_for_the_program(front: Front) -> None:
    front.make()
    with Awaiting(front.directory) as awaiting:
        assert front("start", "one") == (0, "")
        assert awaiting.heard == b"\1"
    assert not (front.directory / "start").exists()
    assert front.leaves("start", "one"), "it runs"


def test_a_start_that_fails_is_explained_by_python(front: Front) -> None:
    front.make()
    with Awaiting(front.directory, struct.pack("=4I", 5, 1, 2, 0), struct.pack("=4I", FAIL, 17, 2, 0)):
        assert front("start", "one") == (LEFT, "left to Python|start|one|17 2\n")
    assert not (front.directory / "start").exists()


def test_a_word_that_nobody_took_starts_nothing(front: Front) -> None:
    """Another's word was first, or the process is gone: with it what waited in its socket's queue."""
    front.make()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        fd = os.open(front.directory, os.O_PATH)
        listener.bind(f"/proc/self/fd/{fd}/start")
        os.close(fd)
        listener.listen()
        results: list[bool] = []
        starting = threading.Thread(target=lambda: results.append(front.leaves("start", "one")))
        starting.start()
        assert select.select([listener], [], [], PATIENCE)[0]
    starting.join(PATIENCE)
    assert results == [True]
    assert (front.directory / "start").exists()


def test_nobody_listening_is_left_to_python(front: Front) -> None:
    front.make()
    (front.directory / "start").touch()
    assert front.leaves("start", "one")


@pytest.mark.parametrize(
    "config",
    [
        {"hooks": {"poststart": [{"path": "/x"}], "poststop": [{"path": "/x"}]}},
        {"process": None, "hooks": {"poststop": [{"path": "/x"}]}},
        {"linux": {"seccomp": {"listenerPath": "/x"}}, "hooks": {"poststop": [{"path": "/x"}]}},
    ],
)
def test_what_takes_more_than_the_word_or_removing_is_python_s(front: Front, config: dict[str, Any]) -> None:
    front.make(config)
    with Awaiting(front.directory):
        assert front.leaves("start", "one")
    front.end()
    assert front.leaves("delete", "one")
    assert front("state", "one")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["state"],
        ["state", ""],
        ["state", ".."],
        ["state", "a/b"],
        ["state", "one", "two"],
        ["state", "missing"],
        ["state", "--help"],
        ["state", "--all", "one"],
        ["list"],
        ["--version"],
        ["--debug=false", "state", "one"],
        ["--rootless", "true", "state", "one"],
        ["--log-format", "xml", "state", "one"],
        ["--root", "relative", "state", "one"],
        ["--root", "/x/../y", "state", "one"],
        ["--root"],
        ["kill", "one", "NOSUCH"],
        ["kill", "one", "0"],
        ["kill", "one", "65"],
        ["kill", "one", "-1"],
        ["kill", "one", "RTMIN+1"],
        ["kill", "one", "TERM", "TERM"],
        ["--", "state", "one"],
    ],
    ids=" ".join,
)
def test_unusual_words_are_left_to_python(front: Front, words: list[str]) -> None:
    front.make()
    assert front.leaves(*words)
    assert front.process.poll() is None


@pytest.mark.parametrize(
    "options",
    [
        ["--root", "ROOT"],
        ["-root=ROOT"],
        ["--log", "/nowhere/log", "--log-format=json", "--debug", "--root=ROOT"],
        ["--root", ""],
    ],
    ids=" ".join,
)
def test_options_engines_give_are_understood(front: Front, options: list[str]) -> None:
    front.make()
    words = [word.replace("ROOT", str(front.root)) for word in options]
    elsewhere = "" if "" in options else "/nowhere"
    root = {"APPC_OCI_ROOT": elsewhere} if elsewhere else {}
    assert front(*words, "state", "one", **root)[0] == 0


@pytest.mark.parametrize(
    ("mapped", "user", "found"),
    [(True, "tester", True), (True, "", True), (True, "root", False), (False, "tester", False)],
)
def test_states_of_a_user_namespace_are_the_users_own(front: Front, mapped: bool, user: str, found: bool) -> None:
    need("root", "userns", "initial-userns")
    front.make()
    own = front.root.parent / "own"
    (own / "appc").mkdir(parents=True)
    (own / "appc/oci").symlink_to(front.root)
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(own), **({"USER": user} if user else {})}
    words = [front.program, "state", "one"]
    command = ["unshare", "--user", "--map-root-user", *words] if mapped else words
    done = subprocess.run(command, capture_output=True, env=environment, timeout=PATIENCE, check=False)
    assert done.returncode == (0 if found else LEFT), done
    # Python looks for them in the same place.
    code = "from appc.oci.main import run_directory as f; print(f())"
    command = [*command[: -len(words)], sys.executable, "-c", code]
    environment["PYTHONPATH"] = str(Path(appc.__file__).parent.parent)
    done = subprocess.run(command, capture_output=True, env=environment, timeout=PATIENCE, check=True)
    assert done.stdout.decode().strip() == (f"{own}/appc" if found else "/run/appc")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data.replace(b"front 1", b"front 2"),
        lambda data: b"\0".join(data.split(b"\0")[:5]) + b"\0",
        lambda data: data + b"relative\0",
        lambda data: data + b"/" + b"x" * (64 << 10) + b"\0",
    ],
)
def test_a_file_it_does_not_understand_is_left_to_python(front: Front, damage: Any) -> None:
    front.make()
    file = front.directory / FILE
    file.write_bytes(damage(file.read_bytes()))
    assert front.leaves("state", "one")
    file.unlink()
    assert front.leaves("state", "one")


@pytest.mark.parametrize(
    "text", ["", "pid=1", "pid=x\nstarttime=1\n", "pid=0\nstarttime=1\n", "pid=99999999999\nstart"]
)
def test_a_process_it_does_not_understand_is_left_to_python(front: Front, text: str) -> None:
    front.make()
    (front.directory / "status/_process").write_text(text)
    assert front.leaves("state", "one")


def test_output_nobody_takes(front: Front) -> None:
    front.make()
    with open("/dev/full", "wb") as full:
        done = subprocess.run([front.program, "state", "one"], env={"APPC_OCI_ROOT": str(front.root)}, stdout=full)
    assert done.returncode != 0


class Awaiting:
    """A process that awaits its start in a container's directory, and answers with packets."""

    def __init__(self, directory: Path, *packets: bytes) -> None:
        self.heard = b""
        self._packets = packets
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.settimeout(0.05)
        self._over = threading.Event()
        fd = os.open(directory, os.O_PATH)
        self._listener.bind(f"/proc/self/fd/{fd}/start")
        os.close(fd)
        self._listener.listen()
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> Awaiting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        self._listener.close()

    def _answer(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                break
            except TimeoutError:
                if self._over.is_set():
                    return
        connection.settimeout(PATIENCE)
        with connection:
            self.heard = connection.recv(1)
            for packet in self._packets:
                connection.send(packet)
