"""`appc app list`: the apps of one pod."""

from __future__ import annotations

from appc.cli.options import LISTING, Args, Operand, Verb
from appc.cli.output import listing
from appc.executor.status import describe
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "app list",
    "list the apps of a pod",
    options=LISTING,
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Print the apps in the order of the manifest."""
    columns = [("APP", "name"), ("IMAGE", "image"), ("STATE", "state"), ("STATUS", "exit-status"), ("PID", "pid")]
    listing(context, describe(layout.find(context.root, args.uuid))["apps"], columns)
    return 0
