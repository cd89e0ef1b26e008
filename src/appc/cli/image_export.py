"""`appc image export`: give an image back as a file."""

from __future__ import annotations

import os
import sys

from appc.build.newfile import NewFile
from appc.cli.options import Args, Operand, Option, Verb
from appc.images.use import find_stored
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.store.images import StoredImage

VERB = Verb(
    "image export",
    "write an image of the store to a file",
    description=(
        "The archive is the one that was imported, to the byte, and so has the same image ID. When the imported file "
        "was kept, as it is when it was signed, that is what is written, with its signature beside it in OUT.asc. "
        "Otherwise the archive is compressed again, which a signature does not survive.\n\n"
        "With --bundle OUT is one file with all the images that this one needs, their signatures, and the public keys "
        "that verified them: `appc fetch OUT` and `appc run OUT` work with it elsewhere, once those keys are trusted "
        "there."
    ),
    options=(
        Option("--compress", choices=("gzip", "bzip2", "xz", "none"), help="compress again, like this"),
        Option("--bundle", help="with dependencies, signatures and keys, in one file"),
        Option("--overwrite", help="replace OUT if it exists"),
    ),
    exclusive=(("--bundle", "--compress"),),
    operands=(
        Operand("image", complete="image", help="an ID or a name"),
        Operand("out", "OUT.aci", complete="file", help="the file to make; - is standard output"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Write the image and, where there is one, its signature."""
    store = ImageStore(context.root)
    image = find_stored(store, args.image)
    if args.bundle:
        return _bundle(store, image, args, context)
    compress = args.compress or ""
    if args.out == "-":
        store.export(image, sys.stdout.buffer, compress)
        return 0
    with NewFile(args.out, args.overwrite) as file:
        signature = store.export(image, file, compress)
        if signature:
            with NewFile(f"{args.out}.asc", overwrite=True) as beside:
                beside.write(signature)
                beside.commit()
        file.commit()
    if signature:
        return 0
    if image.meta.get("encrypted") and (compress or not os.path.exists(f"{image.path}/original")):
        context.warn("is not encrypted, as the file was that was imported", args.out, f"appc image encrypt {args.out}")
    if os.path.exists(f"{args.out}.asc"):
        context.warn("is left from an earlier file, and does not sign this one", f"{args.out}.asc")
    if image.signer:
        context.warn("was compressed again, so its signature does not hold for this file", args.out)
    return 0


def _bundle(store: ImageStore, image: StoredImage, args: Args, context: Context) -> int:
    from appc.images.bundle import export_bundle

    if args.out == "-":
        warnings = export_bundle(store, image, context.config, sys.stdout.buffer)
    else:
        with NewFile(args.out, args.overwrite) as file:
            warnings = export_bundle(store, image, context.config, file)
            file.commit()
    for warning in warnings:
        context.warn(warning, args.out)
    return 0
