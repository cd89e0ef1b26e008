"""Many containers, one after the other and at once: nothing is left of any."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities import need
from conftest import Runtime, configuration
from starter import installed

CYCLES = 1000
AT_ONCE = 200
PATIENCE = 300  # seconds for all of them together


@pytest.fixture
def plain(sandbox: Path) -> Iterator[Runtime]:
    """The runtime as it is installed, with a container that sleeps."""
    need("root", "native", "cgroup", "busybox")
    made = Runtime(sandbox, str(installed(sandbox / "installed")))
    made.configure(configuration("/bin/sleep", "1000"))
    yield made
    for name in made("list", "--quiet").stdout.split():
        made("delete", "--force", name)


def groups() -> set[Path]:
    return {path for path in Path("/sys/fs/cgroup").glob("**/appc-oci/*") if path.is_dir()}


def each(runtime: Runtime, verb: str, *options: str) -> None:
    """Do it to all containers at once; every one succeeds."""
    commands = [runtime.words(verb, *options, f"c{number}") for number in range(AT_ONCE)]
    running = [
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for words in commands
    ]
    assert [child.wait(PATIENCE) for child in running] == [0] * AT_ONCE, verb


@pytest.mark.slow
def test_one_after_the_other(plain: Runtime) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    before = groups()
    for _ in range(CYCLES):
        plain.create("one")
        plain("start", "one")
        plain("delete", "--force", "one")
    assert list(plain.root.iterdir()) == []
    assert groups() <= before
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.slow
def test_at_once(plain: Runtime) -> None:
    before = groups()
    each(plain, "create", "--bundle", str(plain.bundle))
    assert len(plain("list", "--quiet").stdout.split()) == AT_ONCE
    each(plain, "start")
    pids = [plain.state(f"c{number}")["pid"] for number in range(AT_ONCE)]
    assert len(set(pids)) == AT_ONCE
    for number in range(AT_ONCE):
        plain("kill", f"c{number}", "KILL")
    for pid in pids:
        plain.wait(pid)
    each(plain, "delete")
    assert list(plain.root.iterdir()) == []
    assert groups() <= before
