"""`events`: what a container uses, once or again and again, and when it runs out of memory, one line of JSON each."""

from __future__ import annotations

import os
import sys

from appc.errors import PodStateError, UsageError
from appc.oci.container import STOPPED, find
from appc.oci.usage import usage
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DEFAULT_INTERVAL = "5s"


def events(args: Args, context: Context) -> int:
    """Print what happens until the container has stopped; with --stats what it uses now, and no more."""
    container = find(context.root, args.words[0])
    if container.status() == STOPPED:
        raise PodStateError("container is not running", container.name)
    if args.flag("stats"):
        _print("stats", container, usage(container.cgroups))
        return 0
    _follow(container, duration(args.option("interval") or _DEFAULT_INTERVAL))
    return 0


def duration(text: str) -> float:
    """Return a duration such as 5s, 1m30s or 500ms in seconds. UsageError for what is none above 0."""
    rest, seconds = text, 0.0
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = next((unit for unit in _UNITS if rest.startswith(unit)), "")
        if not digits.replace(".", "", 1).isdecimal() or not unit:
            raise UsageError(f"{text!r} is not a duration such as 5s", "--interval")
        seconds += float(digits) * _UNITS[unit]
        rest = rest[len(unit) :]
    if not seconds > 0:
        raise UsageError("duration interval must be greater than 0", "--interval")
    return seconds


def _follow(container: Container, interval: float) -> None:
    """Print usage at every interval, and each time the kernel killed something for want of memory."""
    from select import POLLIN, poll
    from time import monotonic

    from appc.host import procs

    end = procs.open_pidfd(*container.process())
    if end < 0:
        return
    watcher = poll()
    watcher.register(end, POLLIN)
    kills = _Kills(container.cgroups)
    if kills.fd >= 0:
        watcher.register(kills.fd, kills.events)
    following = monotonic() + interval
    try:
        while True:
            ready = dict(watcher.poll(max(0.0, following - monotonic()) * 1000))
            if kills.fd in ready and kills.happened():
                _print("oom", container)
            if end in ready:
                break
            if monotonic() >= following:
                _print("stats", container, usage(container.cgroups))
                following += interval
    finally:
        kills.close()
        os.close(end)


class _Kills:
    """Tells when the kernel kills in a group for want of memory: `fd` has `events` then (-1: no way to know)."""

    def __init__(self, groups: list[str]) -> None:
        from select import POLLIN, POLLPRI

        self.fd = self._control = -1
        self.events = POLLPRI
        self._count = 0
        for group in groups:
            try:
                self.fd = os.open(f"{group}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                self._count = self._read()
                return
            except FileNotFoundError:
                pass
            try:
                self._control = os.open(f"{group}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            self.fd, self.events = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), POLLIN
            with open(f"{group}/cgroup.event_control", "w", encoding="ascii") as file:
                file.write(f"{self.fd} {self._control}")
            return

    def happened(self) -> bool:
        """Tell whether `fd` was ready for this, and make it ready for the next time."""
        if self._control >= 0:
            # The kernel tells of the group's removal in the same way.
            os.eventfd_read(self.fd)
            try:
                return os.pread(self._control, 1, 0) != b""
            except OSError:
                return False
        before, self._count = self._count, self._read()
        return self._count > before

    def close(self) -> None:
        """Close what was opened."""
        for fd in (self.fd, self._control):
            if fd >= 0:
                os.close(fd)

    def _read(self) -> int:
        try:
            text = os.pread(self.fd, 4096, 0).decode()
        except OSError:
            return self._count  # the group is gone
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def _print(kind: str, container: Container, data: dict[str, Any] | None = None) -> None:
    line: dict[str, Any] = {"type": kind, "id": container.name}
    if data is not None:
        line["data"] = data
    sys.stdout.write(dumps(line) + "\n")
    sys.stdout.flush()
