"""`appc rm`: remove pods that have ended, or never ran."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.stop import chosen, stop
from appc.errors import AppcError, PodNotFound
from appc.executor import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "rm",
    "remove pods that are not running",
    description="Removes the pod with its logs, its writable layers and its empty volumes.",
    options=(
        Option("--all", help="every pod; those that run stay, unless --force is given"),
        Option("--force", help="kill first what runs of them; post-stop handlers do not run"),
    ),
    operands=(Operand("uuid", count="*", complete="pod", help="any unique beginning of each"),),
)


def run(args: Args, context: Context) -> int:
    """Remove each pod and print its UUID; 1 when one could not be removed."""
    pods, failed = chosen(args, context)
    if args.force:
        running = [pod for pod in pods if pod.phase == "run"]
        failed |= not stop(running, context, force=True, timeout=None)
    for pod in pods:
        try:
            pod.refresh()
            if args.all and not args.force and pod.phase == "run" and pod.locked():
                continue
            control.remove(pod)
            out(f"{pod.uuid}\n")
        except PodNotFound:
            continue  # --rm, or somebody else, was first
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            failed = True
    return 1 if failed else 0
