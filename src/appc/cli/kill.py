"""`appc kill`: send a signal to the apps of a pod."""

from __future__ import annotations

from appc.abi import signal_number
from appc.cli.options import Args, Operand, Option, Verb
from appc.errors import PodStateError
from appc.executor import control
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "kill",
    "send a signal to a pod's apps",
    options=(
        Option(
            "--signal", "-s", metavar="SIGNAL", parse=signal_number, default=9, help="name or number (default KILL)"
        ),
        Option("--app", metavar="NAME", help="only to this app"),
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Signal the app, or all of them; an app that has ended already is an error when it alone was meant."""
    pod = layout.find(context.root, args.uuid)
    reached = control.kill(pod, args.signal, args.app or "")
    if not reached:
        what = f"app {args.app} is not running" if args.app else "none of its apps is running"
        raise PodStateError(what, f"pod {pod.uuid}")
    return 0
