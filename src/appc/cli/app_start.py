"""`appc app start`: start apps of a running pod that have ended."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "app start",
    "start apps of a running pod again",
    description=(
        "An app that was stopped, or ended by itself while the pod went on, starts again in the root it left, with the "
        "user, limits, privileges and log it had; its pre-start handlers run first."
    ),
    operands=(
        Operand("uuid", complete="pod", help="any unique beginning of it"),
        Operand("app", count="+", help="names of apps, in the order they start"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Start the apps one after the other."""
    from appc.executor import apps

    pod = layout.find(context.root, args.uuid)
    for app in args.app:
        warnings: list[str] = []
        apps.start(pod, app, warnings)
        for text in warnings:
            context.warn(text)
    return 0
