"""`appc run-prepared`: run a pod that `appc prepare` made."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.pod_options import REGISTER, Warnings
from appc.cli.run import start
from appc.executor.prepare import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "run-prepared",
    "run a prepared pod",
    description="Runs the pod once. Of several that try at the same time one wins; the others say so.",
    options=(REGISTER, Option("--detach", "-d", help="return when all apps run, and print the pod's UUID")),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """In the foreground this process becomes the pod's keeper and never returns."""
    warnings = Warnings(context)
    return start(load(context, args.uuid, warnings.found), args, warnings, context)
