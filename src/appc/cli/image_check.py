"""`appc image check`: find damage in the store, and repair it."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out, printable
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import EXIT_INVALID, AppcError
from appc.images.use import find_stored, in_use
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.store.images import StoredImage
    from appc.trust.symmetric import Passphrase

VERB = Verb(
    "image check",
    "find damage in the store, and repair it",
    description=(
        "Reads every file of the images (all of them when none is named) and compares content, type, mode, owner, "
        "attributes and time with what was recorded at import, and the whole with the image ID. Prints one line for "
        "each difference, and `ID: ok` for an image without."
    ),
    options=(
        Option("--repair", help="make damaged images again, from the file that was kept when it was imported"),
        *PASSPHRASE,
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("image", count="*", complete="image", help="IDs or names"),),
)


def run(args: Args, context: Context) -> int:
    """Check each image; 1 when one is damaged and was not repaired."""
    store = ImageStore(context.root)
    images = [find_stored(store, reference) for reference in args.image] or store.list()
    status = 0
    for image in images:
        faults = store.check(image)
        for path, reason in faults:
            # Names in an image are its maker's choice.
            out(printable(": ".join(filter(None, (image.id.short, path, reason)))) + "\n")
        if not faults:
            out(f"{image.id.short}: ok\n")
        elif not (args.repair and _repaired(store, image, passphrase(args, context), context)):
            status = EXIT_INVALID
    return status


def _repaired(store: ImageStore, image: StoredImage, secret: Passphrase, context: Context) -> bool:
    from appc.images.unlock import Unlocked

    where = f"the file of image {image.id.short}"
    try:
        store.repair(image, lambda: in_use(context.root), lambda source: Unlocked(source, secret, where))
    except AppcError as error:
        context.error(error.what, error.where, error.hint)
        return False
    left = store.check(image)
    for path, reason in left:
        context.error(f"after the repair: {reason}", path)
    if not left:
        out(f"{image.id.short}: repaired\n")
    return not left
