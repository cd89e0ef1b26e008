"""Seccomp agents: who answers the calls that a filter leaves to them (config-linux.md, "The Container Process State").

An agent listens at `linux.seccomp.listenerPath`; it is sent the listener of the filter and the state of the process.
"""

from __future__ import annotations

from array import array

from appc.errors import HostError
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_DESCRIPTOR = "seccompFd"
_WHERE = "linux.seccomp.listenerPath"


def state_texts(section: Mapping[str, Any], state: Mapping[str, Any], container_pid: int = 0) -> tuple[str, ...]:
    """Return the state of the process as JSON, in parts between which its pid is put.

    `state` is the container's, whose process is another one when it has a `container_pid`.
    """
    process = {"ociVersion": state["ociVersion"], "fds": [_DESCRIPTOR], "metadata": section.get("listenerMetadata", "")}
    container = {key: value for key, value in state.items() if key != "pid"}
    first = dumps(process)[:-1] + ',"pid":'
    rest = "," + dumps(container)[1:] + "}"
    if container_pid:
        return first, f',"state":{{"pid":{container_pid}{rest}'
    return first, ',"state":{"pid":', rest


class Agent:
    """The connection to an agent, made before anything depends on it."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        """Connect; HostError when nobody listens."""
        import _socket

        self._section = section
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(section["listenerPath"])
        except OSError as error:
            self._socket.close()
            raise HostError(f"the seccomp agent cannot be reached: {error.strerror or error}", _WHERE) from error

    def send(self, listener: int, state: Mapping[str, Any]) -> None:
        """Send the listener of the container with `state`; HostError when the agent has gone."""
        import _socket

        text = str(state["pid"]).join(state_texts(self._section, state))
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [listener]))
        try:
            self._socket.sendmsg([text.encode()], [rights])
        except OSError as error:
            raise HostError(f"the seccomp agent cannot be told: {error.strerror or error}", _WHERE) from error

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
