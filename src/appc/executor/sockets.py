"""Socket activation: which sockets an app finds open when it starts (sd_listen_fds).

They are for ports with `socketActivated`. Those that the caller was given by its service manager (LISTEN_FDS) are
matched to ports by name, else by number; for the other ports sockets are made.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.schema.image import Port
    from appc.schema.pod import ExposedPort, PodManifest

FIRST = 3  # SD_LISTEN_FDS_START
MOST = 32  # as native/report.h
INHERITED = "inherited"
_KINDS = ("tcp", "udp")
_INET = (2, 10)  # AF_INET, AF_INET6
_STREAM = 1


class Given:
    """A socket the caller was given: descriptor, name ("" for none), and kind and port if it is one of the internet."""

    __slots__ = ("fd", "kind", "name", "port")

    def __init__(self, fd: int, name: str = "", kind: str = "", port: int = 0) -> None:
        self.fd = fd
        self.name = name
        self.kind = kind
        self.port = port


class PodSocket:
    """One socket of an app, as op `socket` has it: `kind`, `address`, `port`, whether it is made in the pod."""

    __slots__ = ("address", "in_pod", "kind", "name", "port")

    def __init__(self, name: str, kind: str, address: str, port: int, in_pod: bool) -> None:
        self.name = name
        self.kind = kind
        self.address = address
        self.port = port
        self.in_pod = in_pod

    @property
    def inherited(self) -> bool:
        """Whether it is one of the caller's."""
        return self.kind == INHERITED


def given() -> tuple[Given, ...]:
    """Return the sockets this process was given by its service manager, none if they were meant for another."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isdecimal() and count.isascii()):
        return ()
    if int(count) > MOST:
        raise UsageError(f"{count} sockets are too many, {MOST} can be handed on", "LISTEN_FDS")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return tuple(look_at(FIRST + index, names[index]) for index in range(int(count)))


def look_at(fd: int, name: str) -> Given:
    """Return the socket with descriptor `fd` as one that was given under `name`; UsageError when it is none."""
    import _socket

    try:
        found = _socket.socket(fileno=fd)
    except OSError as error:
        raise UsageError(f"descriptor {fd} is no socket ({error.strerror})", "LISTEN_FDS") from None
    try:
        if found.family not in _INET:
            return Given(fd, name)
        return Given(fd, name, _KINDS[found.type != _STREAM], found.getsockname()[1])
    finally:
        found.detach()


def assign(
    manifest: PodManifest, net: str, networked: bool, inherited: Sequence[Given], warnings: list[str]
) -> dict[str, list[PodSocket]]:
    """Return app → its sockets, in the order of its ports.

    A port that is given none gets one in the pod's network, or on the host where the pod has no network to forward
    from, or the host's. Warns of sockets that no port is for. Raises AppcError for other protocols than tcp and udp.
    """
    left = list(enumerate(inherited))
    exposed = {str(one.name): one for one in manifest.ports}
    found: dict[str, list[PodSocket]] = {}
    for entry in manifest.apps:
        for port in entry.app.ports if entry.app else ():
            if not port.socket_activated:
                continue
            if port.protocol not in _KINDS:
                where = f"app {entry.name}.ports ({port.name})"
                raise AppcError(f"{port.protocol} is not tcp or udp, of which sockets can be made", where)
            public = exposed.get(str(port.name))
            for offset in range(port.count):
                found.setdefault(str(entry.name), []).append(_socket_for(port, offset, public, net, networked, left))
    for app, sockets in found.items():
        if len(sockets) > MOST:
            raise AppcError(f"has {len(sockets)} sockets, more than {MOST}", f"app {app}")
    for _, one in left:
        what = one.name or (f"{one.port}/{one.kind}" if one.port else f"descriptor {one.fd}")
        warnings.append(f"no app has a port with socketActivated for the socket {what}; it is closed")
    return found


def _socket_for(
    port: Port,
    offset: int,
    public: ExposedPort | None,
    net: str,
    networked: bool,
    left: list[tuple[int, Given]],
) -> PodSocket:
    number = (public.host_port if public else port.port) + offset
    name = str(port.name)
    match = next((one for one in left if one[1].name == name), None) or next(
        (one for one in left if (one[1].kind, one[1].port) == (port.protocol, number)), None
    )
    if match is not None:
        left.remove(match)
        return PodSocket(name, INHERITED, "", match[0], False)
    if net == "host" or (public is not None and not networked):
        return PodSocket(name, port.protocol, _address(public.host_ip if public else ""), number, False)
    return PodSocket(name, port.protocol, _address(""), port.port + offset, True)


def _address(wanted: str) -> str:
    """All addresses are those of IPv6, which IPv4's are among, where the kernel has it."""
    return wanted or ("::" if os.path.exists("/proc/net/if_inet6") else "0.0.0.0")


def variables(sockets: Sequence[PodSocket]) -> tuple[tuple[str, str], ...]:
    """Return the environment that tells an app of its sockets; LISTEN_PID gets its value when the app is executed."""
    names = ":".join(one.name for one in sockets)
    return (("LISTEN_PID", ""), ("LISTEN_FDS", str(len(sockets))), ("LISTEN_FDNAMES", names)) if sockets else ()
