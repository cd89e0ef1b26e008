"""What the callers of `create`, `run` and `exec` hand over: sockets, a file for the pid, descriptors."""

from __future__ import annotations

import os

from appc.errors import AppcError, UsageError
from appc.plan.compile_keeper import Handles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.options import Args

_FIRST = 3
_MOST = 32  # native/report.h


def handles(args: Args, detached: bool, terminal: bool) -> Handles:
    """Return what the options name. AppcError for what is not there or makes no sense together."""
    socket = args.option("console-socket")
    if detached and terminal and not socket:
        raise AppcError("cannot allocate tty if runc will detach without setting console socket", "--console-socket")
    if socket and not (detached and terminal):
        raise AppcError("cannot use console socket if runc will not detach or allocate tty", "--console-socket")
    preserved = _number(args.option("preserve-fds") or "0", "--preserve-fds") + listened()
    if preserved > _MOST:
        raise UsageError(f"no more than {_MOST} descriptors can be handed on", "--preserve-fds")
    for fd in range(_FIRST, _FIRST + preserved):
        # What this process itself opened is closed on exec.
        if not _is_callers(fd):
            raise AppcError(f"descriptor {fd} is not open", "--preserve-fds")
    return Handles(
        console=_absolute(socket),
        pid_file=_absolute(args.option("pid-file")),
        pidfd=_absolute(args.option("pidfd-socket")),
        preserved=preserved,
    )


def with_listened(process: dict[str, Any]) -> dict[str, Any]:
    """Return `process` as sd_listen_fds(3) wants it when sockets are handed on; its number is filled in by `exec`."""
    count = listened()
    if not count:
        return process
    return {**process, "env": [*(process.get("env") or ()), f"LISTEN_FDS={count}", "LISTEN_PID="]}


def listened() -> int:
    """Return how many sockets the caller hands on, by LISTEN_FDS that is meant for this very process."""
    text = os.environ.get("LISTEN_FDS") or "0"
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not (text.isascii() and text.isdecimal()):
        return 0
    return int(text)


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"{text!r} is not a number of descriptors", where)
    return int(text)


def _is_callers(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""
