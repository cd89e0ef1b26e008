"""`appc image render`: make an image's root file system, dependencies and whitelist included."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import HostError, UsageError
from appc.images.fetch import resolve
from appc.images.render import copy_rootfs
from appc.store.images import ImageStore
from appc.store.staging import remove_tree

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
    options=(
        Option("--rootfs-only", help="the root file system alone, directly in DIR"),
        Option("--overwrite", help="first remove what is in DIR"),
        *PASSPHRASE,
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(
        Operand("image", complete="image", help="an ID or a name; a file is imported first"),
        Operand("dir", complete="dir", help="where to; it must be empty or not exist"),
    ),
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
    target = os.path.abspath(args.dir)
    if os.path.realpath(target) == "/":
        raise UsageError("nothing is rendered over the root directory", args.dir)
    try:
        made = not os.path.isdir(target)
        if made:
            os.mkdir(target)
        elif os.listdir(target):
            if not args.overwrite:
                raise UsageError("is not empty", args.dir, "--overwrite removes what is in it")
            _empty(target)
        rootfs = target if args.rootfs_only else f"{target}/rootfs"
        try:
            if not args.rootfs_only:
                os.mkdir(rootfs)
                with open(f"{target}/manifest", "xb") as stream:
                    stream.write(image.manifest_bytes)
            notes = copy_rootfs(store, image, rootfs)
        except BaseException:
            _empty(target)
            if made:
                os.rmdir(target)
            raise
    except OSError as error:
        raise HostError(f"cannot be written: {error.strerror}", args.dir) from error
    for note in notes:
        context.warn(note, args.dir)
    return 0


def _empty(directory: str) -> None:
    for entry in list(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)
