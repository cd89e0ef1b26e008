"""A command beside a running app: the app's namespaces, groups, user, capabilities and filter."""

from __future__ import annotations

from appc.errors import ProgramNotFound
from appc.executor import control
from appc.executor.launch import environment
from appc.formats import convert
from appc.host import probe
from appc.images.view import TreeView
from appc.launch import spawn
from appc.plan import wire
from appc.plan.compile_pod import compile_enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from appc.plan.ops import Op, Plan
    from appc.pods.layout import Pod

SHELLS = ("/bin/bash", "/bin/sh")


def enter(pod: Pod, app: str, command: tuple[str, ...], tty: bool) -> NoReturn:
    """Become the keeper of `command` in the surroundings of `app`; its status becomes ours.

    Without a command the first shell the image has is run. Raises AppcError when the app is not running.
    """
    pid = control.app_pid(pod, app)
    facts = probe.facts()
    config: dict[str, Any] = convert.enter_config(
        pod.read_json(f"config/{app}"), command or (_shell(f"/proc/{pid}/root"),), terminal=tty
    )
    # What the app itself was started with: its groups and its filter, as the plan that was performed has them.
    launched = wire.decode(pod.read("plan"))
    plan = compile_enter(
        config,
        name=app,
        pid=pid,
        facts=facts,
        cgroups=_groups(launched, app),
        seccomp=_filter(launched.track(f"app {app}").ops),
        streams=("tty", "tty", "tty") if tty else ("inherit", "inherit", "inherit"),
    )
    spawn.replace_process(wire.encode(plan), None, environment())


def _shell(root: str) -> str:
    view = TreeView((root,))
    for shell in SHELLS:
        try:
            view.stat(shell)
        except OSError:
            continue
        return shell
    raise ProgramNotFound("the app's root has no shell", "enter", "give the command to run: appc enter UUID PROGRAM")


def _groups(plan: Plan, app: str) -> list[str]:
    """The groups of the app: the one it was born in, and those it went into by their control files."""
    born = [str(op.args[-1]) for op in plan.track("keeper").ops if op.name == "app" and op.args[0] == app]
    files = [str(op.args[0]) for op in plan.track(f"app {app}").ops if op.name == "cgroup"]
    return [directory for directory in born if directory] + [file.rpartition("/")[0] for file in files]


def _filter(ops: list[Op]) -> bytes | None:
    for op in ops:
        if op.name == "seccomp":
            program = op.args[1]
            assert isinstance(program, bytes)
            return program
    return None
