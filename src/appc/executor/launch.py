"""From a prepared pod to a running one: control groups made, plan compiled, keeper started.

Everything that can be refused is refused before the pod enters phase `run`; from then on the plan
alone decides, and the keeper tears down whatever it set up.
"""

from __future__ import annotations

import os

from appc.abi import CAPABILITY_BITS
from appc.errors import HostError, LaunchError, PodNotFound
from appc.executor.compilation import Compilation
from appc.executor.prepare import DETACHED, FOREGROUND, Prepared, discard
from appc.host import cgroups
from appc.launch import spawn
from appc.plan import wire
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from appc.config import Directories
    from appc.executor.outcome import Row
    from appc.executor.sockets import PodSocket
    from appc.host.cgroups import Cgroups
    from appc.plan.ops import Plan

SIGTERM = 15


class Entered:
    """A pod in phase `run`: its plan, also as `data`, its control groups, and how it came to them."""

    __slots__ = ("compilation", "data", "groups", "plan")

    def __init__(self, compilation: Compilation, plan: Plan, data: bytes, groups: Cgroups) -> None:
        self.compilation = compilation
        self.plan = plan
        self.data = data
        self.groups = groups


def launch(prepared: Prepared, where: Directories) -> int:
    """Run a prepared pod detached; return the keeper's pid when all its apps run.

    Raises AppcError for a start that failed; the pod is then in phase `exited` (or gone, with --rm).
    """
    pod = prepared.pod
    entered = _enter_run(prepared, where, DETACHED)
    plan = entered.plan
    try:
        sockets = [one.fd for one in prepared.given]
        keeper, reader = spawn.spawn(entered.data, pod, spawn.plain_environment(), sockets)
    except BaseException:
        _undo(prepared, entered.groups)
        raise
    pod.release()
    try:
        report = spawn.read_report(reader)
    except BaseException:
        # Interrupted: what was begun ends in good order.
        _end(keeper, SIGTERM)
        raise
    if report.warnings:
        from appc.plan.explain import explain

        prepared.warnings.extend(explain(plan, *warning) for warning in report.warnings)
    if report.failure is None and report.ready:
        return keeper
    _end(keeper)
    if report.failure is None:
        raise LaunchError("was stopped before all its apps ran", f"pod {pod.uuid}")
    from appc.executor.failure import Failure, explain_failure

    status = report.handlers[-1][1] if report.handlers else 0
    raise explain_failure(_moved(pod), plan, Failure(*report.failure, status))


def replace_process(
    prepared: Prepared, where: Directories, before: Callable[[Entered], None], *, service: bool = False
) -> NoReturn:
    """Run a prepared pod in the foreground: this process becomes its keeper, whose status is the pod's.

    `before` is called when nothing can be refused any more. As a `service` of a service manager the keeper tells that
    one when the pod is ready (sd_notify).
    """
    entered = _enter_run(prepared, where, FOREGROUND)
    try:
        before(entered)
        variables = spawn.plain_environment(*((spawn.SERVICE_SOCKET,) if service else ()))
        spawn.replace_process(entered.data, prepared.pod, variables, [one.fd for one in prepared.given])
    except BaseException:
        _undo(prepared, entered.groups)
        raise


def compile_only(prepared: Prepared, where: Directories) -> tuple[Plan, list[Row]]:
    """Return the plan that running `prepared` would perform, as if it were in phase `run`, and what would become of
    its isolators; nothing is made."""
    facts = prepared.facts
    pod = Pod(prepared.pod.root, "run", prepared.pod.uuid)
    networked = None
    if prepared.request.networked:
        from appc.network.setup import bandwidth, expected

        networked = expected(pod.uuid, where)
        if prepared.request.runtime and bandwidth(prepared.manifest):
            from appc.executor.links import foreseen

            networked.unlimited = foreseen(prepared.manifest)
    elif prepared.request.joined:
        from appc.executor import joining

        networked = joining.network(pod.root, prepared.request, prepared.manifest)
    compilation = Compilation(prepared, pod, where, FOREGROUND, facts, networked, _sockets(prepared))
    groups = cgroups.predict(
        _cgroup(prepared), _names(prepared), compilation.resources(), facts, everywhere=bool(prepared.request.runtime)
    )
    compilation.judge(groups)
    return compilation.plan(groups), compilation.isolators


