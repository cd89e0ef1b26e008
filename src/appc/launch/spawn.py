"""Starting the keeper: in place of this process (foreground) or beside it (detached, API).

The caller's descriptors and signals stay as they are: everything is close-on-exec and handed over
by number in posix_spawn's own file actions, so this is safe in a threaded program.
"""

from __future__ import annotations

import fcntl
import os

from appc.errors import HostError
from appc.launch.seal import native, sealed_init, sealed_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from appc.pods.layout import Pod

# The keeper gets its descriptors at these numbers; anything it is not given is "-".
PLAN, INIT, POD, LOCK, REPORT = 10, 11, 12, 13, 14
# Sources are moved above the targets first, so that no dup2 overwrites one still needed.
SAFE = 64
REPORT_LIMIT = 64 * 1024
# Every standard signal but SIGKILL and SIGSTOP, to be set to its default in the keeper.
SIGNALS = tuple(number for number in range(1, 32) if number not in (9, 19))


class Report:
    """What the keeper said of the start: `failure` is (track, op index, errno) or None."""

    __slots__ = ("failure", "handlers", "ready", "warnings")

    def __init__(self) -> None:
        self.ready = False
        self.failure: tuple[str, int, int] | None = None
        self.warnings: list[tuple[str, int, int]] = []
        self.handlers: list[tuple[str, str]] = []


def replace_process(plan: bytes, pod: Pod | None, environment: dict[str, str]) -> NoReturn:
    """Become the keeper of `plan` (foreground): terminal, session and standard streams stay ours."""
    fds = _descriptors(plan, pod)
    for target, fd in fds.items():
        os.dup2(fd, target, inheritable=True)
    program = native("appc-keep")
    os.execve(program, _arguments(fds), environment)


def spawn(plan: bytes, pod: Pod, environment: dict[str, str], streams: Sequence[int] = ()) -> tuple[int, Report]:
    """Start a keeper of its own session; return (pid, what it reported when all apps ran or failed).

    `streams` are descriptors for the keeper's standard input, output and error; without them they
    are /dev/null.
    """
    fds = _descriptors(plan, pod)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    fds[REPORT] = _moved(writer)
    actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]] = []
    if streams:
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SAFE) for fd in streams]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(moved)]
    else:
        moved = []
        actions += [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in fds.items()]
    program = native("appc-keep")
    try:
        pid = os.posix_spawn(
            program,
            _arguments(fds),
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=SIGNALS,
        )
    except OSError as error:
        os.close(reader)
        raise HostError(os.strerror(error.errno or 0), program) from None
    finally:
        for fd in [*fds.values(), *moved]:
            os.close(fd)
    with os.fdopen(reader, "rb") as stream:
        return pid, _read_report(stream.fileno())


def _descriptors(plan: bytes, pod: Pod | None) -> dict[int, int]:
    fds = {PLAN: _moved(sealed_plan(plan)), INIT: _moved(sealed_init())}
    if pod is not None:
        fds[POD] = _moved(os.open(pod.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        fds[LOCK] = fcntl.fcntl(pod.lock_fd, fcntl.F_DUPFD_CLOEXEC, SAFE)
    return fds


def _moved(fd: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SAFE)
    os.close(fd)
    return moved


def _arguments(fds: dict[int, int]) -> list[str]:
    return ["appc-keep"] + [str(number) if number in fds else "-" for number in (PLAN, INIT, POD, LOCK, REPORT)]


def _read_report(fd: int) -> Report:
    report = Report()
    pending = b""
    total = 0
    while not report.ready and report.failure is None and total < REPORT_LIMIT:
        chunk = os.read(fd, 4096)
        if not chunk:
            break
        total += len(chunk)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            _read_line(report, line.decode("utf-8", "replace"))
    return report


def _read_line(report: Report, line: str) -> None:
    """Take in `ready`, `fail TRACK INDEX ERRNO`, `warn TRACK INDEX ERRNO` or `handler APP STATUS`."""
    kind, _, rest = line.partition(" ")
    words = rest.rsplit(" ", 2)  # a track's name has spaces
    if line == "ready":
        report.ready = True
    elif kind in ("fail", "warn") and len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
        entry = (words[0], int(words[1]), int(words[2]))
        if kind == "fail":
            report.failure = entry
        else:
            report.warnings.append(entry)
    elif kind == "handler" and len(words) == 2:
        report.handlers.append((words[0], words[1]))
