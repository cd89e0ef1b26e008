"""Compare the machine with itself: which mounts, cgroups, network namespaces and processes are new.

Written against the kernel's own files and independent of appc, so that it can judge appc.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_SETTLE = 10.0  # seconds that dying processes and their groups are given


class Snapshot:
    """The state of the machine at one moment."""

    def __init__(
        self,
        base: Path,
        mounts: set[tuple[str, str]],
        cgroups: set[str],
        namespaces: set[str],
        processes: set[tuple[int, str]],
    ):
        self.base = base
        self.mounts = mounts
        self.cgroups = cgroups
        self.namespaces = namespaces
        self.processes = processes

    def leftovers(self) -> Snapshot:
        """Return what is there now and was not then, after a short while for dying processes."""
        deadline = time.monotonic() + _SETTLE
        while True:
            now = snapshot(self.base)
            left = Snapshot(
                self.base,
                now.mounts - self.mounts,
                now.cgroups - self.cgroups,
                now.namespaces - self.namespaces,
                now.processes - self.processes,
            )
            if left:
                left._forgive_others()
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.02)

    def _forgive_others(self) -> None:
        """Leave out what belongs to pods that are none of our tests'."""
        pids, uuids = _foreign_pods(self.base)
        self.processes = {process for process in self.processes if process[0] not in pids}
        self.cgroups = {path for path in self.cgroups if not uuids.intersection(path.split("/"))}

    def __bool__(self) -> bool:
        return bool(self.mounts or self.cgroups or self.namespaces or self.processes)

    def lines(self) -> list[str]:
        """Return one line for each thing in this snapshot."""
        processes = {f"{pid} {_command(pid)}" for pid, _ in self.processes}
        kinds = (
            ("mount", {path for path, _ in self.mounts}),
            ("cgroup", self.cgroups),
            ("network namespace", self.namespaces),
            ("process", processes),
        )
        return [f"{kind} {thing}" for kind, things in kinds for thing in sorted(things)]

    def clear(self) -> None:
        """Kill, unmount and remove everything in this snapshot, as far as possible."""
        for pid, _ in self.processes:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for path in sorted((*(path for path, _ in self.mounts), *self.namespaces), reverse=True):
            os.spawnlp(os.P_WAIT, "umount", "umount", "-l", path)
        for path in self.namespaces:
            Path(path).unlink(missing_ok=True)
        deadline = time.monotonic() + _SETTLE
        remaining = sorted(self.cgroups, reverse=True)
        while remaining and time.monotonic() < deadline:
            remaining = [path for path in remaining if not _rmdir(path)]
            time.sleep(0.01)


def snapshot(base: Path) -> Snapshot:
    """Look at the machine as it is now; `base` is the directory below which all tests work.

    Only descendants of this process and orphans named appc-* count as processes: nothing else on a shared
    machine can be told apart from the work of others.
    """
    mounts = set()
    cgroups = set()
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        number, _, _, _, path = before.split(" ")[:5]
        mounts.add((path, number))
        if after.startswith("cgroup"):
            # Others' groups come and go on a shared machine; only those named for appc are ours to judge.
            for name in ("appc", "appc-test"):
                cgroups.update(_directories(os.path.join(path, name)))
    namespaces = {str(path) for place in ("/run/netns", "/run/appc/netns") for path in _entries(Path(place))}
    return Snapshot(base, mounts, cgroups, namespaces, set(_processes()))


def _foreign_pods(base: Path) -> tuple[set[int], set[str]]:
    """The processes that hold the lock of a pod that does not lie below `base`, and the UUIDs of these pods."""
    pids, uuids = set(), set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = Path(os.readlink(link))
        except OSError:
            continue
        if target.name == "lock" and "pods" in target.parts and not target.is_relative_to(base):
            pids.add(int(link.parts[2]))
            uuids.add(target.parent.name)
    return pids, uuids


def _directories(path: str) -> Iterator[str]:
    for directory, _, _ in os.walk(path):
        if directory != path:
            yield directory


def _entries(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _processes() -> Iterator[tuple[int, str]]:
    """Yield (pid, start time) of our descendants and of every appc program that lost its parent."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    starts: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            text = Path(f"/proc/{name}/stat").read_text(errors="replace")
        except OSError:
            continue
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        if fields[0] == "Z" and int(fields[1]) != os.getpid():
            continue
        pid = int(name)
        names[pid] = head.partition("(")[2]
        parents[pid] = int(fields[1])
        starts[pid] = fields[19]
    for pid in parents:
        ancestor = pid
        while ancestor not in (0, 1, os.getpid()):
            ancestor = parents.get(ancestor, 0)
        orphan = parents[pid] in (0, 1) and names[pid].startswith("appc-")
        if (ancestor == os.getpid() and pid != os.getpid()) or orphan:
            yield pid, starts[pid]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(ended)"


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
