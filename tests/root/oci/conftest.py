"""A bundle and the runtime's command line, as engines use them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import appc
from capabilities import need
from starter import START, installed

PACKAGE = Path(appc.__file__).parent
PROBES = (PACKAGE / "_native/appc-probe", Path(__file__).parents[3] / "build/native/appc-probe")
CODE = f"{START}; from appc.oci.main import main; sys.exit(main())"
# Seconds that nothing here takes, however busy the machine is.
PATIENCE = 120 if os.environ.get("APPC_EMULATED") else 30
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
CAPABILITIES = ["CAP_KILL", "CAP_NET_BIND_SERVICE"]


def configuration(*args: str) -> dict[str, Any]:
    """A configuration that runs `args`, much like the one engines write."""
    sets = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {
            "cwd": "/",
            "args": list(args),
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": sets,
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES], "maskedPaths": ["/proc/kcore"]},
    }


class Runtime:
    """`appc-oci` over a root of its own, with one bundle; `program` are the words that start it."""

    def __init__(self, base: Path, *program: str) -> None:
        self.base = base
        self.program = program or (sys.executable, "-I", "-S", "-c", CODE)
        self.root = base / "oci"
        self.bundle = base / "bundle"
        binaries = self.bundle / "rootfs/bin"
        binaries.mkdir(parents=True)
        probe = next((path for path in PROBES if path.exists()), PROBES[-1])
        shutil.copy(probe, self.bundle / "rootfs/probe")
        shutil.copy(os.path.realpath(shutil.which("busybox") or "/bin/busybox"), binaries / "busybox")
        for name in ("sh", "sleep", "cat", "true", "kill", "echo", "readlink", "ls"):
            (binaries / name).symlink_to("busybox")

    def words(self, *words: str) -> list[str]:
        """The argument vector of a command."""
        return [*self.program, "--root", str(self.root), *words]

    def __call__(
        self, *words: str, fails: int | None = 0, timeout: float = PATIENCE, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that ends with status `fails`, None for any."""
        done = subprocess.run(
            self.words(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            **more,
        )
        assert fails is None or done.returncode == fails, done
        return done

    def configure(self, config: dict[str, Any]) -> None:
        """Write the bundle's configuration."""
        (self.bundle / "config.json").write_text(json.dumps(config))

    def create(self, name: str, *options: str, fails: int = 0) -> str:
        """Create a container; return its message. Its output goes to the file `output`, since it keeps that open."""
        with (self.base / "output").open("w+") as output:
            done = subprocess.run(
                self.words("create", "--bundle", str(self.bundle), *options, name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=PATIENCE,
                check=False,
            )
        message = (self.base / "output").read_text()
        assert done.returncode == fails, message
        return message

    def state(self, name: str) -> dict[str, Any]:
        """What `state` prints."""
        described: dict[str, Any] = json.loads(self("state", name).stdout)
        return described

    def wait(self, pid: int) -> None:
        """Wait until a process has ended."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        import select

        assert select.select([fd], [], [], PATIENCE)[0]
        os.close(fd)


# Emulated, where Python takes a second to start, only as it is installed: of the kernel both ask the same.
WAYS = ("front",) if os.environ.get("APPC_EMULATED") else ("front", "python")


@pytest.fixture(params=WAYS)
def runtime(request: pytest.FixtureRequest, sandbox: Path) -> Iterator[Runtime]:
    """The runtime, as it is installed and in Python alone; what a test leaves in it is removed."""
    need("root", "native", "cgroup", "busybox")
    made = Runtime(sandbox, str(installed(sandbox / "installed"))) if request.param == "front" else Runtime(sandbox)
    yield made
    for name in made("list", "--quiet").stdout.split():
        made("delete", "--force", name)


@pytest.fixture
def console(sandbox: Path) -> Iterator[socket.socket]:
    """A socket that receives a terminal, at `console.sock` in the test's directory."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(sandbox / "console.sock"))
    listener.listen()
    listener.settimeout(PATIENCE)
    yield listener
    listener.close()
