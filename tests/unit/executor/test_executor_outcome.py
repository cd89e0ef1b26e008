"""What became of isolators: the converter's account and the kernel's, put together."""

from __future__ import annotations

import pytest

from appc.executor.outcome import Row, combine


def test_what_the_kernel_did_not_take_worsens_the_isolator_behind_it() -> None:
    rows = [
        Row("web", "resource/memory", "enforced", ""),
        Row("web", "resource/cpu", "modified", "rounded"),
        Row("db", "resource/memory", "enforced", ""),
        Row("", "resource/memory", "enforced", ""),
    ]
    fields = [
        ("web", "memory.limit", "ignored", "no controller"),
        ("web", "cpu.quota", "enforced", ""),
        ("", "memory.limit", "modified", "whole pages"),
    ]
    found = {(row.scope, row.name): (row.state, row.reason) for row in combine(rows, fields)}
    assert found == {
        ("web", "resource/memory"): ("ignored", "no controller"),
        ("web", "resource/cpu"): ("modified", "rounded"),
        ("db", "resource/memory"): ("enforced", ""),
        ("", "resource/memory"): ("modified", "whole pages"),
    }
    # The account that was given is not changed.
    assert rows[0].state == "enforced"


@pytest.mark.parametrize("state", ["ignored", "modified"])
def test_devices_come_from_no_isolator(state: str) -> None:
    assert combine([], [("web", "devices", "enforced", "")]) == []
    (row,) = combine([], [("web", "devices", state, "no controller")])
    assert row.to_dict() == {"scope": "web", "name": "appc/devices", "outcome": state, "reason": "no controller"}


def test_words() -> None:
    assert Row("", "x", "enforced", "").where == "pod"
    assert Row("web", "x", "enforced", "").where == "app web"
    assert Row("", "x", "enforced", "").to_dict()["scope"] == "pod"


def test_fields_nobody_asked_for() -> None:
    assert combine([Row("web", "resource/memory", "enforced", "")], [("web", "pids.limit", "ignored", "x")])[
        0
    ].state == ("enforced")
