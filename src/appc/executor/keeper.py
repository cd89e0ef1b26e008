"""What every keeper is started with, be it of a pod or of a command beside an app."""

from __future__ import annotations

import os
import sys

import appc
from appc.formats.convert import DEFAULT_PATH
from appc.plan.ops import Op, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.layout import Pod

ECHILD = 10
# Of the caller's environment the keeper keeps nothing but what a terminal and a locale need.
KEPT_VARIABLES = ("TERM", "LANG", "LC_ALL", "NO_COLOR", "COLUMNS", "LINES")


def finish_argv(pod: Pod, state: str, *words: str) -> tuple[str, ...]:
    """Return the command a keeper starts for what only Python can do (`appc finish`); it adds what failed."""
    entrance = os.path.join(os.path.dirname(os.path.abspath(appc.__file__)), "__main__.py")
    return (sys.executable, "-I", "-S", entrance, "--root", pod.root, "--state", state, "finish", pod.uuid, *words)


def failure_track(argv: tuple[str, ...]) -> Track:
    """Return the track a keeper performs when the start failed, after the teardown: `argv` says why.

    Its exit status becomes the keeper's, so it is never 0.
    """
    return Track("failure", [Op("finish", argv, tolerate=(ECHILD,), source="appc")])


def environment(*more: str) -> dict[str, str]:
    """Return the environment of a keeper: what its terminal needs, `more` by name, and nothing else of the caller's."""
    kept = {name: os.environ[name] for name in (*KEPT_VARIABLES, *more) if name in os.environ}
    return {"PATH": DEFAULT_PATH, **kept}
