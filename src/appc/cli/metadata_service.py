"""`appc metadata-service`: run by hand what a pod that needs it gets by itself."""

from __future__ import annotations

from appc.cli.options import Option, Verb
from appc.cli.values import duration
from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.cli.options import Args

_NEVER = float("inf")

VERB = Verb(
    "metadata-service",
    "serve the metadata of running pods (a pod that needs it gets it by itself)",
    description=(
        "Pods start the metadata service when an app first asks for it, and it leaves when nobody has asked for half a "
        "minute. Run by hand it stays, so that it can be watched and its failures be read on the terminal; pods use it "
        "as long as it runs."
    ),
    options=(
        Option("--idle", metavar="TIME", parse=duration, help="leave when nobody has asked for this long (never)"),
    ),
    examples=(("appc metadata-service --idle 10m", "serve until nobody has asked for ten minutes"),),
)


def run(args: Args, context: Context) -> int:
    """Serve until idle or interrupted; HostError when another service is there already."""
    from appc.metadata.access import socket_path
    from appc.metadata.service import serve

    path = socket_path(context.root, context.state)
    context.info(f"serving the pods of {context.root}", path)
    if not serve(context.root, context.state, _NEVER if args.idle is None else args.idle):
        hint = "it leaves by itself, half a minute after the last request"
        raise HostError("another metadata service has it", path, hint)
    return 0
