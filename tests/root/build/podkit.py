"""Running what was built: an image file as a pod, with the command line, in a store of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appc.host import libc


def appc(sandbox: Path, *words: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run one command of appc on the test's own store."""
    process = start(sandbox, *words)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(sandbox: Path, *words: str | Path) -> subprocess.Popen[str]:
    """Start one command of appc on the test's own store."""
    places = ("--root", f"{sandbox}/store", "--state", f"{sandbox}/state", "--config", str(_config(sandbox)))
    return subprocess.Popen(
        [sys.executable, "-m", "appc", *places, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def build(sandbox: Path, builder: str, *words: str | Path) -> str:
    """Build an image and return its ID."""
    done = appc(sandbox, "image", "build", builder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(sandbox: Path, image: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run an image file as a pod in the foreground and leave no record of it."""
    return appc(sandbox, "run", "--insecure", "image", "--rm", image, *words)


@contextmanager
def own_network() -> Iterator[None]:
    """This process, and what it starts, in a network namespace that has no links yet."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.unshare(libc.CLONE_NEWNET)
        yield
    finally:
        libc.setns(home, libc.CLONE_NEWNET)
        os.close(home)


def _config(sandbox: Path) -> Path:
    directory = sandbox / "config"
    directory.mkdir(exist_ok=True)
    return directory
