"""Asking a program of the host's administrator whether a pod of another host signed something.

The host knows the keys of its own pods alone, and keys do not travel. Whoever runs several hosts knows how one asks
another; the program that `metadata.verifier` names does it.
"""

from __future__ import annotations

import os
import signal

from appc.metadata.messages import Question

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Process:
    """The program at work, as something a loop can watch: readable when it has ended."""

    def __init__(self, question: Question) -> None:
        """Start it in a process group of its own. Raises OSError."""
        data = os.memfd_create("content", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(data), "wb") as stream:
                stream.write(question.data)
            os.lseek(data, 0, os.SEEK_SET)
            actions = [(os.POSIX_SPAWN_DUP2, data, 0), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
            self._pid = os.posix_spawn(
                question.argv[0],
                question.argv,
                {"PATH": _PATH},
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
            )
        finally:
            os.close(data)
        self._fd = os.pidfd_open(self._pid)
        self._calm()

    def _calm(self) -> None:
        """The service may be in a hurry, which is not to be this program's."""
        try:
            if os.getpriority(os.PRIO_PROCESS, self._pid) < 0:
                os.setpriority(os.PRIO_PROCESS, self._pid, 0)
        except ProcessLookupError:
            pass

    def kill(self) -> None:
        """End it, with what it has started."""
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def status(self) -> int:
        """Collect it, once it is readable, and return its exit status (negative: the signal that ended it)."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def fileno(self) -> int:
        """The descriptor to watch, -1 after `close`."""
        return self._fd

    def setblocking(self, flag: bool) -> None:
        """Nothing is read of it."""

    def close(self) -> None:
        """Watch it no more."""
        os.close(self._fd)
        self._fd = -1
