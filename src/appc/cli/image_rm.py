"""`appc image rm`: remove images from the store."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.errors import AppcError
from appc.images.use import find_stored, in_use
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image rm",
    "remove images from the store",
    description="Images that pods rest on, running or not, are not removed; `appc gc` clears pods away.",
    options=(Option("--force", help="also images that pods rest on: such a pod loses the files of its image"),),
    operands=(Operand("image", count="+", complete="image", help="IDs or names; a name has to mean one image"),),
)


def run(args: Args, context: Context) -> int:
    """Remove each image and print its ID; 1 when one could not be removed."""
    store = ImageStore(context.root)
    status = 0
    failed = 0
    for reference in args.image:
        try:
            image = find_stored(store, reference)
            store.remove(image, lambda: in_use(context.root), args.force)
            out(f"{image.id}\n")
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            status = max(status, error.exit_status)
            failed += 1
    if failed and len(args.image) > 1:
        context.error(f"{failed} of {len(args.image)} images could not be removed")
    return status
