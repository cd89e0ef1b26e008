"""containerd, whose shim starts containers with our runtime (`ctr run --runc-binary`)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import PATIENCE, SHORT, listens, run, write_root, write_runtime

from appc.host import criu
from capabilities import need

pytestmark = pytest.mark.slow

CONFIG = """version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/sock"
[ttrpc]
address = "{0}/ttrpc"
"""


class Containerd:
    """A containerd of the tests' own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.rootfs = write_root(base / "rootfs")
        self.runtime = write_runtime(base / "appc-oci")
        (base / "config.toml").write_text(CONFIG.format(base))
        with (base / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["containerd", "--config", str(base / "config.toml")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not listens(base / "sock"):
            assert self._process.poll() is None, (base / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def __call__(self, *words: str, tty: bool = False, fails: int | None = 0) -> str:
        return run(["ctr", "--address", str(self.base / "sock"), *words], tty=tty, fails=fails)

    def run(self, name: str, *command: str, options: tuple[str, ...] = (), tty: bool = False, fails: int = 0) -> str:
        """Run a container."""
        words = ("run", *options, "--runc-binary", str(self.runtime), "--rootfs", str(self.rootfs), name, *command)
        return self(*words, tty=tty, fails=fails)

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    need("root", "native", "cgroup", "busybox", "containerd", "ctr", "script")
    base = Path(tempfile.mkdtemp(prefix="c", dir=SHORT))
    made = Containerd(base)
    yield made
    made.end()
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(base) in line]
    shutil.rmtree(base, ignore_errors=True)


def test_a_container_runs_with_its_output_and_status(containerd: Containerd) -> None:
    assert containerd.run("one", "/bin/echo", "hello", options=("--rm",)) == "hello\n"
    containerd.run("one", "/bin/sh", "-c", "exit 3", options=("--rm",), fails=3)
    assert "no such file or directory" in containerd.run("one", "/bin/nosuch", options=("--rm",), fails=1)
    containerd("containers", "rm", "one", fails=None)


def test_a_terminal(containerd: Containerd) -> None:
    assert "is one" in containerd.run(
        "tty", "/bin/sh", "-c", "'test -t 0 && echo is one'", options=("--rm", "-t"), tty=True
    )


def test_a_detached_container_is_entered_paused_and_killed(containerd: Containerd) -> None:
    containerd.run("long", "/bin/sleep", "1000", options=("--detach",))
    assert containerd("tasks", "exec", "--exec-id", "e1", "long", "/bin/echo", "in") == "in\n"
    containerd("tasks", "pause", "long")
    assert "PAUSED" in containerd("tasks", "ls")
    containerd("tasks", "resume", "long")
    assert "pids.current" in containerd("tasks", "metrics", "long")
    pid = containerd("tasks", "ps", "long").splitlines()[1].split()[0]
    assert os.path.exists(f"/proc/{pid}")
    containerd("tasks", "kill", "--signal", "SIGKILL", "long")
    deadline = time.monotonic() + PATIENCE
    while "STOPPED" not in containerd("tasks", "ls"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    containerd("tasks", "rm", "long", fails=None)
    containerd("containers", "rm", "long")
    assert "long" not in containerd("tasks", "ls")


def test_a_container_is_written_down(containerd: Containerd, tmp_path: Path) -> None:
    obstacle = criu.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    containerd.run("kept", "/bin/sleep", "1000", options=("--detach",))
    for name, more in (("first", ()), ("last", ("--exit",))):
        image = tmp_path / name
        work = tmp_path / f"{name}-work"
        work.mkdir()
        containerd("tasks", "checkpoint", *more, "--image-path", str(image), "--work-path", str(work), "kept")
        assert (image / "inventory.img").exists()
        assert (work / "dump.log").exists()
        assert ("RUNNING" in containerd("tasks", "ls")) == (name == "first")
    containerd("tasks", "rm", "kept", fails=None)
    containerd("containers", "rm", "kept")
