"""Telling a pod's keeper what is to change: a sealed plan, by the socket in the pod's directory."""

from __future__ import annotations

import os

from appc.errors import PodStateError
from appc.launch.seal import sealed_plan
from appc.launch.spawn import read_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.launch.spawn import Report
    from appc.pods.layout import Pod

SOCKET = "control"


def send(pod: Pod, plan: bytes) -> Report:
    """Have the keeper of a running pod perform an encoded plan; return its report when it has, or has failed.

    Raises PodStateError when the pod does not run, or not yet.
    """
    import _socket
    from array import array

    directory = os.open(pod.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    caller = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        # Through the directory's descriptor: its own path may be too long for an address.
        caller.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        fd = sealed_plan(plan)
        try:
            caller.sendmsg([b"c"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [fd]))])
        finally:
            os.close(fd)
        return read_report(caller.detach())
    except (FileNotFoundError, ConnectionError):
        raise PodStateError("cannot be changed: it is being started, or ends", f"pod {pod.uuid}") from None
    finally:
        caller.close()
        os.close(directory)
