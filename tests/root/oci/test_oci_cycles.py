"""Many containers one after the other, and many at once: nothing of them stays."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from capabilities import need
from conftest import PATIENCE, Runtime, configuration, installed

CYCLES = int(os.environ.get("APPC_CYCLES", "1000"))
AT_ONCE = CYCLES // 5


@pytest.fixture
def runtime(sandbox: Path) -> Iterator[Runtime]:
    """The runtime as it is installed."""
    need("root", "native", "cgroup", "busybox")
    made = Runtime(sandbox, str(installed(sandbox / "installed")))
    yield made
    for name in made("list", "--quiet").stdout.split():
        made("delete", "--force", name)


def call(runtime: Runtime, *words: str) -> None:
    subprocess.run(
        runtime.words(*words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=4 * PATIENCE,
        check=True,
    )


def groups() -> int:
    """How many control groups there are of containers of ours."""
    return sum(name.startswith("cycle-") for _, names, _ in os.walk("/sys/fs/cgroup") for name in names)


def is_ours(pid: str) -> bool:
    """Whether it is the runtime, or what its containers run."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return words[:2] == [b"/bin/sleep", b"1000"] or name in ("appc-init", "appc-keep", "appc-oci")


def left() -> dict[str, int]:
    """What may not grow: mounts, processes, control groups, our own descriptors."""
    return {
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "processes": sum(is_ours(name) for name in os.listdir("/proc") if name.isdecimal()),
        "groups": groups(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def prepare(runtime: Runtime) -> None:
    config = configuration("/bin/sleep", "1000")
    config["linux"]["resources"] = {"pids": {"limit": 10}}
    runtime.configure(config)


def life(runtime: Runtime, name: str) -> None:
    call(runtime, "create", "--bundle", str(runtime.bundle), name)
    call(runtime, "start", name)
    call(runtime, "delete", "--force", name)


def collected() -> None:
    """Take in what is orphaned, as the engines' subreapers do."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


@pytest.mark.slow
def test_one_after_the_other_leave_nothing(runtime: Runtime) -> None:
    prepare(runtime)
    life(runtime, "cycle-first")
    collected()
    before = left()
    for number in range(CYCLES):
        life(runtime, f"cycle-{number}")
        if number % 50 == 0:
            collected()
    collected()
    assert left() == before
    assert list(runtime.root.iterdir()) == []


@pytest.mark.slow
def test_many_at_once_leave_nothing(runtime: Runtime) -> None:
    prepare(runtime)
    life(runtime, "cycle-first")
    collected()
    before = left()
    names = [f"cycle-{number}" for number in range(AT_ONCE)]
    bundle = str(runtime.bundle)
    with ThreadPoolExecutor(AT_ONCE) as callers:
        list(callers.map(lambda name: call(runtime, "create", "--bundle", bundle, name), names))
        list(callers.map(lambda name: call(runtime, "start", name), names))
        listed = json.loads(runtime("list", "--format", "json").stdout)
        assert {one["id"] for one in listed if one["status"] == "running"} == set(names)
        assert len({one["pid"] for one in listed}) == AT_ONCE
        list(callers.map(lambda name: call(runtime, "delete", "--force", name), names))
    collected()
    assert left() == before
    assert list(runtime.root.iterdir()) == []
