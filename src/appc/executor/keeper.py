"""What a keeper starts when only Python can go on, be it of a pod or of a command beside an app."""

from __future__ import annotations

import os
import sys

import appc
from appc.plan.ops import Op, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.layout import Pod

ECHILD = 10
# What a keeper needs beyond the grace time of its apps: post-stop handlers, and taking the pod away.
BEYOND_GRACE = 20  # seconds


def finish_argv(pod: Pod, state: str, *words: str) -> tuple[str, ...]:
    """Return the command a keeper starts for what only Python can do (`appc finish`); it adds what failed."""
    return (*command_line(), "--root", pod.root, "--state", state, "finish", pod.uuid, *words)


def command_line() -> tuple[str, ...]:
    """Return the words that start the command line, whether or not it is installed, without Python's `site`."""
    entrance = os.path.join(os.path.dirname(os.path.abspath(appc.__file__)), "__main__.py")
    return (sys.executable, "-I", "-S", entrance)


def failure_track(argv: tuple[str, ...]) -> Track:
    """Return the track a keeper performs when the start failed, after the teardown: `argv` says why.

    Its exit status becomes the keeper's, so it is never 0.
    """
    return Track("failure", [Op("finish", argv, tolerate=(ECHILD,), source="appc")])
