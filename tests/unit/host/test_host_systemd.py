"""What systemd is asked over D-Bus, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_bus import Bus, Error, job_removed

from appc.errors import HostError
from appc.host import systemd

OURS, OTHER = "/org/freedesktop/systemd1/job/7", "/org/freedesktop/systemd1/job/6"
UNIT = "test-one.scope"
PROPERTIES: list[systemd.Property] = [("Delegate", ("b", True)), ("PIDs", ("au", [42]))]


class World:
    """A host with systemd, whose answers tests change: `errors` are answers to methods, used up one after the other."""

    def __init__(self, place: Path) -> None:
        self.result = "done"
        self.errors: dict[str, list[Error]] = {}
        self.bus = Bus(place / "bus", self.answer)

    def answer(self, method: str, arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...], list[Any]]:
        if self.errors.get(method):
            raise self.errors[method].pop(0)
        if method in ("StartTransientUnit", "StopUnit"):
            # Somebody else's job is over first.
            signals = [job_removed(OTHER, "other.service", "failed"), job_removed(OURS, UNIT, self.result)]
            return "o", (OURS,), signals
        return "", (), []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.bus.address)
    monkeypatch.setattr(systemd, "booted", lambda: True)
    yield made
    made.bus.close()


def test_a_scope_is_started_with_its_properties(world: World) -> None:
    with systemd.Manager() as manager:
        manager.start_scope(UNIT, PROPERTIES)
    assert world.bus.methods() == ["Subscribe", "StartTransientUnit"]
    assert world.bus.calls[-1][1] == (UNIT, "replace", PROPERTIES, [])


def test_what_failed_before_is_forgotten_first(world: World) -> None:
    exists = Error("org.freedesktop.systemd1.UnitExists", f"Unit {UNIT} already exists.")
    world.errors["StartTransientUnit"] = [exists]
    with systemd.Manager() as manager:
        manager.start_scope(UNIT, PROPERTIES)
    assert world.bus.methods()[1:] == ["StartTransientUnit", "ResetFailedUnit", "Subscribe", "StartTransientUnit"]
    # One that is really there stays.
    world.errors["StartTransientUnit"] = [exists, exists]
    with systemd.Manager() as manager, pytest.raises(HostError, match="systemd refuses: Unit .* already exists"):
        manager.start_scope(UNIT, PROPERTIES)


def test_a_job_that_fails_is_said(world: World) -> None:
    world.result = "failed"
    with systemd.Manager() as manager, pytest.raises(HostError, match=f"{UNIT}: systemd could not do it"):
        manager.start_scope(UNIT, PROPERTIES)


def test_what_is_refused_is_said_in_one_line(world: World) -> None:
    world.errors["SetUnitProperties"] = [Error("org.freedesktop.DBus.Error.InvalidArgs", "No such\nproperty")]
    with systemd.Manager() as manager, pytest.raises(HostError) as caught:
        manager.set_properties(UNIT, PROPERTIES)
    assert str(caught.value) == f"{UNIT}: systemd refuses: No such"
    assert world.bus.calls[-1][1] == (UNIT, True, PROPERTIES)


def test_a_machine_is_registered_with_its_leader(world: World) -> None:
    identity = bytes(range(16))
    with systemd.Machines() as machines:
        machines.create("appc-one", identity, 42, [("TimeoutStopUSec", ("t", 30_000_000))])
        machines.register("appc-two", identity, 43)
    assert world.bus.calls == [
        (
            "CreateMachine",
            ("appc-one", identity, "appc", "container", 42, "", [("TimeoutStopUSec", ("t", 30_000_000))]),
        ),
        ("RegisterMachine", ("appc-two", identity, "appc", "container", 43, "")),
    ]
    world.errors["RegisterMachine"] = [Error("org.freedesktop.machine1.MachineExists", "Machine 'appc-two' exists")]
    with systemd.Machines() as machines, pytest.raises(HostError, match="appc-two: systemd refuses: Machine"):
        machines.register("appc-two", identity, 43)


def test_what_is_gone_has_been_stopped(world: World) -> None:
    with systemd.Manager() as manager:
        manager.stop(UNIT)
    assert world.bus.methods() == ["Subscribe", "StopUnit", "ResetFailedUnit"]
    gone = Error("org.freedesktop.systemd1.NoSuchUnit", "Unit not loaded.")
    world.errors = {"StopUnit": [gone], "ResetFailedUnit": [gone]}
    with systemd.Manager() as manager:
        manager.stop(UNIT)
    world.errors = {"StopUnit": [Error("org.freedesktop.DBus.Error.AccessDenied", "Permission denied")]}
    with systemd.Manager() as manager, pytest.raises(HostError, match="Permission denied"):
        manager.stop(UNIT)


def test_without_systemd_or_a_bus_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: False)
    with pytest.raises(HostError, match="was not booted with systemd"):
        systemd.Manager()
    monkeypatch.setattr(systemd, "booted", lambda: True)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(HostError, match="D-Bus cannot be reached: No such file or directory"):
        systemd.Manager()
