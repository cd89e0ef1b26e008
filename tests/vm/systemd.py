"""The host's systemd as PID 1 of the VM: units of our own, and none of what a whole machine starts.

Emulated, every program that is started costs a tenth of a second, so nothing that the host has enabled is taken over:
the journal, D-Bus and what is activated by it (machined) are there, and the service that runs the command.
"""

from __future__ import annotations

from pathlib import Path

PROGRAM = "/lib/systemd/systemd"
TARGET = "appc-vm.target"
MASKED = "/dev/null"

_KEPT = {"systemd-journald.service"}
_UNITS = ("/lib/systemd/system", "/etc/systemd/system")
_GENERATORS = ("/lib/systemd/system-generators", "/etc/systemd/system-generators")
# What every unit waits for; whatever these want is about devices, disks and clocks of a real machine.
_EARLY = ("sysinit.target.wants", "local-fs.target.wants", "network-online.target.wants")

_TARGET = """[Unit]
Description=The command of a test
Requires=dbus.socket appc-vm.service
"""
_SERVICE = """[Unit]
Description=The command of a test
After=dbus.socket systemd-journald.socket
[Service]
ExecStart={command}
StandardInput=null
StandardOutput=null
StandardError=null
TasksMax=infinity
KillMode=process
"""


def files(command: str) -> dict[str, str | None]:
    """Return what lies below /run/systemd: contents by path, None for a directory, MASKED for a link to nothing."""
    found: dict[str, str | None] = {
        "": None,
        "system": None,
        "system-generators": None,
        f"system/{TARGET}": _TARGET,
        "system/appc-vm.service": _SERVICE.format(command=command),
    }
    for place in _UNITS:
        for wants in _EARLY:
            for name in _names(f"{place}/{wants}") - _KEPT:
                found[f"system/{name}"] = MASKED
    for place in _GENERATORS:
        for name in _names(place):
            found[f"system-generators/{name}"] = MASKED
    return found


def _names(directory: str) -> set[str]:
    try:
        return {path.name for path in Path(directory).iterdir()}
    except FileNotFoundError:
        return set()
