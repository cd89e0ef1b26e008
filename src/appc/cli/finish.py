"""`appc finish`: what the keeper leaves to Python at the end of a foreground pod; not for people.

Explains a start that failed, and removes a pod that was run with --rm. The keeper waits for it and
still holds the pod's lock, so nobody else can touch the pod meanwhile.
"""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.executor.failure import recorded
from appc.pods import gc, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb("finish", "end a pod for its keeper", operands=(Operand("uuid"),), hidden=True)


def run(args: Args, context: Context) -> int:
    """Explain, remove; the error of a failed start is the result."""
    pod = layout.find(context.root, args.uuid)
    error = recorded(pod)
    if pod.read_json("request").get("remove"):
        pod.move("garbage")
        gc.delete_tree(pod.path)
    if error is not None:
        raise error
    return 0
