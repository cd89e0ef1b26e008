"""`appc top`: what running apps use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pod_kit import PROBE, Appc, wait_for

pytestmark = pytest.mark.root


def top(appc: Appc, *words: str) -> list[dict[str, Any]]:
    done = appc("top", "--interval", "0.2s", "--format", "json", *words)
    assert done.status == 0, done
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def test_a_busy_app_and_a_large_one_are_told_apart(appc: Appc) -> None:
    words = (PROBE, "--name", "busy", "--", "spin", "60", "---", PROBE, "--name", "large", "--", "memory", "48", "wait")
    uuid = appc.detached(*words)
    wait_for(lambda: "memory 48" in appc("logs", uuid, "--app", "large").out)
    busy, large = top(appc, uuid)
    assert (busy["app"], large["app"]) == ("busy", "large")
    assert busy["cpu"] > large["cpu"]
    assert large["memory"] > 48 << 20 > busy["memory"]
    assert (busy["processes"], large["processes"]) == (1, 1)


def test_a_limit_and_what_counts_against_it(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--name", "web", "--memory", "64Mi", "--", "memory", "16", "wait")
    wait_for(lambda: "memory 16" in appc("logs", uuid).out)
    (web,) = top(appc, uuid)
    assert web["limit"] == 64 << 20
    assert 16 << 20 <= web["memory"] <= 64 << 20


def test_what_has_ended_is_not_shown(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "exit", "0")
    wait_for(lambda: appc.status(uuid)["state"] == "exited")
    assert top(appc) == []
    assert "no pod" in appc("top", "ffffffff-0000").err
