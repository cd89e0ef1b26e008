"""What systemd does when it is asked by D-Bus: units of its manager (org.freedesktop.systemd1(5)), and entries in the
register of machines (org.freedesktop.machine1(5)).

jeepney speaks D-Bus, and is imported when the first connection is made. Values of properties are (signature, value).
"""

from __future__ import annotations

import os

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

Property = tuple[str, tuple[str, "Any"]]

_BOOTED = "/run/systemd/system"  # sd_booted(3)
_MANAGER_NAME, _MANAGER_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_MACHINES_NAME, _MACHINES_PATH = "org.freedesktop.machine1", "/org/freedesktop/machine1"
_MACHINES = "org.freedesktop.machine1.Manager"
_NO_UNIT, _UNIT_EXISTS = "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitExists"
_SERVICE = "appc"  # what `machinectl list` says made them
_PATIENCE = 60.0  # seconds that systemd gets for an answer, and for a job


def booted() -> bool:
    """Tell whether systemd is the init of this host."""
    return os.path.isdir(_BOOTED)


class Refused(HostError):
    """An answer that is an error; `name` is its D-Bus name."""

    def __init__(self, name: str, what: str, where: str) -> None:
        super().__init__(what, where)
        self.name = name


class _Service:
    """A connection to a service of systemd's. HostError when there is none, and for what it refuses."""

    name = path = interface = ""

    def __init__(self) -> None:
        if not booted():
            raise HostError("this host was not booted with systemd", _BOOTED)
        self._jeepney = _import_jeepney()
        from jeepney.io import blocking

        address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "the system's bus")
        try:
            self._connection = blocking.open_dbus_connection("SYSTEM", auth_timeout=_PATIENCE)
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise HostError(f"D-Bus cannot be reached: {reason}", address, "see systemctl status dbus") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _call(self, method: str, signature: str, arguments: tuple[Any, ...], unit: str) -> tuple[Any, ...]:
        address = self._jeepney.DBusAddress(self.path, bus_name=self.name, interface=self.interface)
        return self._send(self._jeepney.new_method_call(address, method, signature or None, arguments), unit)

    def _send(self, message: Any, unit: str) -> tuple[Any, ...]:
        from jeepney.wrappers import unwrap_msg

        try:
            reply = self._connection.send_and_get_reply(message, timeout=_PATIENCE)
        except (TimeoutError, OSError):
            raise HostError("systemd does not answer", unit) from None
        try:
            body: tuple[Any, ...] = unwrap_msg(reply)
        except self._jeepney.DBusErrorResponse as error:
            text = str(error.data[0]) if error.data else error.name
            raise Refused(error.name, f"systemd refuses: {text.splitlines()[0]}", unit) from None
        return body


class Manager(_Service):
    """The manager of system units."""

    name, path, interface = _MANAGER_NAME, _MANAGER_PATH, _MANAGER

    def start_scope(self, unit: str, properties: Sequence[Property]) -> None:
        """Make a transient scope, which has the processes that its property `PIDs` names, and wait until it is there.

        What an earlier one of that name left behind when it failed is forgotten.
        """
        arguments: tuple[Any, ...] = (unit, "replace", list(properties), [])
        try:
            self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments, unit)
        except Refused as error:
            if error.name != _UNIT_EXISTS:
                raise
            self._reset(unit)
            self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments, unit)

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Change properties of a unit until it ends."""
        self._call("SetUnitProperties", "sba(sv)", (unit, True, list(properties)), unit)

    def stop(self, unit: str) -> None:
        """Stop a unit, wait until it has ended, and have it forgotten; one that is not there has been."""
        try:
            self._job("StopUnit", "ss", (unit, "replace"), unit)
        except Refused as error:
            if error.name != _NO_UNIT:
                raise
        self._reset(unit)

    def _reset(self, unit: str) -> None:
        try:
            self._call("ResetFailedUnit", "s", (unit,), unit)
        except Refused as error:
            if error.name != _NO_UNIT:
                raise

    def _job(self, method: str, signature: str, arguments: tuple[Any, ...], unit: str) -> None:
        """Call what starts a job, and wait until it is done."""
        from collections import deque

        rule = self._jeepney.MatchRule(type="signal", path=self.path, interface=self.interface, member="JobRemoved")
        self._send(self._jeepney.message_bus.AddMatch(rule), unit)
        self._call("Subscribe", "", (), unit)
        removed: deque[Any] = deque()
        with self._connection.filter(rule, queue=removed):
            (job,) = self._call(method, signature, arguments, unit)
            while True:
                _, path, _, result = self._wait(removed, unit).body
                if path == job:
                    break
        if result != "done":
            raise HostError(f"systemd could not do it: {method} {result}", unit, f"see journalctl -u {unit}")

    def _wait(self, queue: Any, unit: str) -> Any:
        try:
            return self._connection.recv_until_filtered(queue, timeout=_PATIENCE)
        except (TimeoutError, OSError):
            raise HostError("systemd does not answer", unit) from None


class Machines(_Service):
    """The register of virtual machines and containers, systemd-machined."""

    name, path, interface = _MACHINES_NAME, _MACHINES_PATH, _MACHINES

    def create(self, machine: str, identity: bytes, leader: int, properties: Sequence[Property]) -> None:
        """Register a container whose process `leader` moves into a scope made for it, with `properties`.

        `identity` are the 16 bytes of its machine ID. It is registered until its unit ends, as with `register`.
        """
        arguments = (machine, identity, _SERVICE, "container", leader, "", list(properties))
        self._call("CreateMachine", "sayssusa(sv)", arguments, machine)

    def register(self, machine: str, identity: bytes, leader: int) -> None:
        """Register a container whose process `leader` stays in the unit that it is in."""
        self._call("RegisterMachine", "sayssus", (machine, identity, _SERVICE, "container", leader, ""), machine)


def _import_jeepney() -> Any:
    """Import jeepney, which may lie elsewhere than appc: verbs start without `site`."""
    try:
        import jeepney
    except ImportError:
        import site

        site.main()
        try:
            import jeepney
        except ImportError:
            hint = "install the Python package jeepney"
            raise HostError("speaking with systemd needs jeepney", "D-Bus", hint) from None
    return jeepney
