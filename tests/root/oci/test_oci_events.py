"""What a container uses, told once, again and again, and when memory runs out; and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capabilities import need
from conftest import PATIENCE, Runtime, configuration

# What wants more memory than there is, at once.
GREEDY = ("/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1")


@pytest.fixture
def running(runtime: Runtime) -> Runtime:
    """The runtime, with a container `one` that runs."""
    config = configuration("/bin/sleep", "1000")
    config["linux"]["resources"] = {"pids": {"limit": 30}, "memory": {"limit": 64 << 20}}
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    return runtime


def test_usage_is_that_of_the_container(running: Runtime) -> None:
    need("memory-controller", "pids-controller")
    told = json.loads(running("events", "--stats", "one").stdout)
    assert (told["type"], told["id"]) == ("stats", "one")
    data = told["data"]
    assert data["pids"] == {"current": 1, "limit": 30}
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert 0 < data["memory"]["usage"]["usage"] <= data["memory"]["usage"]["max"] < 64 << 20
    # Under cgroup2 a group that was given no processors of its own has none to tell.
    assert set(data["cpuset"].get("cpus", [0])) <= set(range(os.cpu_count() or 1))
    before = data["cpu"]["usage"]["total"]
    running("exec", "one", "/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert json.loads(running("events", "--stats", "one").stdout)["data"]["cpu"]["usage"]["total"] > before


def test_events_go_on_until_the_container_stops(running: Runtime) -> None:
    with subprocess.Popen(running.words("events", "--interval", "50ms", "one"), stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        lines = [json.loads(following.stdout.readline()) for _ in range(3)]
        running("kill", "one", "KILL")
        following.stdout.read()
        assert following.wait(PATIENCE) == 0
    assert {line["type"] for line in lines} == {"stats"}
    assert "not running" in running("events", "one", fails=1).stderr


@contextmanager
def following(runtime: Runtime, path: Path) -> Iterator[list[str]]:
    """Follow the container from within the block to its end; afterwards the list holds the kinds of its events."""
    kinds: list[str] = []
    with (
        path.open("w+b") as output,
        subprocess.Popen(runtime.words("events", "--interval", "200ms", "one"), stdout=output) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE
            while not path.stat().st_size:
                assert time.monotonic() < deadline, "nothing is told"
                time.sleep(0.01)
            yield kinds
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    kinds += [json.loads(line)["type"] for line in path.read_text().splitlines()]


def test_who_runs_out_of_memory_is_told_of(running: Runtime, tmp_path: Path) -> None:
    """Its greed is its own end, not the container's."""
    need("memory-controller")
    with following(running, tmp_path / "events") as kinds:
        words = running.words("exec", "one", *GREEDY)
        subprocess.run(words, check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        running("kill", "one", "KILL")
    assert "oom" in kinds


@pytest.mark.parametrize("interval", ["0s", "5", "x", "-1s", "1..s"])
def test_intervals_make_sense(running: Runtime, interval: str) -> None:
    message = running("events", f"--interval={interval}", "one", fails=1).stderr
    assert "interval" in message
