"""What became of isolators: the converter's account and the kernel's, put together."""

from __future__ import annotations

import pytest

from appc.executor.outcome import ANNOTATION, Row, annotated, combine
from appc.schema.pod import PodManifest


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


def test_memory_is_limited_even_where_swap_is_not() -> None:
    (row,) = combine([Row("", "resource/memory", "enforced", "")], [("", "memory.swap", "ignored", "no such file")])
    assert (row.state, row.reason) == ("modified", "what is swapped out is not limited: no such file")


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


def test_a_row_in_one_line_and_back() -> None:
    assert str(Row("", "x", "enforced", "")) == "x=enforced"
    assert str(Row("web", "x", "ignored", "why")) == "x=ignored (why)"
    for row in (Row("", "x", "enforced", ""), Row("web", "y", "ignored", "why")):
        assert Row.from_dict(row.to_dict()).to_dict() == row.to_dict()


def test_annotations_replace_those_that_were_there() -> None:
    image = {"id": "sha512-" + "0" * 128}
    stale = [{"name": ANNOTATION, "value": "old"}, {"name": "own", "value": "kept"}]
    manifest = PodManifest.parse(
        {
            "acKind": "PodManifest",
            "acVersion": "0.8.11",
            "apps": [{"name": name, "image": image, "annotations": stale} for name in ("web", "db")],
        }
    )
    rows = [Row("", "a", "enforced", ""), Row("web", "b", "ignored", "why"), Row("web", "c", "enforced", "")]
    found = annotated(manifest, rows)
    web, db = ({str(one.name): one.value for one in app.annotations} for app in found.apps)
    assert [(str(one.name), one.value) for one in found.annotations] == [(ANNOTATION, "a=enforced")]
    assert web == {"own": "kept", ANNOTATION: "b=ignored (why)\nc=enforced"}
    assert db == {"own": "kept"}
