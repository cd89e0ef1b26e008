"""What is done to control groups that exist: read and write their files, measure, kill, remove."""

from __future__ import annotations

import errno
import os
import time

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.host.probe import HostFacts

ROOT = "appc"  # the directory of all pods in each hierarchy
# What the group of a pod that joined another's begins with, inside that one's; no app's name can.
JOINED = "_pod-"
_PATIENCE = 2.0  # seconds that killed processes get to die
_FREEZING = 10.0  # seconds that processes get to stand still
_SIGKILL = 9
_HELD = 100  # processes at once, far below any limit of descriptors


def write(path: str, text: str) -> None:
    """Write a control file with one write(2); the kernel's refusal is an OSError naming nothing."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def read(path: str) -> str:
    """Read a control file of up to 64 KiB whole."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode()
    finally:
        os.close(fd)


def place(base: str, name: str) -> str:
    """Return the directory of a pod's groups in the hierarchy that begins at `base`.

    `name` is the pod's UUID, or OWNER/_pod-UUID of one that joined the groups of another. Where that one has none, as
    in v1 hierarchies in which nothing of it is limited, the pod's place is the usual one.
    """
    owner, _, own = name.rpartition("/")
    usual = f"{base}/{ROOT}/{own.removeprefix(JOINED)}"
    if not owner:
        return usual
    joined = f"{base}/{ROOT}/{name}"
    if os.path.isdir(joined) or (os.path.isdir(f"{base}/{ROOT}/{owner}") and not os.path.isdir(usual)):
        return joined
    return usual


def tree(path: str, *, alone: bool = False) -> list[str]:
    """Return the group at `path` and all below it, innermost first; nothing when it does not exist.

    Groups of pods that joined this one's are left out if it is to be `alone`.
    """
    found: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not (alone and entry.name.startswith(JOINED)):
                    found += tree(entry.path, alone=alone)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", path) from error
    return [*found, path]


