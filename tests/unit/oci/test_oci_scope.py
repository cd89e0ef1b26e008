"""What systemd is told of a container: names, limits as properties, and what annotations add."""

from __future__ import annotations

from typing import Any

import pytest

from appc.errors import AppcError
from appc.host import systemd
from appc.host.probe import HostFacts
from appc.oci import gvariant, scope
from appc.oci.main import main

INFINITY = (1 << 64) - 1
MIB = 1 << 20
V2 = HostFacts(cgroup="v2", unified="/g", bases={"/g": "/g"}, initial_userns=True)


def of(**resources: Any) -> dict[str, tuple[str, Any]]:
    return dict(scope.properties_of(resources))


@pytest.mark.parametrize(
    ("path", "slice_name", "group"),
    [
        ("machine.slice:libpod:abc", "machine.slice", "/machine.slice/libpod-abc.scope"),
        ("a-b-c.slice:cri-containerd:x", "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/cri-containerd-x.scope"),
        ("-.slice:p:x", "-.slice", "/p-x.scope"),
        (":p:x", "system.slice", "/system.slice/p-x.scope"),
        ("user.slice::x", "user.slice", "/user.slice/x.scope"),
        ("", "system.slice", "/system.slice/appc-oci-one.scope"),
    ],
)
def test_names(path: str, slice_name: str, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: True)
    made = scope.Scope(path, "one", V2)
    assert (made.slice, made.path) == (slice_name, group)
    assert made.path.endswith(f"/{made.unit}")


@pytest.mark.parametrize(
    "path",
    ["/a", "a.slice:b", "a.slice:b:c:d", "a.slice:b:", "a.slice:b:c/d", "a:b:c", "../x.slice:b:c", "a-.slice:b:c"],
)
def test_names_that_are_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: True)
    with pytest.raises(AppcError, match=r"linux\.cgroupsPath"):
        scope.Scope(path, "one", V2)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (HostFacts(cgroup="hybrid", unified="/g", bases={"/g": "/g"}, initial_userns=True), "version 2 alone"),
        (HostFacts(cgroup="v2", unified="/g", bases={"/g": "/g/user"}, initial_userns=True), "version 2 alone"),
        (HostFacts(cgroup="v2", unified="/g", bases={"/g": "/g"}, initial_userns=False), "only the host's root"),
    ],
)
def test_hosts_on_which_it_cannot_be_had(facts: HostFacts, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: False)
    with pytest.raises(AppcError, match="--systemd-cgroup: this host was not booted with systemd"):
        scope.Scope("", "one", V2)
    monkeypatch.setattr(systemd, "booted", lambda: True)
    with pytest.raises(AppcError, match=f"--systemd-cgroup: .*{reason}"):
        scope.Scope("", "one", facts)


def test_limits_are_properties() -> None:
    memory = {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB}
    assert of(memory=memory, pids={"limit": 20}, blockIO={"weight": 1000}) == {
        "MemoryMax": ("t", 64 * MIB),
        "MemorySwapMax": ("t", 32 * MIB),
        "MemoryLow": ("t", 32 * MIB),
        "TasksMax": ("t", 20),
        "IOWeight": ("t", 10000),
    }
    assert of(memory={"limit": -1}, pids={"limit": -1}) == {
        "MemoryMax": ("t", INFINITY),
        "MemorySwapMax": ("t", INFINITY),
        "TasksMax": ("t", INFINITY),
    }
    assert of(pids={"limit": 0}) == {"TasksMax": ("t", 1)}
    assert of(
        unified={"memory.high": "max", "memory.min": "4096", "io.weight": "default 200", "memory.oom.group": "1"}
    ) == {
        "MemoryHigh": ("t", INFINITY),
        "MemoryMin": ("t", 4096),
        "IOWeight": ("t", 200),
    }


def test_processor_time_is_properties() -> None:
    assert of(cpu={"shares": 1024}) == {"CPUWeight": ("t", 100)}
    assert of(cpu={"idle": 1}) == {"CPUWeight": ("t", 0)}
    assert of(cpu={"quota": -1}) == {"CPUQuotaPerSecUSec": ("t", INFINITY)}
    quota = {"CPUQuotaPerSecUSec": ("t", 150_000), "CPUQuotaPeriodUSec": ("t", 100_000)}
    assert of(cpu={"quota": 15_000}) == quota
    # systemd has whole hundredths of a processor, and is not to hold below what was asked for.
    assert of(cpu={"quota": 14_100}) == quota
    assert of(cpu={"quota": 20_000, "period": 10_000})["CPUQuotaPerSecUSec"] == ("t", 2_000_000)
    assert of(cpu={"cpus": "0-2,9", "mems": "1"}) == {
        "AllowedCPUs": ("ay", b"\x07\x02"),
        "AllowedMemoryNodes": ("ay", b"\x02"),
    }
    for cpus in ("x", "3-1", "0-99999", "0,,1"):
        with pytest.raises(AppcError, match=r"linux\.resources\.cpu\.cpus"):
            of(cpu={"cpus": cpus})
    with pytest.raises(AppcError, match=r"linux\.resources\.unified\.memory\.max"):
        of(unified={"memory.max": "1G"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        ("false", ("b", False)),
        ("5", ("i", 5)),
        ("-5", ("i", -5)),
        ("uint64 5000000000", ("t", 5_000_000_000)),
        ("byte 255", ("y", 255)),
        ("'it'", ("s", "it")),
        (r'"a \"b\""', ("s", 'a "b"')),
        ("['a.service', \"b.service\"]", ("as", ["a.service", "b.service"])),
        ("[]", ("as", [])),
    ],
)
def test_values_of_annotations(text: str, value: tuple[str, Any]) -> None:
    assert gvariant.parse(text, "x") == value


@pytest.mark.parametrize(
    "text",
    ["", "word", "'open", "'a' 'b'", "['a' 'b']", "[1]", "uint64 -1", "byte 256", "int9 1", "5000000000", "--5", "<1>"],
)
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(AppcError, match="annotations"):
        gvariant.parse(text, "annotations.x")


def test_annotations_are_properties() -> None:
    annotations = {
        "org.systemd.property.TimeoutStopSec": "uint64 9",
        "org.systemd.property.TimeoutStartUSec": "uint64 1000",
        "org.systemd.property.CollectMode": "'inactive'",
        "other": "x",
    }
    assert scope.annotated(annotations) == [
        ("TimeoutStopUSec", ("t", 9_000_000)),
        ("TimeoutStartUSec", ("t", 1000)),
        ("CollectMode", ("s", "inactive")),
    ]
    for name in ("", "9x", "a b", "Übel"):
        with pytest.raises(AppcError, match="is not the name of a property"):
            scope.annotated({f"org.systemd.property.{name}": "true"})


def test_there_is_room_for_the_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: True)
    made = scope.Scope("", "one", V2)
    assert made.with_room({"pids": {"limit": 1}, "memory": {"limit": 1}}) == {
        "pids": {"limit": 2},
        "memory": {"limit": 1},
    }
    for resources in ({}, {"pids": {"limit": -1}}, {"pids": {"limit": 0}}, {"pids": None}):
        assert made.with_room(resources) == resources


def test_verbs_that_make_nothing_take_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--systemd-cgroup", "state", "no-such-container"]) == 1
    assert "does not exist" in capsys.readouterr().err
