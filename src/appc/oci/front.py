"""What the native front of `appc-oci` needs to do `state`, `start`, `kill` and `delete` without Python.

The file `front` in a container's directory is a sequence of strings that each end with a zero byte: FORMAT; the boot ID
of the host; the verbs that the front may do, separated by spaces; what `state` prints before the pid, between pid and
status, and after the status; then the directories of the control groups. native/front_file.c reads it.
"""

from __future__ import annotations

from appc.oci.container import STOPPED
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.container import Container

FILE = "front"
FORMAT = "appc-oci front 1"

_PID, _STATUS = '\n  "pid": ', ',\n  "status": "'


def verbs(config: dict[str, Any], unit: str) -> list[str]:
    """Return the verbs that need nothing of Python for a container of that configuration and, if any, systemd unit.

    What is written in C does what Python's verbs do at present and no more: whoever gives those more to do takes them
    away here, for the containers it concerns.
    """
    hooks = config.get("hooks") or {}
    linux = config.get("linux") or {}
    found = ["state", "kill"]
    # Who starts a container hands the listener of its filter to an agent, and refuses one without a process.
    agent = (linux.get("seccomp") or {}).get("listenerPath")
    if config.get("process") and not agent and not hooks.get("poststart"):
        found.append("start")
    if not unit and not hooks.get("poststop"):
        found.append("delete")
    return found


def describe(container: Container, config: dict[str, Any]) -> bytes:
    """Return the content of the file for a container that was recorded."""
    # Strings of JSON have no line breaks, so what is sought is found where it is meant.
    text = dumps(container.described(STOPPED), 2) + "\n"
    head, _, rest = text.partition(f"{_PID}0{_STATUS}{STOPPED}")
    allowed = " ".join(verbs(config, container.record.get("unit", "")))
    strings = [FORMAT, container.record["boot"], allowed, head + _PID, _STATUS, rest]
    return b"".join(string.encode(errors="surrogateescape") + b"\0" for string in (*strings, *container.cgroups))
