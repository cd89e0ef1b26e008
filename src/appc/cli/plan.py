"""`appc plan`: what `run` would do, down to the system calls."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out, printable
from appc.cli.pod_options import APP_OPTIONS, EXCLUSIVE, POD_OPTIONS, Warnings, request
from appc.executor import launch
from appc.executor.prepare import discard, prepare
from appc.plan.show import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "plan",
    "show what `run` would do, and do nothing",
    description=(
        "Takes the same words as `appc run` and prints the launch plan: for each process of the pod the steps it would "
        "perform, in order, with the field of the manifest each comes from; before that, what would become of each "
        "isolator. Nothing is run."
    ),
    options=(
        *POD_OPTIONS,
        Option("--short", help="one line for each step that is particular to this pod"),
    ),
    app_options=APP_OPTIONS,
    operands=(Operand("image", count="*", complete="image", help="any IMAGE form; see appc(1)"),),
    exclusive=EXCLUSIVE,
)


def run(args: Args, context: Context) -> int:
    """Prepare, compile, print, and remove what was prepared."""
    warnings = Warnings(context)
    prepared = prepare(context, request(args, context), warnings.found)
    pod = prepared.pod
    try:
        plan, isolators = launch.compile_only(prepared, context)
    finally:
        discard(pod)
    warnings.say()
    for row in isolators:
        reason = f" ({row.reason})" if row.reason else ""
        out(f"# isolator-{row.scope or 'pod'}-{row.name}: {printable(row.state + reason)}\n")
    out(show(plan, short=args.short))
    return 0
