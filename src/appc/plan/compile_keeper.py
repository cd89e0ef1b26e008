"""The keeper's side of a single container, and of a command beside one: what the caller hands over, and the process."""

from __future__ import annotations

from appc.plan.compile_process import notifies
from appc.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# All kinds of hooks that are acted on.
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

INHERIT = ("inherit", "inherit", "inherit")
TERMINAL = ("tty", "tty", "tty")


class Handles:
    """What the caller of `create`, `run` or `exec` hands over, as paths on the host ("" = none).

    `console` is the socket the terminal is sent to, `pid_file` where the pid is written, `pidfd` the socket that gets a
    pidfd of the process; `preserved` descriptors of the caller become the process's, from 3 on.
    """

    __slots__ = ("console", "pid_file", "pidfd", "preserved")

    def __init__(self, console: str = "", pid_file: str = "", pidfd: str = "", preserved: int = 0) -> None:
        self.console = console
        self.pid_file = pid_file
        self.pidfd = pidfd
        self.preserved = preserved

    @property
    def descriptors(self) -> range:
        """The numbers of the preserved descriptors."""
        return range(3, 3 + self.preserved)


def process_op(track: str, config: Mapping[str, Any], flags: int, handles: Handles, born: str, detached: bool) -> Op:
    """Return the keeper's op that starts the process, by `track`; `born` is the group it is born in, if any."""
    modes = TERMINAL if config["process"].get("terminal") else INHERIT
    return Op("process", track, flags, int(detached), *modes, handles.console, born, source="process")


def pidfd_ops(handles: Handles) -> list[Op]:
    """Return the op that sends a pidfd of the process, if the caller wants one."""
    return [Op("pidfd", handles.pidfd, source="--pidfd-socket")] if handles.pidfd else []


def agent_ops(linux: Mapping[str, Any], state: tuple[str, ...]) -> list[Op]:
    """Return the op that sends the listener of the filter to its agent, if it has one."""
    section = linux.get("seccomp")
    if not section or not notifies(section):
        return []
    return [Op("agent", section["listenerPath"], state, source="linux.seccomp.listenerPath")]
