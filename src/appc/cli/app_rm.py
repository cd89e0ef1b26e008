"""`appc app rm`: remove apps from a running pod."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "app rm",
    "remove apps from a running pod",
    description=(
        "An app that has ended leaves the pod's manifest, and its root and log are deleted. The last app stays: `appc "
        "stop` ends the pod."
    ),
    options=(Option("--force", help="kill the app first; its post-stop handlers run"),),
    operands=(
        Operand("uuid", complete="pod", help="any unique beginning of it"),
        Operand("app", count="+", help="names of apps"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Remove the apps one after the other."""
    from appc.executor import apps

    pod = layout.find(context.root, args.uuid)
    for app in args.app:
        apps.remove(pod, app, force=args.force)
    return 0