def _enter_run(prepared: Prepared, where: Directories, kind: str) -> Entered:
    """Compile, make the control groups and move the pod to `run`; a refusal leaves nothing behind."""
    pod = prepared.pod
    groups: Cgroups | None = None
    try:
        facts = prepared.facts
        if not facts.caps >> CAPABILITY_BITS["CAP_SYS_ADMIN"] & 1:
            raise HostError("this needs root, or a user namespace", "running pods")
        pod.move("run")
        sockets = _sockets(prepared)
        networked = None
        if prepared.request.networked:
            from appc.network.setup import attach, bandwidth

            manifest = prepared.manifest
            if prepared.given:
                inherited = {one.name for app in sockets.values() for one in app if one.inherited}
                # Nobody listens behind them in the pod.
                manifest = manifest.replace(
                    ports=tuple(port for port in manifest.ports if str(port.name) not in inherited)
                )
            users = None
            if prepared.request.private_users:
                from appc.pods.private_users import recorded

                users = recorded(pod)
            ordinary = not facts.initial_userns
            networked = attach(pod.path, pod.uuid, prepared.request.net, manifest, where, users, ordinary=ordinary)
        elif prepared.request.joined:
            from appc.executor import joining

            networked = joining.network(pod.root, prepared.request, prepared.manifest)
        compilation = Compilation(prepared, pod, where, kind, facts, networked, sockets)
        everywhere = bool(prepared.request.runtime)
        groups = cgroups.create(
            _cgroup(prepared), _names(prepared), compilation.resources(), facts, everywhere=everywhere
        )
        if networked is not None and prepared.request.networked and bandwidth(prepared.manifest):
            from appc.executor.links import limit

            networked.unlimited = limit(pod, prepared.manifest, facts)
        compilation.settle(groups)
        plan = compilation.plan(groups)
        data = wire.encode(plan)
        pod.write("plan", data)
    except BaseException:
        _undo(prepared, groups)
        raise
    return Entered(compilation, plan, data, groups)


def _cgroup(prepared: Prepared) -> str:
    """What names the control groups of the pod; PodStateError when it joins those of one that has ended since."""
    if not prepared.request.cgroup:
        return prepared.pod.uuid
    from appc.executor import joining

    joining.check_groups(prepared.pod.root, prepared.request)
    return prepared.pod.cgroup


def _sockets(prepared: Prepared) -> dict[str, list[PodSocket]]:
    activated = any(port.socket_activated for app in prepared.manifest.apps if app.app for port in app.app.ports)
    if not activated and not prepared.given:
        return {}
    from appc.executor.sockets import assign

    request = prepared.request
    return assign(prepared.manifest, request.net, request.networked, prepared.given, prepared.warnings)


def _undo(prepared: Prepared, groups: Cgroups | None) -> None:
    """Take back what was done for a launch that will not be: the pod goes, or waits on if it did before."""
    pod = prepared.pod
    try:
        if groups is not None:
            cgroups.remove(groups.teardown)
    finally:
        if prepared.again:
            from appc.pods import gc

            gc.release_network(pod)
            if pod.phase == "run":
                pod.move("prepared")
            pod.release()
        else:
            discard(pod)


def _end(keeper: int, signal: int = 0) -> None:
    """Wait for the end of a keeper, which is our child, or ask for it."""
    try:
        os.kill(keeper, signal)
        os.waitpid(keeper, 0)
    except (ProcessLookupError, ChildProcessError):
        # The program we run in collects its children itself, or lets the kernel do it.
        pass


def _moved(pod: Pod) -> Pod:
    """Find the pod where it went at its end; one that was removed stays where it was seen last."""
    try:
        return pod.refresh()
    except PodNotFound:
        return pod


def _names(prepared: Prepared) -> list[str]:
    return [str(app.name) for app in prepared.manifest.apps]
