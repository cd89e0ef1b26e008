"""Everything at once: pods run, change and end at random while any process of theirs is killed and the disk fills up.

What has to hold at any time: commands end, and what is listed is true. What has to hold at the end: one `gc` leaves
nothing. APPC_CHAOS is for how many seconds; APPC_SEED repeats a run's choices, though not its timing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_kit import IMAGE, PATIENCE, Bench, clear, states_are_true, store_is_whole

from capabilities import need
from leftovers import snapshot

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("APPC_CHAOS", "60"))
SEED = int(os.environ.get("APPC_SEED") or random.SystemRandom().randrange(2**32))
# Large enough for the image and a dozen pods, small enough to be filled at once.
DISK = "96m"
MOST_PODS = 12


class Chaos:
    """Random deeds over one data directory, on a file system of its own."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.random = random.Random(SEED)
        self.background: list[subprocess.Popen[bytes]] = []
        self.story: list[str] = []

    def step(self) -> None:
        """Do one thing; a command that does not end within PATIENCE fails the test."""
        deed = self.random.choice(
            (
                self.run,
                self.run,
                self.run,
                self.run_here,
                self.update,
                self.stop,
                self.kill,
                self.kill_a_process,
                self.kill_a_process,
                self.kill_a_command,
                self.collect,
                self.fill_the_disk,
                self.take_memory,
            )
        )
        self.story.append(f"{deed.__name__}")
        deed()

    def command(self, *words: str) -> str:
        """A command whose failure is allowed; how it fails is not: one line, and no traceback."""
        self.story.append(" ".join(words))
        done = self.bench.run(*words, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert "internal error" not in done.stderr, done.stderr
        return done.stdout

    def pods(self) -> list[str]:
        return sorted(self.bench.pods())

    def a_pod(self) -> str:
        pods = self.pods()
        return self.random.choice(pods) if pods else "00"

    def run(self) -> None:
        if len(self.pods()) < MOST_PODS:
            limits = self.random.choice(((), ("--memory", "32Mi"), ("--cpu", "500m")))
            seconds = self.random.choice(("0.05", "1", "60"))
            options = self.random.choice(((), ("--rm",)))
            self.command(
                "run",
                "--detach",
                *options,
                "--insecure",
                "image",
                IMAGE,
                *limits,
                "--exec",
                "/bin/sleep",
                "--",
                seconds,
            )

    def run_here(self) -> None:
        """In the foreground, by a process that may be killed."""
        if len(self.pods()) < MOST_PODS:
            words = self.bench.words("run", "--insecure", "image", IMAGE, "--exec", "/bin/sleep", "--", "30")
            quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            self.background.append(subprocess.Popen(words, **quiet))

    def update(self) -> None:
        self.command("update", self.a_pod(), "--app", "kill", "--memory", self.random.choice(("16Mi", "64Mi")))

    def stop(self) -> None:
        self.command("stop", *self.random.choice(((), ("--force",))), self.a_pod())

    def kill(self) -> None:
        self.command("kill", self.a_pod())

    def kill_a_process(self) -> None:
        """Any process that has the root in its arguments or lives in a control group of a pod: keeper, PID 1, app."""
        uuids = set(self.pods())
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and uuids.intersection(
                    (entry / "cgroup").read_text().replace("\n", "/").split("/")
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
        said = [self.bench.run("status", "--format", "json", uuid, check=False).stdout for uuid in uuids]
        keepers = [json.loads(text).get("keeper") for text in said if text]
        found += [keeper for keeper in keepers if keeper]
        if found:
            _end(self.random.choice(sorted(set(found))))

    def kill_a_command(self) -> None:
        if self.background:
            self.random.choice(self.background).kill()

    def collect(self) -> None:
        self.command("gc", "--grace-period", self.random.choice(("0s", "1s")))

    def fill_the_disk(self) -> None:
        """Let something be tried while nothing can be written."""
        filler = self.bench.base / "disk/filler"
        with filler.open("wb") as stream:
            try:
                while True:
                    stream.write(bytes(1 << 20))
                    stream.flush()
            except OSError:
                pass
        try:
            self.run()
            self.collect()
        finally:
            filler.unlink()

    def take_memory(self) -> None:
        """An app that gets less memory than it takes."""
        if len(self.pods()) < MOST_PODS:
            fill = "x=x; while :; do x=$x$x; done"
            self.command(
                "run",
                "--detach",
                "--insecure",
                "image",
                IMAGE,
                "--memory",
                "8Mi",
                "--exec",
                "/bin/busybox",
                "--",
                "sh",
                "-c",
                fill,
            )

    def end(self) -> None:
        """Let what runs in the background end."""
        self.bench.run("stop", "--all", "--force", check=False)
        for process in self.background:
            process.wait(PATIENCE)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.fixture
def chaos(sandbox: Path) -> Iterator[Chaos]:
    need("root", "overlay", "busybox")
    disk = sandbox / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "none", str(disk)], check=True)
    try:
        bench = Bench(sandbox, shutil.which("appc") or pytest.fail("appc is not installed"), disk / "root")
        yield Chaos(bench)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_whatever_happens_commands_end_tell_the_truth_and_leave_nothing(chaos: Chaos) -> None:
    print(f"seed {SEED}: APPC_SEED={SEED} repeats this run's choices")
    machine = snapshot(chaos.bench.base.parent)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        chaos.step()
        states_are_true(chaos.bench, f"seed {SEED}, after {chaos.story[-6:]}")
    chaos.end()
    story = f"seed {SEED}, {len(chaos.story)} deeds"
    clear(chaos.bench, states_are_true(chaos.bench, story), story)
    left = machine.leftovers()
    assert not left, f"{story}: left {left.lines()}"
    store_is_whole(chaos.bench, story)
    print(story)
