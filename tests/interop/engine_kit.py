"""Container engines with everything of theirs below one directory, told to run containers with `appc-oci`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

from starter import installed

APPLETS = ("sh", "cat", "echo", "false", "id", "sleep", "stty", "true", "wget")
PATIENCE = 90  # seconds that no command here takes
# conmon and podman make paths of sockets from it, which may be a hundred bytes long.
SHORT = "/tmp"


def write_runtime(path: Path) -> Path:
    """Make `path` a command that is the runtime of this source tree, as it is installed."""
    path.symlink_to(installed(path.with_name(f"{path.name}-installed")))
    return path


def write_root(path: Path) -> Path:
    """Write a root of busybox, and the same as an archive beside it (`path`.tar)."""
    (path / "bin").mkdir(parents=True)
    (path / "etc").mkdir()
    shutil.copy(os.path.realpath(shutil.which("busybox") or "/bin/busybox"), path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    with tarfile.open(f"{path}.tar", "w") as archive:
        archive.add(path, ".")
    return path


def run(words: list[str], *, tty: bool = False, fails: int | None = 0, patience: float = PATIENCE) -> str:
    """Run a command, on a terminal of its own if `tty`; return what it said. `fails` is the status, None for any."""
    if tty:
        words = ["script", "-qec", " ".join(words), "/dev/null"]
    # On a terminal whose input ends podman may leave before it has printed everything.
    silence, end = os.pipe() if tty else (subprocess.DEVNULL, -1)
    try:
        done = subprocess.run(
            words, stdin=silence, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=patience, check=False
        )
    finally:
        if tty:
            os.close(silence)
            os.close(end)
    said = done.stdout.decode(errors="replace")
    assert fails is None or done.returncode == fails, said
    return said


def listens(path: Path) -> bool:
    """Tell whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
