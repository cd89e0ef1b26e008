"""`appc completion-values`: what only the disk knows, for the completion scripts."""

from __future__ import annotations

from appc.cli.options import Operand, Verb
from appc.cli.output import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.cli.options import Args

VERB = Verb(
    "completion-values",
    "print the pods or images there are, one a line",
    operands=(Operand("kind", choices=("pod", "image"), help="what to list"),),
    hidden=True,
)


def run(args: Args, context: Context) -> int:
    """Print the UUIDs of pods, or the names of images."""
    if args.kind == "pod":
        from appc.pods.layout import every

        names = [pod.uuid for pod in every(context.root) if pod.phase != "garbage"]
    else:
        from appc.store.images import ImageStore

        names = sorted({str(image.name) for image in ImageStore(context.root).list()})
    out("".join(name + "\n" for name in names))
    return 0
