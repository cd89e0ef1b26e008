"""Registering pods with systemd-machined (`--register`), by which machinectl shows and ends them.

The machine's leader is the pod's keeper: who terminates it asks that to end the pod in good order. A keeper that
is the main process of a service stays in it, so that this is the machine's unit; any other moves into a scope of its
own.
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.executor.keeper import BEYOND_GRACE
from appc.host import systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.executor.prepare import Prepared

_SECOND = 1_000_000  # µs


def name(uuid: str) -> str:
    """Return the machine's name for a pod."""
    return f"appc-{uuid}"


def check(prepared: Prepared) -> None:
    """HostError where pods cannot be registered."""
    if not prepared.facts.initial_userns:
        raise HostError("only the host's root registers pods", "--register")
    if not systemd.booted():
        raise HostError("this host was not booted with systemd", "--register")


def register(prepared: Prepared, keeper: int) -> None:
    """Register the pod of a keeper that runs, or of this process, which becomes one."""
    uuid = prepared.pod.uuid
    identity = bytes.fromhex(uuid.replace("-", ""))
    with systemd.Machines() as machines:
        if os.environ.get("SYSTEMD_EXEC_PID") == str(keeper):
            machines.register(name(uuid), identity, keeper)
        else:
            stop = round(prepared.request.grace) + BEYOND_GRACE
            properties: list[systemd.Property] = [
                ("Description", ("s", f"appc pod {uuid}")),
                ("TimeoutStopUSec", ("t", stop * _SECOND)),
            ]
            machines.create(name(uuid), identity, keeper, properties)
