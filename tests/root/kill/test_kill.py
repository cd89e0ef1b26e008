"""A command killed at any point leaves a state that is told truly, and that one `appc gc` clears.

The judge is not appc: mounts, cgroups, network namespaces and processes are compared with a snapshot from before, the
files below the root with what a clean import and the list of pods account for.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from kill_kit import IMAGE, Bench, clear, states_are_true, store_is_whole

from capabilities import need
from leftovers import snapshot

# How many faults; `make test-all` sets 200.
ROUNDS = int(os.environ.get("APPC_KILLS", "30"))
SEED = int(os.environ.get("APPC_SEED") or random.SystemRandom().randrange(2**32))


def scenario_import(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    def before() -> None:
        shutil.rmtree(bench.root / "store", ignore_errors=True)

    return before, bench.words("fetch", "--insecure", "image", str(bench.aci))


def scenario_prepare(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    return lambda: None, bench.words("prepare", "--insecure", "image", IMAGE)


def scenario_run(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    def before() -> None:
        shutil.rmtree(bench.root / "cache/launch", ignore_errors=True)

    return before, bench.words("run", "--insecure", "image", IMAGE)


def scenario_run_again(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    """What was run before is not compiled again."""
    words = ("run", "--insecure", "image", IMAGE, "--name", "again")
    bench.run(*words)
    return lambda: None, bench.words(*words)


def scenario_run_detached(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    return lambda: None, bench.words("run", "-d", "--rm", "--insecure", "image", IMAGE)


def scenario_gc(bench: Bench) -> tuple[Callable[[], None], list[str]]:
    def before() -> None:
        bench.run("run", "--insecure", "image", IMAGE)
        bench.run("prepare", "--insecure", "image", IMAGE)

    return before, bench.words("gc", "--grace-period", "0s")


SCENARIOS = (
    scenario_import,
    scenario_prepare,
    scenario_run,
    scenario_run_again,
    scenario_run_detached,
    scenario_gc,
)


@pytest.fixture
def bench(sandbox: Path) -> Bench:
    need("root", "overlay", "strace", "busybox")
    return Bench(sandbox, shutil.which("appc") or pytest.fail("appc is not installed"))


def test_a_process_killed_anywhere_leaves_nothing_that_gc_does_notclear(bench: Bench) -> None:
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
            told = states_are_true(bench, story)
            clear(bench, told, story)
            left = machine.leftovers()
            assert not left, f"{story}: left {left.lines()}"
            store_is_whole(bench, story)
