"""`appc image gc`: remove what nobody needs from the store."""

from __future__ import annotations

from appc.cli.options import Args, Option, Verb
from appc.cli.output import out, size
from appc.cli.values import duration
from appc.config import budget
from appc.images.use import in_use
from appc.store.budget import limit
from appc.store.images import ImageStore
from appc.values import ImageReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image gc",
    "remove images that were not used lately",
    description=(
        "Removes images that no pod rests on, that no image which stays depends on, and that were not used for the "
        "grace period; trees rendered from images that are gone; what steps of builds made, and steps that failed, "
        "when they were not used for the grace period; and what interrupted imports and builds left behind. Settings "
        "gc.* of the configuration are the defaults; images in gc.pinned are never removed."
    ),
    options=(
        Option(
            "--grace-period",
            metavar="TIME",
            parse=duration,
            help="keep images this long after they were used (default 24h)",
        ),
        Option(
            "--budget",
            metavar="SIZE|N%",
            parse=budget,
            help="when images take more on disk, remove more, the longest unused first (default: none)",
        ),
        Option("--dry-run", help="say what would be removed and why, and remove nothing"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Print one line for each thing that is (or would be) removed."""
    settings = context.settings
    removed = ImageStore(context.root).gc(
        lambda: in_use(context.root),
        settings.gc_image_grace if args.grace_period is None else args.grace_period,
        args.dry_run,
        pinned=[ImageReference.parse(name) for name in settings.gc_pinned],
        budget=limit(settings.gc_image_budget if args.budget is None else args.budget, context.root),
    )
    for entry in removed:
        out(f"{entry.kind} {entry.name}: {entry.reason} ({size(entry.size)})\n")
    if removed:
        done = "would be freed" if args.dry_run else "freed"
        context.info(f"{size(sum(entry.size for entry in removed))} {done}")
    return 0
