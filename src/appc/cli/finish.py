"""`appc finish`: what the keeper leaves to Python at the end of a foreground pod; not for people.

Explains a start (or a command beside an app) that failed, and removes a pod that was run with --rm. The keeper waits
for it and still holds the pod's lock, so nobody else can touch the pod meanwhile.
"""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.values import integer
from appc.errors import UsageError
from appc.pods import gc, layout, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.errors import AppcError
    from appc.executor.failure import Failure

VERB = Verb(
    "finish",
    "end a pod for its keeper",
    options=(
        Option("--enter", metavar="APP", help="it was a command beside this app that failed"),
        Option("--program", metavar="NAME", default="", help="which"),
        Option("--tty", help="it had a terminal"),
        Option("--user", metavar="USER", default="", help="it was to run as this user"),
        Option("--group", metavar="GROUP", default="", help="and as this group"),
    ),
    operands=(Operand("uuid"), Operand("failure", "TRACK OP ERRNO STATUS", count="*")),
    hidden=True,
)


def run(args: Args, context: Context) -> int:
    """Explain, remove; the error of what failed is the result."""
    pod = layout.find(context.root, args.uuid)
    if args.enter:
        from appc.executor import enter

        failure = _failure(args.failure)
        raise enter.explain(pod, args.enter, args.program, args.tty, args.user, args.group, failure)
    error: AppcError | None = None
    if records.read(pod, "_failure"):
        # What explains a failure is not needed for pods that fare well.
        from appc.executor.failure import recorded

        error = recorded(pod)
    if pod.read_json("request").get("remove"):
        gc.clear(pod)
    else:
        gc.release_network(pod)
    if error is not None:
        raise error
    return 0


def _failure(words: list[str]) -> Failure:
    """Return what the keeper's last words say."""
    from appc.executor.failure import Failure

    if len(words) != 4:
        raise UsageError("what failed is missing", "finish")
    number = integer(0)
    return Failure(words[0], number(words[1]), number(words[2]), number(words[3]))
