"""Verbs of an ordinary user: those that make or change what only root may are performed in a user namespace."""

from __future__ import annotations

import os

from appc.cli.options import parse
from appc.errors import PodNotFound
from appc.host import rootless
from appc.pods import layout, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.cli.context import Context
    from appc.cli.options import Args

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
        args = _parsed(verb, words)
        return not args.help and args.file is not None
    # What a command makes in a build belongs to users of the namespace.
    return verb in _VERBS or verb.startswith("build ")


def enter(context: Context, verb: str, words: Sequence[str]) -> None:
    """Be root in a user namespace from now on, for a verb that this `concerns`: a running pod's, or one of our own.

    Raises HostError when it cannot be had, UsageError for words that are wrong.
    """
    if verb.startswith("build ") and verb not in _IN_PODS and not rootless.possible():
        # It changes files, and those may all be the user's own.
        return
    # Where an ordinary user keeps things, not where root does.
    os.makedirs(context.root, 0o700, exist_ok=True)
    os.makedirs(context.state, 0o700, exist_ok=True)
    keeper = _keeper(context.root, _pods(verb, words))
    if keeper:
        rootless.join(keeper)
    elif not rootless.enter() and verb in _MAKE:
        context.warn(
            "images have no users but root: /etc/subuid and /etc/subgid give you none, or newuidmap is missing"
        )


def _parsed(verb: str, words: Sequence[str]) -> Args:
    from appc.cli.main import load

    return parse(load(verb).VERB, words)


def _pods(verb: str, words: Sequence[str]) -> list[str]:
    """Return the beginnings of UUIDs of the pods that the words have the verb look into, or share a network with."""
    joins = verb in _JOIN and any("pod:" in word for word in words)
    # The tables of `run` are not read without need: a pod that was compiled before starts without them.
    args = _parsed(verb, words) if joins or verb in _OF_PODS else None
    if args is None or args.help:
        return []
    if joins:
        return [args.net.removeprefix("pod:")] if args.net.startswith("pod:") else []
    if verb == "cp":
        from appc.cli.cp import place

        return [found[0] for found in (place(args.source), place(args.target)) if found]
    return list(args.uuid) if verb == "top" else [args.uuid]


def _keeper(root: str, prefixes: Sequence[str]) -> int:
    """Return the keeper of the first of the pods that runs, 0 when none does."""
    for prefix in prefixes:
        try:
            pod = layout.find(root, prefix)
            keeper = records.keeper_pid(pod) if pod.phase == "run" else None
        except PodNotFound:
            continue  # the verb says so
        if keeper:
            return keeper[0]
    return 0
