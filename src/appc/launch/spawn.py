"""Starting the keeper: in place of this process (foreground) or beside it (detached, API).

The caller's descriptors and signals stay as they are: everything is close-on-exec and handed over
by number in posix_spawn's own file actions, so this is safe in a threaded program.
"""

from __future__ import annotations

import errno
import fcntl
import os

from appc.launch.seal import native, sealed_init, sealed_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from appc.pods.layout import Pod

# The keeper gets its descriptors at these numbers; anything it is not given is "-".
PLAN, INIT, POD, LOCK, REPORT = 10, 11, 12, 13, 14
SOCKETS = 20  # and those that follow
# Sources are moved above the targets first, so that no dup2 overwrites one still needed.
SAFE = 64
# A line of the report is never longer; of a keeper that says more, the rest is not kept.
LINE_LIMIT = 4096
MOST_WARNINGS = 1000
# Of the caller's environment a keeper keeps nothing but what a terminal and a locale need.
KEPT_VARIABLES = ("TERM", "LANG", "LC_ALL", "NO_COLOR", "COLUMNS", "LINES")
# Where a service manager is told that the service is ready (sd_notify(3)).
SERVICE_SOCKET = "NOTIFY_SOCKET"
KEEPER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Every standard signal but SIGKILL and SIGSTOP, to be set to its default in the keeper.
SIGNALS = tuple(number for number in range(1, 32) if number not in (9, 19))


class Report:
    """What the keeper said of the start.

    `failure` is (track, op index, errno) or None, `warnings` are such of what was tolerated, `handlers` the
    (app, exit status) of each pre-start handler.
    """

    __slots__ = ("failure", "handlers", "ready", "warnings")

    def __init__(self) -> None:
        self.ready = False
        self.failure: tuple[str, int, int] | None = None
        self.warnings: list[tuple[str, int, int]] = []
        self.handlers: list[tuple[str, int]] = []


def plain_environment(*more: str) -> dict[str, str]:
    """Return the environment of a keeper: what its terminal needs, `more` by name, and nothing else of the caller's."""
    kept = {name: os.environ[name] for name in (*KEPT_VARIABLES, *more) if name in os.environ}
    return {"PATH": KEEPER_PATH, **kept}


def replace_process(plan: bytes, pod: Pod | None, environment: dict[str, str], sockets: Sequence[int] = ()) -> NoReturn:
    """Become the keeper of `plan` (foreground): terminal, session and standard streams stay ours.

    `sockets` are descriptors for the pod's apps.
    """
    program = native("appc-keep")
    fds = _descriptors(plan, pod.path if pod else "", pod.lock_fd if pod else -1, sockets)
    for target, fd in fds.items():
        os.dup2(fd, target, inheritable=True)
    os.execve(program, _arguments(fds), environment)


def spawn(plan: bytes, pod: Pod, environment: dict[str, str], sockets: Sequence[int] = ()) -> tuple[int, int]:
    """Start a keeper of its own session with nothing on its streams.

    Returns its pid and the descriptor to read its report from (`read_report`).
    """
    return _start(plan, environment, pod.path, pod.lock_fd, sockets, own_session=True)


def spawn_here(
    plan: bytes, directory: str, environment: dict[str, str], sockets: Sequence[int] = ()
) -> tuple[int, int]:
    """Start a keeper in our session, with our streams, that has `directory` ("" = none) for its status files.

    `sockets` are descriptors for its process. Returns what `spawn` does.
    """
    return _start(plan, environment, directory, -1, sockets, own_session=False)


def _start(
    plan: bytes, environment: dict[str, str], directory: str, lock: int, sockets: Sequence[int], *, own_session: bool
) -> tuple[int, int]:
    program = native("appc-keep")
    fds: dict[int, int] = {}
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fds[REPORT] = _moved(writer)
        fds.update(_descriptors(plan, directory, lock, sockets))
        actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]] = []
        if own_session:
            actions += [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in fds.items()]
        pid = os.posix_spawn(
            program,
            _arguments(fds),
            environment,
            file_actions=actions,
            setsid=own_session,
            setsigmask=(),
            setsigdef=SIGNALS,
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        for fd in fds.values():
            os.close(fd)
    return pid, reader


def read_report(fd: int) -> Report:
    """Read the keeper's report until it is ready, has failed or is gone; `fd` is closed."""
    report = Report()
    pending = b""
    with os.fdopen(fd, "rb", buffering=0) as stream:
        while not report.ready and report.failure is None:
            chunk = stream.read(LINE_LIMIT)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            pending = pending[:LINE_LIMIT]
            for line in lines:
                read_line(report, line.decode("utf-8", "replace"))
    return report


def read_line(report: Report, line: str) -> None:
    """Take in `ready`, `fail TRACK INDEX ERRNO`, `warn TRACK INDEX ERRNO` or `handler APP STATUS`."""
    kind, _, rest = line.partition(" ")
    words = rest.rsplit(" ", 2)  # a track's name has spaces
    if line == "ready":
        report.ready = True
    elif kind in ("fail", "warn") and len(words) == 3 and _is_number(words[1]) and _is_number(words[2]):
        entry = (words[0], int(words[1]), int(words[2]))
        if kind == "fail":
            report.failure = entry
        elif len(report.warnings) < MOST_WARNINGS:
            report.warnings.append(entry)
    elif kind == "handler" and len(words) == 2 and _is_number(words[1]):
        report.handlers.append((words[0], int(words[1])))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 10


def _descriptors(plan: bytes, directory: str, lock: int, sockets: Sequence[int]) -> dict[int, int]:
    """Return the descriptors a keeper needs, by the number it gets them at."""
    fds: dict[int, int] = {}
    try:
        fds[PLAN] = _moved(sealed_plan(plan))
        fds[INIT] = _moved(sealed_init())
        if directory:
            fds[POD] = _moved(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        if lock >= 0:
            fds[LOCK] = _duplicate(lock)
        for index, fd in enumerate(sockets):
            fds[SOCKETS + index] = _duplicate(fd)
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    return fds


def _moved(fd: int) -> int:
    try:
        return _duplicate(fd)
    finally:
        os.close(fd)


def _duplicate(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SAFE)
    except OSError as error:
        # A limit below SAFE; the kernel calls that an invalid argument.
        number = errno.EMFILE if error.errno == errno.EINVAL else error.errno
        raise OSError(number, os.strerror(number or 0)) from None


def _arguments(fds: dict[int, int]) -> list[str]:
    fixed = [str(number) if number in fds else "-" for number in (PLAN, INIT, POD, LOCK, REPORT)]
    return ["appc-keep", *fixed, *(str(number) for number in fds if number >= SOCKETS)]
