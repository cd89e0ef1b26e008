"""`appc app stop`: end apps of a pod that goes on."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.values import duration
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "app stop",
    "stop apps of a running pod",
    description=(
        "Each app gets SIGTERM and, when it is still there after the grace time, SIGKILL; its post-stop handlers run "
        "when it has ended. It does not run again by itself, whatever its restart policy, and the pod waits for it, "
        "also without any other app, until it is started or removed, or the pod is stopped."
    ),
    options=(Option("--grace", metavar="TIME", parse=duration, help="time between SIGTERM and SIGKILL"),),
    operands=(
        Operand("uuid", complete="pod", help="any unique beginning of it"),
        Operand("app", count="+", help="names of apps, in the order they stop"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Stop the apps one after the other."""
    from appc.executor import apps

    pod = layout.find(context.root, args.uuid)
    grace = context.settings.stop_grace if args.grace is None else args.grace
    for app in args.app:
        apps.stop(pod, app, grace=grace)
    return 0
