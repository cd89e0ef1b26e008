"""Compiling small configurations in tests."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from appc.errors import AppcError
from appc.plan.check import check
from appc.plan.compile import compile_app, compile_init
from appc.plan.compile_root import RootFS
from appc.plan.ops import Op, Plan, Track
from golden.examples import facts

MINIMAL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "process": {"cwd": "/", "args": ["/bin/true"], "env": [], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "mount"}]},
}


def config(**changes: Any) -> dict[str, Any]:
    """The smallest configuration, with `changes` merged into its objects one level deep."""
    merged = copy.deepcopy(MINIMAL)
    for key, value in changes.items():
        merged[key] = {**merged[key], **value} if isinstance(merged.get(key), dict) else value
    return merged


def ops(given: dict[str, Any], **options: Any) -> list[Op]:
    """The ops of the app, with what is put in by the test taken for granted."""
    host = options.pop("facts", facts())
    track = compile_app(given, name="app a", root=RootFS("/bundle/rootfs"), facts=host, shared=(), **options)
    check(around(track))
    return track.ops


def around(track: Track) -> Plan:
    """A plan that performs the track, since the law is about whole plans."""
    init = compile_init({"linux": {"namespaces": [{"type": "pid"}]}}, name="init", target="/pod", facts=facts())
    start = [Op("init", 0, "init", ""), Op("app", "a", track.name, "null", "null", "null", "", ""), Op("start", "a")]
    return Plan([Track("keeper", [Op("mount-namespace"), *start, Op("ready"), Op("supervise", 0, 0, 0)]), init, track])


def named(found: list[Op], name: str) -> list[tuple[Any, ...]]:
    return [op.args for op in found if op.name == name]


def mounted(mount: dict[str, Any], **options: Any) -> list[Op]:
    """The ops that one mount becomes."""
    before, after = ops(config(), **options), ops(config(mounts=[mount]), **options)
    return [op for op in after if op not in before]


def refused(given: dict[str, Any], **options: Any) -> AppcError:
    with pytest.raises(AppcError) as caught:
        ops(given, **options)
    return caught.value
