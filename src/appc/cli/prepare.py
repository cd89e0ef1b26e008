"""`appc prepare`: do all of `run` but running."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.cli.output import out
from appc.cli.pod_options import APP_OPTIONS, EXCLUSIVE, POD_OPTIONS, Warnings, request, save_uuid
from appc.executor.prepare import prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "prepare",
    "prepare a pod to be run later",
    description="Finds the images, reifies the pod's manifest and prints the UUID that `appc run-prepared` takes.",
    options=POD_OPTIONS,
    app_options=APP_OPTIONS,
    operands=(Operand("image", count="*", complete="image", help="any IMAGE form; see appc(1)"),),
    exclusive=EXCLUSIVE,
)


def run(args: Args, context: Context) -> int:
    """Print the UUID of the prepared pod."""
    warnings = Warnings(context)
    prepared = prepare(context, request(args, context), warnings.found)
    warnings.say()
    save_uuid(args.uuid_file_save, prepared.pod)
    prepared.pod.release()
    out(f"{prepared.pod.uuid}\n")
    return 0
