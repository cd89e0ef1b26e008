"""Events: what must have happened between two looks at a pod."""

from __future__ import annotations

from typing import Any

from appc.executor.events import Event, differences

NOW = 10_000
UUID = "01234567-89ab-4cde-8f01-23456789abcd"


def app(name: str = "web", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "pid": 7,
        "started": None,
        "exited": None,
        "exit-status": None,
        "signal": None,
        "out-of-memory": False,
        "memory-limit": None,
        "death": None,
        "ready": False,
        **fields,
    }


def pod(state: str, *apps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "uuid": UUID,
        "state": state,
        "apps": list(apps),
        "ready": False,
        "exit-status": None,
        "failure": None,
    } | fields


def told(before: dict[str, Any] | None, after: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(event.time_ns, event.kind, event.app) for event in differences(before, after, NOW)]


def test_a_life_seen_step_by_step() -> None:
    seen = [
        pod("preparing"),
        pod("prepared", app()),
        pod("running", app()),
        pod("running", app(started=5, ready=True), ready=True),
        pod("running", app(started=5, exited=6, **{"exit-status": 3})),
        pod("exited", app(started=5, exited=6, **{"exit-status": 3}), **{"exit-status": 3}),
    ]
    found: list[Event] = []
    for before, after in zip([None, *seen], seen, strict=False):
        found += differences(before, after, NOW)
    kinds = ["prepared", "started", "app-started", "app-ready", "ready", "app-exited", "exited"]
    assert [event.kind for event in found] == kinds
    assert found[2].details == {"pid": 7}
    assert found[5].details == {"status": 3, "signal": None, "death": None}
    assert found[6].details == {"status": 3}


def test_a_life_seen_only_at_its_end() -> None:
    dead = {"exit-status": 137, "signal": 9, "out-of-memory": True, "memory-limit": "8Mi"}
    after = pod("exited", app("web", started=5, exited=9, **dead), app("db", started=6, exited=8))
    assert told(None, after) == [
        (5, "started", ""),
        (5, "app-started", "web"),
        (6, "app-started", "db"),
        (8, "app-exited", "db"),
        (9, "out-of-memory", "web"),
        (9, "app-exited", "web"),
        (NOW, "exited", ""),
    ]


def test_an_app_that_runs_again_starts_again() -> None:
    before = pod("running", app(started=5, ready=True), ready=True)
    after = pod("running", app(started=8, ready=True), ready=True)
    assert told(before, after) == [(8, "app-started", "web"), (NOW, "app-ready", "web")]


def test_nothing_is_told_twice() -> None:
    for state in ("preparing", "prepared", "running", "exited"):
        document = pod(state, app(started=5, exited=6), ready=True)
        assert told(document, document) == []
    assert told(pod("exited", app(started=5, exited=6)), pod("garbage", app(started=5, exited=6))) == []


def test_a_start_that_failed_says_why() -> None:
    (event,) = differences(pod("prepared"), pod("exited", failure="no such file"), NOW)
    assert (event.kind, event.details) == ("exited", {"status": None, "failure": "no such file"})
