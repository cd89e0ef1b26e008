"""A command killed at any point leaves a state that is told truly, and that one `appc gc` clears.

The judge is not appc: mounts, cgroups, network namespaces and processes are compared with a snapshot from before, the
files below the root with what a clean import and the list of pods account for.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import faults
import pytest

import image_kit
from capabilities import need
from leftovers import snapshot

# How many faults; `make test-all` sets 200.
ROUNDS = int(os.environ.get("APPC_KILLS", "30"))
SEED = int(os.environ.get("APPC_SEED") or random.SystemRandom().randrange(2**32))
IMAGE = "example.com/kill"
PATIENCE = 20.0


class Bench:
    """One data directory, an image file for it, and what the clean import of that file looks like."""

    def __init__(self, base: Path, appc: str) -> None:
        self.base = base
        self.appc = appc
        self.root = base / "root"
        self.aci = base / "kill.aci"
        busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
        files: dict[str, image_kit.Entry] = {
            "bin/busybox": ("file", busybox, {"mode": 0o755}),
            "bin/sleep": ("link", "busybox"),
            "bin/true": ("link", "busybox"),
        }
        files.update({f"data/{number}": f"content {number}\n" * number for number in range(40)})
        manifest = image_kit.manifest(IMAGE, app={"exec": ["/bin/sleep", "0.1"], "user": "0", "group": "0"})
        self.aci.write_bytes(image_kit.COMPRESS["gzip"](image_kit.tar(files, manifest)))
        self.run("fetch", "--insecure", "image", str(self.aci))
        self.expected = self.digest()

    def words(self, *words: str) -> list[str]:
        return [self.appc, "--root", str(self.root), "--state", str(self.base / "state"), *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), check=check, capture_output=True, text=True, timeout=PATIENCE)

    def digest(self) -> dict[str, str]:
        """The trees of all images: path below the store -> type, mode and content."""
        found = {}
        images = self.root / "store/images"
        for path in sorted(images.glob("*/rootfs/**/*")):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else ""
            if path.is_file() and not path.is_symlink():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(images))] = f"{status.st_mode:o} {status.st_uid} {content}"
        return found

    def pods(self) -> dict[str, str]:
        return {pod["uuid"]: pod["state"] for pod in json.loads(self.run("list", "--format", "json").stdout)}

    def directories(self) -> dict[str, str]:
        return {path.name: path.parent.name for path in (self.root / "pods").glob("*/*")}


def scenario_import(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    def before() -> None:
        shutil.rmtree(bench.root / "store", ignore_errors=True)

    return before, bench.words("fetch", "--insecure", "image", str(bench.aci))


def scenario_prepare(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    return lambda: None, bench.words("prepare", "--insecure", "image", IMAGE)


def scenario_run(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    return lambda: None, bench.words("run", "--insecure", "image", IMAGE)


def scenario_run_detached(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    return lambda: None, bench.words("run", "-d", "--rm", "--insecure", "image", IMAGE)


def scenario_gc(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    def before() -> None:
        bench.run("run", "--insecure", "image", IMAGE)
        bench.run("prepare", "--insecure", "image", IMAGE)

    return before, bench.words("gc", "--grace-period", "0s")


SCENARIOS = (scenario_import, scenario_prepare, scenario_run, scenario_run_detached, scenario_gc)


@pytest.fixture
def bench(sandbox: Path) -> Bench:
    need("root", "overlay", "strace", "busybox")
    return Bench(sandbox, shutil.which("appc") or pytest.fail("appc is not installed"))


def test_a_process_killed_anywhere_leaves_nothing_that_gc_does_not_clear(bench: Bench) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}: APPC_SEED={SEED} repeats this run")
    machine = snapshot(bench.base.parent)
    for scenario in SCENARIOS:
        before, argv = scenario(bench)
        before()
        counts = faults.count_calls(argv, bench.base / "strace")
        for number in range(ROUNDS // len(SCENARIOS)):
            fault = faults.choose(rng, counts)
            before()
            fault.run(argv)
            story = f"seed {SEED}, {scenario.__name__}, round {number}: {fault}"
            told = _states_are_true(bench, story)
            _clear(bench, told, story)
            left = machine.leftovers()
            assert not left, f"{story}: left {left.lines()}"
            _store_is_whole(bench, story)


def _states_are_true(bench: Bench, story: str) -> dict[str, str]:
    """Every pod directory is listed, and a pod that is said to run has a living keeper."""
    deadline = time.monotonic() + PATIENCE
    while True:
        told, present = bench.pods(), bench.directories()
        if told.keys() == present.keys():
            break
        assert time.monotonic() < deadline, f"{story}: listed {told}, on disk {present}"
    for uuid, state in told.items():
        if state == "running":
            status = json.loads(bench.run("status", "--format", "json", uuid).stdout)
            assert status["state"] != "running" or not status["keeper"] or Path(f"/proc/{status['keeper']}").exists(), (
                story
            )
    return told


def _clear(bench: Bench, told: dict[str, str], story: str) -> None:
    for uuid, state in told.items():
        if state == "running":
            bench.run("status", "--wait=10s", uuid, check=False)
        if state == "prepared":
            bench.run("rm", uuid, check=False)
    done = bench.run("gc", "--grace-period", "0s", check=False)
    assert done.returncode == 0, f"{story}: gc says {done.stderr}"
    # A pod that ended in between (its keeper was killed) is collected by the second look at the latest.
    bench.run("gc", "--grace-period", "0s")
    assert bench.directories() == {}, f"{story}: {bench.directories()} outlived gc"
    leftovers = [path.name for path in (bench.root / "store/staging").glob("*")]
    assert leftovers == [], f"{story}: staging still holds {leftovers}"


def _store_is_whole(bench: Bench, story: str) -> None:
    """An image is there whole or not at all; and importing it (again) works."""
    found = bench.digest()
    assert found in ({}, bench.expected), f"{story}: the store holds half an image"
    bench.run("fetch", "--insecure", "image", str(bench.aci))
    assert bench.digest() == bench.expected, f"{story}: importing again did not give the image"
