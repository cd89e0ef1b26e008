"""Faults at chosen points of a command: a process killed, or a call failed, at its Nth system call of a kind.

strace injects them (`-e inject=`), into whichever process of the command comes there first, so that
Python, keeper, PID 1 and apps are all hit. Where the points lie is counted in a run without faults.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

# Calls that change what others can see, or that begin and end processes.
CALLS = (
    "openat",
    "write",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "unlink",
    "unlinkat",
    "rmdir",
    "symlinkat",
    "fsync",
    "syncfs",
    "flock",
    "close",
    "clone",
    "clone3",
    "vfork",
    "execve",
    "execveat",
    "setns",
    "unshare",
    "mount",
    "move_mount",
    "pivot_root",
    "sendmsg",
    "wait4",
    "kill",
    "utimensat",
    "fchown",
)
ERRORS = ((("write", "mkdir", "openat"), "ENOSPC"), (("fsync", "syncfs"), "EIO"))
TIMEOUT = 60


class Fault:
    """Kill the process at its `number`th `call`, or let that call fail with `error`."""

    def __init__(self, call: str, number: int, error: str = "") -> None:
        self.call = call
        self.number = number
        self.error = error

    def __str__(self) -> str:
        return f"{self.call}#{self.number} {self.error or 'KILL'}"

    def run(self, argv: Sequence[str]) -> int:
        """Run the command with this fault; return its status (negative: the signal that ended it)."""
        effect = f"error={self.error}" if self.error else "signal=KILL"
        inject = f"inject={self.call}:{effect}:when={self.number}"
        words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={self.call}", "-e", inject, *argv]
        return subprocess.run(words, capture_output=True, timeout=TIMEOUT).returncode


def count_calls(argv: Sequence[str], log: Path) -> dict[str, int]:
    """Run the command without faults; return how often the process that makes a call most often makes it."""
    words = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join('?' + call for call in CALLS)}", *argv]
    subprocess.run(words, check=True, capture_output=True, timeout=TIMEOUT)
    counts: dict[tuple[str, str], int] = {}
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+)\s+(\w+)\(", line)
        if match:
            key = match.group(1), match.group(2)
            counts[key] = counts.get(key, 0) + 1
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(count, most.get(call, 0))
    return most


def choose(rng: random.Random, counts: dict[str, int]) -> Fault:
    """Choose a fault among the calls the command makes; every sixth is a failing call instead of a kill."""
    if rng.random() < 1 / 6:
        calls, error = rng.choice(ERRORS)
        possible = [call for call in calls if call in counts]
        if possible:
            call = rng.choice(possible)
            return Fault(call, rng.randint(1, counts[call]), error)
    call = rng.choice(sorted(counts))
    return Fault(call, rng.randint(1, counts[call]))
