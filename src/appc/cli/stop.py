"""`appc stop`: end pods in good order."""

from __future__ import annotations

import time

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.values import duration
from appc.errors import AppcError, UsageError
from appc.executor import control
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.cli.context import Context
    from appc.pods.layout import Pod

VERB = Verb(
    "stop",
    "stop pods",
    description=(
        "Each app gets SIGTERM and, when it is still there after the pod's grace time, SIGKILL; its post-stop handler "
        "runs when it has ended. Several pods end at the same time. A pod that has ended already is fine."
    ),
    options=(
        Option("--all", help="stop every pod that runs"),
        Option("--force", help="kill everything at once; post-stop handlers do not run"),
        Option("--timeout", metavar="TIME", parse=duration, help="wait no longer than this"),
    ),
    operands=(Operand("uuid", count="*", complete="pod", help="any unique beginning of each"),),
)


def run(args: Args, context: Context) -> int:
    """Stop the pods; 1 when one could not be stopped."""
    pods, failed = chosen(args, context)
    running = [pod for pod in pods if pod.phase == "run"] if args.all else pods
    return 1 if not stop(running, context, force=args.force, timeout=args.timeout) or failed else 0


def chosen(args: Args, context: Context) -> tuple[list[Pod], bool]:
    """Return the pods that the operands, or --all, mean, and whether one of them is not there, which is said."""
    if bool(args.uuid) == args.all:
        raise UsageError("name pods, or say --all, not both", "" if args.uuid else "pods")
    if args.all:
        return layout.every(context.root), False
    pods, failed = [], False
    for prefix in args.uuid:
        try:
            pods.append(layout.find(context.root, prefix))
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            failed = True
    return pods, failed


def stop(pods: Sequence[Pod], context: Context, *, force: bool, timeout: float | None) -> bool:
    """Stop pods together, within `timeout` seconds for all; False when one could not be stopped, which is said."""
    deadline = None if timeout is None else time.monotonic() + timeout
    asked, failed = [], False
    for pod in pods:
        try:
            control.ask_to_stop(pod, force=force)
            asked.append(pod)
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            failed = True
    for pod in asked:
        if not control.wait(pod, None if deadline is None else max(0.0, deadline - time.monotonic())):
            context.error("is still stopping", f"pod {pod.uuid}")
            failed = True
    return not failed
