"""Verbs of an ordinary user: those that make or change what only root may are performed in a user namespace."""

from __future__ import annotations

import os

from appc.host import rootless
from appc.pods import layout, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.cli.context import Context

# Verbs that look into a pod that runs: its user namespace is the one to be in.
_OF_PODS = ("enter", "cp", "top", "attach", "export", "update", "app add", "app start", "app stop", "app rm")
_MAKE = ("fetch", "run", "prepare", "image build", "image build from-dockerfile", "build run")
# Verbs that can put a pod into the network of another that runs.
_JOIN = ("run", "plan")
_IN_PODS = ("build run", "build enter")
_VERBS = frozenset(
    (
        *_OF_PODS,
        *("run", "prepare", "run-prepared", "plan", "rm", "gc", "fetch"),
        *("image render", "image rm", "image gc", "image check", "image diff", "image export"),
        *("df", "image df", "image tree"),
        "image build from-dockerfile",
    )
)


def concerns(verb: str, words: Sequence[str]) -> bool:
    """Whether a verb with these words makes or changes what only root may."""
    if verb == "image build":
        # From a build file; from a layout it takes nothing but the user's own files.
        return any(word in ("-f", "--file") or word.startswith("--file=") for word in words)
    # What a command makes in a build belongs to users of the namespace.
    return verb in _VERBS or verb.startswith("build ")


def enter(context: Context, verb: str, words: Sequence[str]) -> None:
    """Be root in a user namespace from now on, for a verb that this `concerns`: a running pod's, or one of our own.

    Raises HostError when it cannot be had.
    """
    if verb.startswith("build ") and verb not in _IN_PODS and not rootless.possible():
        # It changes files, and those may all be the user's own.
        return
    # Where an ordinary user keeps things, not where root does.
    os.makedirs(context.root, 0o700, exist_ok=True)
    os.makedirs(context.state, 0o700, exist_ok=True)
    keeper = _keeper(context.root, words if verb in _OF_PODS else _lenders(words) if verb in _JOIN else ())
    if keeper:
        rootless.join(keeper)
    elif not rootless.enter() and verb in _MAKE:
        context.warn(
            "images have no users but root: /etc/subuid and /etc/subgid give you none, or newuidmap is missing"
        )


def _lenders(words: Sequence[str]) -> list[str]:
    """Return the pods whose network the words ask for: it belongs to the user namespace that they are in."""
    options = [word.removeprefix("--net=") for word in words if word.startswith("--net=")]
    options += [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--net"]
    return [option.removeprefix("pod:") for option in options if option.startswith("pod:")]


def _keeper(root: str, words: Sequence[str]) -> int:
    """Return the keeper of the running pod that one of the words names, 0 when none does."""
    prefixes = [word.partition(":")[0] for word in words if word[:1] != "-"]
    for pod in layout.every(root):
        if pod.phase == "run" and any(prefix and pod.uuid.startswith(prefix) for prefix in prefixes):
            keeper = records.keeper_pid(pod)
            if keeper:
                return keeper[0]
    return 0
