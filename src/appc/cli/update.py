"""`appc update`: change limits of a pod that runs."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.values import limit
from appc.errors import UsageError
from appc.pods import layout
from appc.schema.isolators import Isolator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "update",
    "change the limits of a running pod",
    description=(
        "The limits replace those of the same kind at once, and the pod's manifest says so from then on, to the "
        "metadata service too. Without --app they are the pod's, which bound all of its apps together. A memory limit "
        "below what is in use is refused. Prints what became of each."
    ),
    options=(
        Option("--app", metavar="NAME", default="", help="the app whose limits change (default: the pod's own)"),
        Option("--memory", metavar="SIZE", parse=limit("memory"), help="memory limit, such as 256Mi"),
        Option("--cpu", metavar="CORES", parse=limit("cpu"), help="processor limit, such as 500m"),
        Option("--pids", metavar="N", parse=limit("pids"), help="most processes and threads at once"),
        Option("--isolator", metavar="NAME,K=V", kind="repeat", parse=Isolator.parse_string, help="any other isolator"),
        Option("--strict", help="fail when one cannot be enforced as asked"),
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
    examples=(("appc update 6f2a --app web --memory 512Mi --cpu 2", "more room for a busy app"),),
)


def run(args: Args, context: Context) -> int:
    """Print `NAME=OUTCOME (REASON)` for each isolator."""
    from appc.executor.update import update

    isolators = [isolator for isolator in (args.memory, args.cpu, args.pids) if isolator] + list(args.isolator)
    if not isolators:
        raise UsageError("nothing to change is named", "update", "such as --memory 512Mi")
    for row in update(layout.find(context.root, args.uuid), args.app, isolators, strict=args.strict):
        out(f"{row}\n")
    return 0
