"""Which groups a pod gets on hosts of every kind, before anything is made."""

from __future__ import annotations

from typing import Any

from appc.host.cgroups import PodLayout, predict
from appc.host.probe import HostFacts

UUID = "0f5c9b1e-1111-4111-8111-111111111111"
V2 = HostFacts(
    cgroup="v2",
    unified="/cg",
    controllers=dict.fromkeys(("cpu", "memory", "pids"), "/cg"),
    bases={"/cg": "/cg"},
)
V1_PLACES = {name: f"/cg/{name}" for name in ("cpu", "memory", "pids", "devices", "cpuset")}
V1 = HostFacts(cgroup="v1", controllers=V1_PLACES, bases={place: place for place in V1_PLACES.values()})
HYBRID = HostFacts(
    cgroup="hybrid",
    unified="/cg/unified",
    controllers={**V1_PLACES, "hugetlb": "/cg/unified"},
    bases={**V1.bases, "/cg/unified": "/cg/unified"},
)
RULES = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3}]


def paths(resources: dict[str, Any], facts: HostFacts, apps: tuple[str, ...] = ("a", "b")) -> list[str]:
    return [group.path.replace(UUID, "UUID") for group in PodLayout(UUID, apps, resources, facts).groups]


def test_v2_has_one_group_for_each_scope_and_one_for_pid_1() -> None:
    expected = [f"/cg/appc/UUID{below}" for below in ("", "/_init", "/a", "/b")]
    assert paths({}, V2) == expected
    found = predict(UUID, ("a", "b"), {}, V2)
    assert found.init_paths == [f"/cg/appc/{UUID}/_init"]
    assert found.app_paths == {"a": [f"/cg/appc/{UUID}/a"], "b": [f"/cg/appc/{UUID}/b"]}
    assert found.teardown == [path.replace("UUID", UUID) for path in reversed(expected)]


def test_v2_enables_for_apps_only_what_they_ask_for() -> None:
    layout = PodLayout(UUID, ("a", "b"), {"": {"memory": {"limit": 1 << 30}}, "a": {"pids": {"limit": 3}}}, V2)
    assert layout.groups[0].enable == ["pids"]
    assert [setting.field for setting in layout.groups[0].settings] == ["memory.limit"]


def test_v1_has_groups_only_where_something_is_limited() -> None:
    """An app without a limit of its own in a hierarchy runs in its pod's group there."""
    resources = {"": {"memory": {"limit": 1 << 30}}, "a": {"pids": {"limit": 3}}}
    assert paths(resources, V1) == [
        "/cg/devices/appc/UUID",
        "/cg/memory/appc/UUID",
        "/cg/pids/appc/UUID",
        "/cg/pids/appc/UUID/a",
    ]
    found = predict(UUID, ("a", "b"), resources, V1)
    assert found.app_paths["a"][1:] == [f"/cg/memory/appc/{UUID}", f"/cg/pids/appc/{UUID}/a"]
    assert found.app_paths["b"][1:] == [f"/cg/memory/appc/{UUID}", f"/cg/pids/appc/{UUID}"]


def test_hybrid_adds_the_unified_hierarchy_which_says_who_belongs_together() -> None:
    assert paths({}, HYBRID) == [
        "/cg/unified/appc/UUID",
        "/cg/unified/appc/UUID/a",
        "/cg/unified/appc/UUID/b",
        "/cg/devices/appc/UUID",
    ]
    limited = {"a": {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}}
    assert paths(limited, HYBRID)[1] == "/cg/unified/appc/UUID/_init"


def test_device_rules_shared_by_all_apps_are_the_pods() -> None:
    """One list in one group; different lists, or one of the pod's own, stay where they were asked for."""
    for facts in (V1, V2, HYBRID):
        guarded = [group.scope for group in PodLayout(UUID, ("a", "b"), _rules("a", "b"), facts).groups if group.rules]
        assert guarded == [""]
        guarded = [group.scope for group in PodLayout(UUID, ("a", "b"), _rules("b"), facts).groups if group.rules]
        assert guarded == ["b"]
        guarded = [group.scope for group in PodLayout(UUID, ("a",), _rules("", "a"), facts).groups if group.rules]
        assert guarded == ["", "a"]


def test_devices_are_guarded_by_v1_where_it_can_and_by_programs_else() -> None:
    assert not PodLayout(UUID, ("a",), _rules("a"), HYBRID).device_programs
    assert PodLayout(UUID, ("a",), _rules("a"), V2).device_programs
    places = {"pids": "/cg/pids"}
    without = HostFacts(
        cgroup="hybrid", unified="/cg/u", controllers=places, bases={"/cg/pids": "/cg/pids", "/cg/u": "/cg/u"}
    )
    assert PodLayout(UUID, ("a",), _rules("a"), without).device_programs
    neither = HostFacts(cgroup="v1", controllers=places, bases={"/cg/pids": "/cg/pids"})
    assert "neither" in PodLayout(UUID, ("a",), _rules("a"), neither).device_obstacle


def test_a_pod_always_has_a_group_when_there_is_any_hierarchy() -> None:
    """Its processes can be found and killed by it."""
    assert paths({}, V1) == ["/cg/devices/appc/UUID"]
    one = HostFacts(cgroup="v1", controllers={"freezer": "/cg/freezer"}, bases={"/cg/freezer": "/cg/freezer"})
    assert paths({}, one) == ["/cg/freezer/appc/UUID"]
    assert paths({}, HostFacts(cgroup="none")) == []


def test_a_delegated_base_is_respected() -> None:
    own = HostFacts(cgroup="v2", unified="/cg", bases={"/cg": "/cg/user.slice/me"})
    assert paths({}, own, ())[0] == "/cg/user.slice/me/appc/UUID"


def _rules(*scopes: str) -> dict[str, Any]:
    return {scope: {"devices": RULES} for scope in scopes}
