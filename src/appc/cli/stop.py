"""`appc stop`: end pods in good order."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb, duration
from appc.errors import AppcError
from appc.executor import control
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "stop",
    "stop pods",
    description=(
        "Each app gets SIGTERM and, when it is still there after the pod's grace time, SIGKILL; its post-stop handler "
        "runs when it has ended. A pod that has ended already is fine."
    ),
    options=(
        Option("--force", help="kill everything at once; post-stop handlers do not run"),
        Option("--timeout", metavar="TIME", parse=duration, help="wait no longer than this"),
    ),
    operands=(Operand("uuid", count="+", complete="pod", help="any unique beginning of each"),),
)


def run(args: Args, context: Context) -> int:
    """Stop the pods one after the other; 1 when one could not be stopped."""
    failed = False
    for prefix in args.uuid:
        try:
            pod = layout.find(context.root, prefix)
            if not control.stop(pod, force=args.force, timeout=args.timeout):
                raise AppcError("is still stopping", f"pod {pod.uuid}")
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            failed = True
    return 1 if failed else 0