def processes(path: str) -> list[int]:
    """Return the processes directly in a group, those of foreign PID namespaces excepted; none when it is gone."""
    try:
        with open(f"{path}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file if line != "0\n"]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return []
        raise HostError(f"cannot be read: {error.strerror}", f"{path}/cgroup.procs") from error


def kill(paths: Iterable[str], patience: float = _PATIENCE) -> bool:
    """Send SIGKILL to everything in the groups and below them until they are empty.

    Returns False when something is still there after `patience` seconds (uninterruptible sleep).
    """
    deadline = time.monotonic() + patience
    pause = 0.0005
    groups = dict.fromkeys(group for path in paths for group in tree(path))
    while True:
        left = False
        for group in groups:
            if processes(group):
                left = True
                _kill_group(group)
        if not left or time.monotonic() > deadline:
            return not left
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _kill_group(group: str) -> None:
    try:
        write(f"{group}/cgroup.kill", "1")  # Linux 5.14, v2 only
    except OSError:
        signal(group, _SIGKILL)


def signal(group: str, number: int) -> int:
    """Send a signal to the processes directly in a group; return how many there were.

    One that ends meanwhile may leave its number to a process that is none of these: each is held first, and then must
    still be listed.
    """
    from _signal import pidfd_send_signal  # type: ignore[import-not-found]  # the module signal costs 3 ms

    listed = processes(group)
    for first in range(0, len(listed), _HELD):
        held: dict[int, int] = {}
        try:
            for pid in listed[first : first + _HELD]:
                try:
                    held[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
            for pid in held.keys() & set(processes(group)):
                try:
                    pidfd_send_signal(held[pid], number)
                except ProcessLookupError:
                    continue
                except OSError as error:
                    raise HostError(f"process {pid} cannot be signalled: {error.strerror}", group) from error
        finally:
            for fd in held.values():
                os.close(fd)
    return len(listed)


def freeze(paths: Iterable[str], frozen: bool, patience: float = _FREEZING) -> None:
    """Freeze what runs in the groups, and wait until it stands still, or thaw it.

    HostError where no freezer is among them, or when something goes on for `patience` seconds (and then all does).
    """
    for path in paths:
        for file, words in (("cgroup.freeze", ("0", "1")), ("freezer.state", ("THAWED", "FROZEN"))):
            try:
                write(f"{path}/{file}", words[frozen])
                if frozen and not _stands_still(path, file, patience):
                    write(f"{path}/{file}", words[False])
                    raise HostError("cannot be frozen: something in it does not stand still", path)
                return
            except FileNotFoundError:
                continue
            except OSError as error:
                raise HostError(f"cannot be frozen or thawed: {error.strerror}", path) from error
    raise HostError("the container is in no group that can be frozen", "freezer")


def _stands_still(path: str, file: str, patience: float) -> bool:
    """Wait until all processes of a group, which are told to, are frozen."""
    deadline = time.monotonic() + patience
    pause = 0.0005
    while True:
        if file == "freezer.state":
            still = read(f"{path}/{file}").strip() == "FROZEN"
        else:
            still = "frozen 1" in read(f"{path}/cgroup.events").splitlines()
        if still or time.monotonic() > deadline:
            return still
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def frozen(paths: Iterable[str]) -> bool:
    """Tell whether the groups are frozen, or about to be."""
    for path in paths:
        for file, thawed in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
            try:
                return read(f"{path}/{file}").strip() != thawed
            except OSError:
                continue
    return False


def remove(paths: Iterable[str], patience: float = _PATIENCE) -> bool:
    """Remove the directories in the order given; ones that do not exist count as removed.

    A group whose last process is just dying is busy for a moment: it is tried again for `patience` seconds.
    Returns False when one could not be removed.
    """
    deadline = time.monotonic() + patience
    done = True
    for path in paths:
        pause = 0.0005
        while not _removed(path):
            if time.monotonic() > deadline:
                done = False
                break
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
    return done


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def pods(facts: HostFacts) -> set[str]:
    """Return the UUIDs of the pods that have groups on this host."""
    found: set[str] = set()
    for base in facts.bases.values():
        try:
            names = os.listdir(f"{base}/{ROOT}")
        except OSError:
            continue
        found.update(name for name in names if os.path.isdir(f"{base}/{ROOT}/{name}"))
    return found


def others(facts: HostFacts) -> list[str]:
    """Return the mount points of hierarchies in which no pod has groups of ours, such as systemd's own of v1."""
    from appc.host.mountinfo import unescape

    with open("/proc/self/mountinfo") as stream:
        lines = [line for line in stream if " - cgroup " in line]
    return [place for place in (unescape(line.split(" ")[4]) for line in lines) if place not in facts.bases]


def pod_directories(name: str, facts: HostFacts, *, alone: bool = False) -> list[str]:
    """Return every group of a pod that exists, in the order to remove them; `name` is as `place` takes it.

    Those of pods that joined it, which end with it, are left out if it is to be `alone`.
    """
    return [group for base in facts.bases.values() for group in tree(place(base, name), alone=alone)]


def remove_root(facts: HostFacts) -> None:
    """Remove the `appc` directories that hold no pod (create() makes them again)."""
    remove((f"{base}/{ROOT}" for base in (*facts.bases.values(), *others(facts))), patience=0)


def stats(paths: Iterable[str]) -> dict[str, int]:
    """Measure a pod or app by its directories: `memory` and `memory-peak` in bytes, `cpu` in nanoseconds,
    `pids`, and `oom-kills`; what no controller counts here is left out."""
    measured: dict[str, int] = {}
    for path in paths:
        for key, file, word, factor in _GAUGES:
            if key not in measured:
                value = _gauge(f"{path}/{file}", word)
                if value is not None:
                    measured[key] = value * factor
    return measured


# key, file, the word before the number ("" = the number alone), factor to the unit told; v2 before v1.
_GAUGES = (
    ("memory", "memory.current", "", 1),
    ("memory", "memory.usage_in_bytes", "", 1),
    ("memory-peak", "memory.peak", "", 1),
    ("memory-peak", "memory.max_usage_in_bytes", "", 1),
    ("oom-kills", "memory.events", "oom_kill", 1),
    ("oom-kills", "memory.oom_control", "oom_kill", 1),
    ("cpu", "cpu.stat", "usage_usec", 1000),
    ("cpu", "cpuacct.usage", "", 1),
    ("pids", "pids.current", "", 1),
)


def _gauge(path: str, word: str) -> int | None:
    try:
        text = read(path)
    except OSError:
        return None
    for line in text.splitlines():
        name, _, number = line.rpartition(" ")
        if name == word and number.isdigit():
            return int(number)
    return None
