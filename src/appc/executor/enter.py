"""A command beside a running app: the app's namespaces, groups, user, capabilities and filter."""

from __future__ import annotations

import os

from appc.errors import AppcError, LaunchError, ProgramNotFound
from appc.executor import control
from appc.executor.keeper import failure_track, finish_argv
from appc.formats import convert
from appc.host import probe
from appc.images.view import TreeView
from appc.launch import spawn
from appc.plan import wire
from appc.plan.compile_pod import compile_enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from appc.executor.failure import Failure
    from appc.plan.ops import Plan
    from appc.pods.layout import Pod

SHELLS = ("/bin/bash", "/bin/sh")


def enter(
    pod: Pod, app: str, command: tuple[str, ...], tty: bool, state: str, user: str = "", group: str = ""
) -> NoReturn:
    """Become the keeper of `command` in the surroundings of `app`; its status becomes ours.

    Without a command the first shell the image has is run; without `user` and `group`, as a manifest has them, by the
    app's own. Raises AppcError when the app is not running.
    """
    pid = control.app_pid(pod, app)
    command = command or (_shell(f"/proc/{pid}/root"),)
    plan = _plan(pod, app, pid, command, tty, user, group)
    # The keeper has nothing of the plan's sources; who explains a failure compiles the same plan again.
    words = (f"--enter={app}", f"--program={command[0]}", *(("--tty",) if tty else ()))
    words += tuple(f"--{name}={text}" for name, text in (("user", user), ("group", group)) if text)
    plan.tracks.append(failure_track(finish_argv(pod, state, *words)))
    spawn.replace_process(wire.encode(plan), None, spawn.plain_environment())


def explain(pod: Pod, app: str, program: str, tty: bool, user: str, group: str, failure: Failure) -> AppcError:
    """Return the error for `program` not having been run beside `app`."""
    from appc.executor.failure import find_op, tried
    from appc.launch.diagnose import RootView, explain_exec
    from appc.plan.explain import explain as explain_op

    pid = control.app_pid(pod, app)
    plan = _plan(pod, app, pid, (program,), tty, user, group)
    op = find_op(plan, failure)
    if op is not None and op.name == "exec":
        view = RootView((f"/proc/{pid}/root",), mounted=True)
        return explain_exec(view, tried(plan, failure.track), failure.errno, f"app {app}")
    return LaunchError(explain_op(plan, failure.track, failure.index, failure.errno), f"pod {pod.uuid[:8]}")


def _plan(pod: Pod, app: str, pid: int, command: tuple[str, ...], tty: bool, user: str, group: str) -> Plan:
    config: dict[str, Any] = convert.enter_config(pod.read_json(f"config/{app}"), command, terminal=tty)
    if user or group:
        from appc.pods.users import beside

        found = beside(TreeView((f"/proc/{pid}/root",)), user, group, config["process"]["user"])
        config = convert.as_user(config, found.uid, found.gid, found.home if user else None)
    variables = config["process"]["env"]
    if tty and "TERM" in os.environ and not any(variable.startswith("TERM=") for variable in variables):
        config["process"]["env"] = [*variables, f"TERM={os.environ['TERM']}"]
    facts = probe.facts()
    return compile_enter(
        config,
        name=app,
        pid=pid,
        facts=facts,
        cgroups=control.app_groups(pod, app, facts),
        seccomp=control.app_filter(pod, app),
        streams=("tty", "tty", "tty") if tty else ("inherit", "inherit", "inherit"),
    )


def _shell(root: str) -> str:
    view = TreeView((root,))
    for shell in SHELLS:
        try:
            view.stat(shell)
        except OSError:
            continue
        return shell
    raise ProgramNotFound("the app's root has no shell", "enter", "give the command to run: appc enter UUID PROGRAM")
