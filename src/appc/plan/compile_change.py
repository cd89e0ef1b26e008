"""The plans that change a pod that runs: apps that come, start again, stop and go (see native/keep_change.c)."""

from __future__ import annotations

from appc.plan.check import CHANGE, TEARDOWN, check
from appc.plan.compile import compile_handler
from appc.plan.compile_pod import AGAIN, AppParts, app_ops, keyring_of, restart_op
from appc.plan.ops import Op, Plan, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.compile_pod import PodApp
    from appc.plan.compile_runtime import Runtime
    from appc.plan.facts import Facts


def compile_addition(
    apps: Sequence[PodApp],
    *,
    sandbox: Mapping[str, Any],
    facts: Facts,
    pod_dir: str,
    teardown: Sequence[str] = (),
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that brings `apps` into the pod at `pod_dir`; arguments are `compile_pod`'s.

    The groups `teardown` are removed at the pod's end, before its own.

    Raises AppcError, with the field's path, for what cannot be honoured.
    """
    parts = [AppParts(index, app, sandbox, pod_dir, facts, warnings) for index, app in enumerate(apps)]
    tracks = [track for part in parts for track in part.tracks]
    if teardown:
        tracks.append(Track(TEARDOWN, _removals(teardown)))
    return _plan(app_ops(parts), tracks, facts)


def compile_start(
    config: Mapping[str, Any],
    *,
    name: str,
    facts: Facts,
    pod_dir: str,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    sockets: int = 0,
    runtime: Runtime | None = None,
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that runs the app `name`, which has ended, again in the root it has."""
    track = (
        runtime.track_beside(f"{AGAIN} {name}", name)
        if runtime
        else _again(config, name, facts, pod_dir, cgroups, seccomp, sockets, warnings)
    )
    return _plan([Op("run-again", name, track.name, source="appc")], [track], facts)


def compile_restart(
    config: Mapping[str, Any],
    *,
    name: str,
    policy: tuple[int, int],
    facts: Facts,
    pod_dir: str,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    sockets: int = 0,
) -> Plan:
    """Return the plan, checked, by which the app `name`, which runs, is as `config` and `cgroups` have it when it runs
    again by itself; `policy` is its (when, most)."""
    track = _again(config, name, facts, pod_dir, cgroups, seccomp, sockets, None)
    return _plan([restart_op(name, track.name, policy, "appc")], [track], facts)


def compile_stop(name: str, *, grace: int, facts: Facts) -> Plan:
    """Return the plan, checked, that ends the app `name`: SIGTERM, and SIGKILL after `grace` milliseconds."""
    return _plan([Op("stop-app", name, grace, source="appc")], [], facts)


def compile_removal(name: str, *, cgroups: Sequence[str], facts: Facts) -> Plan:
    """Return the plan, checked, that makes the pod forget the app `name`, which has ended, and its `cgroups`."""
    return _plan([Op("drop-app", name, source="appc"), *_removals(cgroups)], [], facts)


def _again(
    config: Mapping[str, Any],
    name: str,
    facts: Facts,
    pod_dir: str,
    cgroups: Sequence[str],
    seccomp: bytes | None,
    sockets: int,
    warnings: list[str] | None,
) -> Track:
    return compile_handler(
        config,
        name=f"{AGAIN} {name}",
        facts=facts,
        cgroups=cgroups,
        seccomp=seccomp,
        keyring=keyring_of(pod_dir),
        warnings=warnings,
        sockets=sockets,
    )


def _removals(cgroups: Sequence[str]) -> list[Op]:
    return [Op("rmdir-cgroup", directory, "cgroup.procs", source="linux.cgroupsPath") for directory in cgroups]


def _plan(ops: list[Op], tracks: list[Track], facts: Facts) -> Plan:
    plan = Plan([Track(CHANGE, [*ops, Op("ready", source="appc")]), *tracks], facts.as_text())
    check(plan)
    return plan
