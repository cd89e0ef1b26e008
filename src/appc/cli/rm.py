"""`appc rm`: remove pods that have ended, or never ran."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.cli.output import out
from appc.errors import AppcError
from appc.executor import control
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "rm",
    "remove pods that are not running",
    description="Removes the pod with its logs, its writable layers and its empty volumes.",
    operands=(Operand("uuid", count="+", complete="pod", help="any unique beginning of each"),),
)


def run(args: Args, context: Context) -> int:
    """Remove each pod and print its UUID; 1 when one could not be removed."""
    failed = False
    for prefix in args.uuid:
        try:
            pod = layout.find(context.root, prefix)
            control.remove(pod)
            out(f"{pod.uuid}\n")
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            failed = True
    return 1 if failed else 0
