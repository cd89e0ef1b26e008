"""Who changes a pod that runs, and who clears it away, one after the other.

A change makes control groups that nobody but the collector would find, so the collector waits for its end, and a change
that comes after the collector finds no pod. Both hold a lock of the pod's directory `config`.
"""

from __future__ import annotations

import fcntl
import os

from appc.errors import PodNotFound, PodStateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from appc.pods.layout import Pod


class _Block:
    """A block that holds a file descriptor."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._fd = -1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class Changing(_Block):
    """A block in which nobody else changes the pod; PodStateError unless it runs."""

    def __enter__(self) -> None:
        pod = self._pod
        if pod.phase != "run" or not pod.locked():
            raise PodStateError(f"is not running ({pod.state()})", f"pod {pod.uuid}")
        self._fd = pod.open("config")
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        if not os.path.isdir(pod.path):
            os.close(self._fd)
            raise PodStateError("has ended", f"pod {pod.uuid}")


class Clearing(_Block):
    """A block in which a pod, of which nothing is alive, is not changed by who has not noticed yet."""

    def __enter__(self) -> None:
        try:
            self._fd = self._pod.open("config")
        except (FileNotFoundError, PodNotFound):
            # Nothing can be changed of a pod that never was.
            return
        fcntl.flock(self._fd, fcntl.LOCK_EX)
