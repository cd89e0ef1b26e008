"""What the keeper wrote about a pod: one small file of `key=value` lines for each app.

The keeper is ours, but its files lie beside data an app can fill (logs, volumes), so they are read
as data: bounded, unknown keys ignored, numbers parsed or dropped.
"""

from __future__ import annotations

import os

from appc.pods.layout import Pod

RECORD_LIMIT = 64 * 1024


class AppRecord:
    """How one app fares: pid, times (ns since the epoch), exit status or signal, its handler's end.

    `out_of_memory` tells that the kernel killed for memory where the app ended as killed; `restarts` how often it was
    run again, `restarting` that it will be, `stopped` that its end alone was asked for, `health` what its last check
    came to: good, bad, unknown, "" for no check. `ready` is None before the app's start; `said` are its own last words
    of how it fares (sd_notify's STATUS). Where it died for want of memory there are `memory_peak` and the limit, its
    own or the pod's (bytes); of a system call that its filter refused, there are `syscall` and `arch` (AUDIT_ARCH_*).
    """

    __slots__ = (
        "arch",
        "exited",
        "health",
        "memory_limit",
        "memory_peak",
        "name",
        "out_of_memory",
        "pid",
        "pod_memory_limit",
        "post_stop",
        "ready",
        "restarting",
        "restarts",
        "said",
        "signal",
        "started",
        "status",
        "stopped",
        "syscall",
    )

    def __init__(self, name: str, fields: dict[str, str]) -> None:
        self.name = name
        self.pid = number(fields.get("pid"))
        self.started = number(fields.get("started"))
        self.exited = number(fields.get("exited"))
        self.status = number(fields.get("status"))
        self.signal = number(fields.get("signal"))
        self.out_of_memory = fields.get("out-of-memory") == "1"
        self.memory_peak = number(fields.get("memory-peak"))
        self.memory_limit = number(fields.get("memory-limit"))
        self.pod_memory_limit = number(fields.get("pod-memory-limit"))
        self.syscall = number(fields.get("syscall"))
        self.arch = number(fields.get("arch"))
        self.stopped = fields.get("stopped") == "1"
        self.health = fields.get("health", "")
        self.restarts = number(fields.get("restarts")) or 0
        self.restarting = fields.get("restarting") == "1"
        self.ready = {"0": False, "1": True}.get(fields.get("ready", ""))
        self.said = fields.get("said", "")
        self.post_stop = fields.get("post-stop", "")

    @property
    def exit_status(self) -> int | None:
        """The app's status as a shell would report it: 128+N when signal N ended it."""
        return 128 + self.signal if self.signal is not None else self.status


def lines(pod: Pod, name: str) -> list[str]:
    """Read the lines of status file `name`; an absent one has none."""
    try:
        fd = pod.open(f"status/{name}")
    except FileNotFoundError:
        return []
    with os.fdopen(fd, "rb") as stream:
        return stream.read(RECORD_LIMIT).decode("utf-8", "replace").split("\n")


def read(pod: Pod, name: str) -> dict[str, str]:
    """Read the `key=value` lines of status file `name`."""
    pairs = (line.partition("=") for line in lines(pod, name))
    return {key: value for key, separator, value in pairs if separator}


def app_record(pod: Pod, name: str) -> AppRecord:
    """Return the record of app `name` (all None when it never started)."""
    return AppRecord(name, read(pod, f"{name}"))


def keeper_pid(pod: Pod) -> tuple[int, int] | None:
    """Return the keeper's (pid, start time in clock ticks), or None when it was never recorded."""
    fields = read(pod, "_keeper")
    pid, start = number(fields.get("pid")), number(fields.get("starttime"))
    return (pid, start) if pid and start is not None else None


def init_pid(pod: Pod) -> tuple[int, int] | None:
    """Return PID 1's (pid on the host, start time in clock ticks), or None."""
    fields = read(pod, "_keeper")
    pid, start = number(fields.get("init")), number(fields.get("init-starttime"))
    return (pid, start) if pid and start is not None else None


def is_ready(pod: Pod) -> bool:
    """Tell whether the keeper has recorded that all apps are ready: started, or what they said themselves."""
    return read(pod, "_keeper").get("ready") == "1"


def number(text: str | None) -> int | None:
    """Return a recorded number, None for what is none."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 20:
        return None
    return int(text)
