"""`appc image render`: make an image's root file system, dependencies and whitelist included."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Verb
from appc.cli.output_directory import OPERAND, OPTIONS, output_directory
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.images.fetch import resolve
from appc.images.render import copy_rootfs
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image render",
    "make an image's root file system, dependencies included",
    description=(
        "DIR becomes a layout, the file `manifest` and the directory `rootfs`; with --rootfs-only it becomes the root "
        "file system. Dependencies have to be in the store. Without root, owners and device nodes are left out."
    ),
    options=(*OPTIONS, *PASSPHRASE),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("image", complete="image", help="an ID or a name; a file is imported first"), OPERAND),
)


def run(args: Args, context: Context) -> int:
    """Render the image; after an error DIR is as empty as before."""
    store = ImageStore(context.root)
    image = resolve(
        store,
        args.image,
        config=context.config,
        keep=context.settings.images_keep_original,
        passphrase=passphrase(args, context),
    )
    with output_directory(args.dir, args.overwrite):
        rootfs = args.dir
        if not args.rootfs_only:
            rootfs = os.path.join(args.dir, "rootfs")
            os.mkdir(rootfs)
            with open(os.path.join(args.dir, "manifest"), "xb") as stream:
                stream.write(image.manifest_bytes)
        notes = copy_rootfs(store, image, rootfs)
    for note in notes:
        context.warn(note, args.dir)
    return 0
