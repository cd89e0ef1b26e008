"""Apps of a pod that runs: each can be stopped, started again, removed, and others can come.

The keeper is told by a plan of its own for each change (launch/change.py). One change at a time is made to a pod, and
its files (manifest, configurations, plan) say what is so once the change was made.
"""

from __future__ import annotations

import os

from appc.errors import PodStateError, UsageError
from appc.executor import control, runtime
from appc.executor.failure import Failure, explain_failure
from appc.host import cgroupfs, probe
from appc.launch.change import send
from appc.plan import wire, wire_read
from appc.plan.compile_change import compile_removal, compile_start, compile_stop
from appc.plan.explain import explain
from appc.plan.ops import Plan
from appc.pods import records
from appc.pods.changes import Changing
from appc.pods.layout import RUNTIME
from appc.schema.pod import PodManifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.layout import Pod


def stop(pod: Pod, app: str, *, grace: float) -> None:
    """End an app: SIGTERM, SIGKILL after `grace` seconds, its post-stop handlers; it does not run again by itself.

    The pod goes on, also without any other app. Raises PodStateError for a pod that does not run, AppcError.
    """
    with Changing(pod):
        control.chosen_apps(pod, (app,))
        perform(pod, compile_stop(app, grace=round(grace * 1000), facts=probe.facts()))


def start(pod: Pod, app: str, warnings: list[str]) -> None:
    """Start an app that has ended again, in the root it left, its pre-start handlers first.

    Raises PodStateError when it runs, AppcError when it cannot be started.
    """
    with Changing(pod):
        _check_ended(pod, app)
        config = pod.read_json(f"config/{app}")
        if config["process"].get("terminal"):
            raise UsageError("cannot run again: its terminal ended with it", f"app {app}")
        facts = probe.facts()
        plan = compile_start(
            config,
            name=app,
            facts=facts,
            pod_dir=pod.path,
            cgroups=control.app_groups(pod, app, facts),
            seccomp=control.app_filter(pod, app),
            sockets=control.app_sockets(pod, app),
            runtime=runtime.of(pod),
            warnings=warnings,
        )
        warnings += perform(pod, plan)


def remove(pod: Pod, app: str, *, force: bool = False) -> None:
    """Remove an app that has ended from the pod, with all it wrote; `force` kills it first.

    Raises PodStateError when it runs, or is the pod's last.
    """
    from appc.executor.links import limit_again
    from appc.network.later import close_later

    with Changing(pod):
        control.chosen_apps(pod, (app,))
        manifest = PodManifest.parse(pod.read("pod"))
        if len(manifest.apps) == 1:
            raise PodStateError("is the pod's last app", f"app {app}", f"`appc stop {pod.uuid[:8]}` ends the pod")
        facts = probe.facts()
        if force:
            perform(pod, compile_stop(app, grace=0, facts=facts))
        _check_ended(pod, app)
        groups = [f"{path}/{app}" for path in cgroupfs.pod_directories(pod.cgroup, facts, alone=True)]
        groups = [path for path in groups if os.path.isdir(path)]
        perform(pod, compile_removal(app, cgroups=groups, facts=facts))
        rest = [index for index, entry in enumerate(manifest.apps) if entry.name != app]
        others = manifest.replace(apps=tuple(manifest.apps[index] for index in rest))
        limit_again(pod, manifest, others, facts)
        others = close_later(pod.path, pod.uuid, others, app)
        pod.write("pod", others.to_json())
        request = pod.read_json("request")
        request["streams"] = [request["streams"][index] for index in rest if index < len(request["streams"])]
        pod.write_json("request", request)
        pod.write_json("isolators", [row for row in pod.read_json("isolators") if row["scope"] != app])
        launched = wire_read.decode(pod.read("plan"))
        launched.tracks = [track for track in launched.tracks if track.name.partition(" ")[2] != app]
        pod.write("plan", wire.encode(launched))
        clear(pod, app)


def perform(pod: Pod, change: Plan, launched: Plan | None = None) -> list[str]:
    """Have the keeper perform a change and return what was noteworthy; AppcError says what failed and why.

    `launched` is the plan in which the tracks of the pod's apps are found, the pod's own where it is not given.
    """
    report = send(pod, wire.encode(change))
    noted = [explain(change, *warning) for warning in report.warnings]
    if report.ready:
        return noted
    if report.failure is None:
        raise PodStateError("was stopped before the change was made", f"pod {pod.uuid}")
    known = launched or wire_read.decode(pod.read("plan"))
    names = {track.name for track in change.tracks}
    both = Plan([*change.tracks, *(track for track in known.tracks if track.name not in names)], change.facts)
    status = report.handlers[-1][1] if report.handlers else 0
    raise explain_failure(pod, both, Failure(*report.failure, status))


def clear(pod: Pod, app: str) -> None:
    """Delete what the pod's directory holds of an app that is gone."""
    from appc.store.deletion import delete_tree

    delete_tree(pod.file(f"apps/{app}"))
    for container in runtime.containers(app):
        delete_tree(pod.file(f"{RUNTIME}/{container}"))
    # An app of the same name that comes later has logs of its own; the older parts of a log are APP.log.N.
    logs = [f"logs/{name}" for name in os.listdir(pod.file("logs")) if f"{name}.".startswith(f"{app}.log.")]
    for name in (f"config/{app}", f"images/{app}", *logs):
        try:
            os.unlink(pod.file(name))
        except FileNotFoundError:
            continue


def _check_ended(pod: Pod, app: str) -> None:
    control.chosen_apps(pod, (app,))
    record = records.app_record(pod, app)
    if record.restarting or record.exited is None:
        what = "waits to run again" if record.restarting else "runs"
        raise PodStateError(what, f"app {app} of pod {pod.uuid[:8]}", f"`appc app stop {pod.uuid[:8]} {app}` ends it")
