"""`appc manifest`: the reified manifest of a pod."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.cli.output import json_document
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "manifest",
    "print a pod's reified manifest",
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Print the manifest as indented JSON."""
    json_document(layout.find(context.root, args.uuid).manifest())
    return 0
