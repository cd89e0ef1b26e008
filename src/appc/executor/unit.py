"""Units of systemd that run a pod: a service, and a socket for each port that is socket-activated (systemd.unit(5))."""

from __future__ import annotations

import os
import sys

from appc.executor.keeper import BEYOND_GRACE, command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.config import Directories
    from appc.schema.pod import PodManifest

_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.-"


def command(where: Directories, words: Sequence[str]) -> list[str]:
    """Return the whole command of `appc run` with `words`, from the program's absolute path on."""
    program = f"{sys.prefix}/bin/appc"
    found = [program] if os.access(program, os.X_OK) else list(command_line())
    for option, value, usual in (("--root", where.root, "/var/lib/appc"), ("--state", where.state, "/run/appc")):
        if value != usual:
            found += [option, value]
    if where.config_given:
        for directory in where.config:
            found += ["--config", os.path.abspath(directory)]
    return [*found, "run", *words]


def service(description: str, words: Sequence[str], grace: float, sockets: Sequence[str]) -> str:
    """Return the service that runs `words`; `grace` is its apps' in seconds, `sockets` the units it gets sockets from.

    It is ready when the pod is, and ended by a signal to the keeper, which ends the apps in their order.
    """
    unit = [f"Description={_text(description)}", "Wants=network-online.target", "After=network-online.target"]
    if sockets:
        unit += [f"Requires={' '.join(sockets)}", f"After={' '.join(sockets)}"]
    body = [
        "Type=notify",
        f"ExecStart={' '.join(_word(word) for word in words)}",
        "KillMode=mixed",
        f"TimeoutStopSec={round(grace) + BEYOND_GRACE}",
        # An app that SIGTERM ended has done what it was asked for.
        "SuccessExitStatus=143",
        "Restart=on-failure",
    ]
    if sockets:
        body.append(f"Sockets={' '.join(sockets)}")
    return _file([("Unit", unit), ("Service", body), ("Install", ["WantedBy=multi-user.target"])])


def sockets(name: str, manifest: PodManifest) -> dict[str, str]:
    """Return the socket units of the service `name`, by file name: one for each port with `socketActivated`."""
    exposed = {str(port.name): port for port in manifest.ports}
    found = {}
    for entry in manifest.apps:
        for port in entry.app.ports if entry.app else ():
            if not port.socket_activated:
                continue
            public = exposed.get(str(port.name))
            first = public.host_port if public else port.port
            address = public.host_ip if public else ""
            listen = "ListenDatagram" if port.protocol == "udp" else "ListenStream"
            places = [f"{listen}={_place(address, first + offset)}" for offset in range(port.count)]
            body = [*places, f"FileDescriptorName={port.name}", f"Service={name}.service"]
            unit = [f"Description=Port {port.name} of {name}.service"]
            install = ["WantedBy=sockets.target"]
            found[f"{name}-{port.name}.socket"] = _file([("Unit", unit), ("Socket", body), ("Install", install)])
    return found


def _place(address: str, port: int) -> str:
    if not address:
        return str(port)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _file(sections: Sequence[tuple[str, Sequence[str]]]) -> str:
    return "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections)


def _text(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).replace("%", "%%")


def _word(word: str) -> str:
    """Quote a word of a command line: quotes, backslashes, specifiers and variables mean nothing special then."""
    if word and all(character in _PLAIN or character in "/=,+@" for character in word):
        return word
    escaped = "".join(_ESCAPES.get(character, character) for character in word)
    return f'"{escaped}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "%%", "$": "$$"}
