"""Containers made by Debian's conmon with our runtime, in the words of CRI-O."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_kit import PATIENCE, SHORT, write_root, write_runtime

from capabilities import need

pytestmark = pytest.mark.slow

ID = "0f" * 32


class Crio:
    """What CRI-O does with one container: its directories, conmon, and the runtime beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.runtime = write_runtime(base / "appc-oci")
        write_root(base / "bundle/rootfs")
        for name in ("exits", "attach", "persist", "states"):
            (base / name).mkdir()
        self("spec", "--bundle", f"{base}/bundle")
        self.config = json.loads((base / "bundle/config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["process"]["rlimits"] = []
        self.config["linux"]["cgroupsPath"] = f"/crio-test-{base.name}/crio-{ID}"

    def __call__(self, *words: str, given: str = "", fails: int = 0) -> str:
        """Call the runtime itself."""
        command = [str(self.runtime), "--root", f"{self.base}/states", *words]
        done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == fails, done
        return done.stdout.decode()

    def conmon(self, *words: str) -> dict[str, Any]:
        """Call conmon; return what it says on its pipe when the runtime is done, which names the process."""
        sync, told = os.pipe()
        waits, start = os.pipe()
        base = str(self.base)
        command = ["conmon", "-c", ID, "-n", "k8s_box", "-u", ID, "-r", str(self.runtime)]
        command += ["--runtime-arg", f"--root={base}/states", "--socket-dir-path", f"{base}/attach", "--syslog", *words]
        environment = {**os.environ, "_OCI_SYNCPIPE": str(told), "_OCI_STARTPIPE": str(waits)}
        # It waits until its caller has moved it into a control group.
        os.write(start, b"\0")
        try:
            subprocess.run(command, env=environment, pass_fds=(told, waits), timeout=PATIENCE, check=True)
            os.close(told)
            said = b""
            while not said.endswith(b"\n"):
                assert select.select([sync], [], [], PATIENCE)[0]
                part = os.read(sync, 4096)
                assert part, said
                said += part
        finally:
            for fd in (sync, waits, start):
                os.close(fd)
        return json.loads(said)  # type: ignore[no-any-return]

    def create(self, *args: str) -> dict[str, Any]:
        """Make the container."""
        self.config["process"]["args"] = list(args)
        (self.base / "bundle/config.json").write_text(json.dumps(self.config))
        places = ("-b", f"{self.base}/bundle", "-l", f"{self.base}/log", "-p", f"{self.base}/pidfile")
        ends = ("--exit-dir", f"{self.base}/exits", "--persist-dir", f"{self.base}/persist")
        return self.conmon(*places, *ends, "-P", f"{self.base}/conmon-pidfile")

    def state(self) -> dict[str, Any]:
        return json.loads(self("state", ID))  # type: ignore[no-any-return]


@pytest.fixture
def crio() -> Iterator[Crio]:
    need("root", "native", "cgroup", "memory-controller", "busybox", "conmon")
    base = Path(tempfile.mkdtemp(prefix="o", dir=SHORT))
    made = Crio(base)
    yield made
    made("delete", "--force", ID)
    # conmon may be at it, too.
    shutil.rmtree(base, ignore_errors=True)


def until(happened: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_container_lives_as_crio_has_it(crio: Crio) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"
    pid = crio.create("/bin/sh", "-c", script)["pid"]
    assert int((crio.base / "pidfile").read_text()) == pid
    assert (crio.state()["status"], crio.state()["pid"]) == ("created", pid)
    crio("start", ID)
    assert crio.state()["status"] == "running"
    until(lambda: (crio.base / "log").read_text().endswith("stdout F up\n"))
    # A command that is waited for: conmon calls `exec` with the process it is given.
    process = {**crio.config["process"], "args": ["/bin/sh", "-c", "echo in; exit 5"]}
    (crio.base / "process.json").write_text(json.dumps(process))
    places = ("-l", f"{crio.base}/exec-log", "-p", f"{crio.base}/exec-pidfile", "-P", f"{crio.base}/exec-conmon")
    said = crio.conmon("-e", "--exec-process-spec", f"{crio.base}/process.json", *places)
    assert said["exit_code"] == 5, said
    until(lambda: (crio.base / "exec-log").read_text().endswith("stdout F in\n"))
    crio("update", "--resources", "-", ID, given=json.dumps({"memory": {"limit": 64 << 20}}))
    limits = [
        path
        for path in Path("/sys/fs/cgroup").glob(f"**/crio-{ID}/memory*")
        if path.name in ("memory.limit_in_bytes", "memory.max")
    ]
    assert str(64 << 20) in {path.read_text().strip() for path in limits}
    crio("pause", ID)
    assert crio.state()["status"] == "paused"
    crio("resume", ID)
    crio("kill", ID, "15")
    until((crio.base / "exits" / ID).exists)
    assert (crio.base / "exits" / ID).read_text() == "7"
    assert crio.state()["status"] == "stopped"
    assert (crio.base / "log").read_text().endswith("stdout F bye\n")
    crio("delete", ID)
    crio("state", ID, fails=1)
    assert list((crio.base / "states").iterdir()) == []


def test_what_cannot_be_made_is_said_on_the_pipe(crio: Crio) -> None:
    said = crio.create("/bin/nosuch")
    assert said["pid"] < 0
    assert "/bin/nosuch: no such file or directory" in said["message"]
    assert list((crio.base / "states").iterdir()) == []
