"""`appc image extract`: unpack one image, without its dependencies."""

from __future__ import annotations

import os

from appc.cli.image_file import file_path, open_image
from appc.cli.options import Args, Operand, Verb
from appc.cli.output_directory import OPERAND, OPTIONS, output_directory
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.formats.compress import Source
    from appc.store.images import ImageStore, StoredImage

VERB = Verb(
    "image extract",
    "unpack an image, without its dependencies",
    description=(
        "DIR becomes a layout, the file `manifest` and the directory `rootfs`, from which `appc image build` makes "
        "the image again; with --rootfs-only it becomes the root file system. Owners, device nodes and privileged "
        "attributes need root, and are left out with a warning otherwise."
    ),
    options=(*OPTIONS, *PASSPHRASE),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("image", complete="image", help="any IMAGE form: a file, one in the store, oci:DIR …"), OPERAND),
)


def run(args: Args, context: Context) -> int:
    """Unpack the image; after an error DIR is as empty as before."""
    from appc.images.borrow import borrowed, must_be_borrowed
    from appc.images.fetch import resolve
    from appc.store.images import ImageStore

    store = ImageStore(context.root)
    secret = passphrase(args, context)
    with output_directory(args.dir, args.overwrite):
        if must_be_borrowed(args.image):
            warnings: list[str] = []
            with borrowed(store, args.image, warnings, secret) as (own, image):
                for warning in warnings:
                    context.warn(warning, args.image)
                _from_store(own, image, args, context)
        elif path := file_path(args.image):
            with open_image(path, "extracting", secret) as source:
                _extract(source, args, context)
        else:
            _from_store(
                store,
                resolve(store, args.image, config=context.config, pull="never", insecure=("image",)),
                args,
                context,
            )
    return 0


def _from_store(store: ImageStore, image: StoredImage, args: Args, context: Context) -> None:
    from appc.images.piped import Piped

    with Piped(lambda stream: store.export(image, stream)) as source:
        _extract(source, args, context)


def _extract(source: Source, args: Args, context: Context) -> None:
    from appc.formats.aci import MANIFEST, ROOTFS, read_aci
    from appc.formats.extract import Extractor

    rootfs = args.dir if args.rootfs_only else os.path.join(args.dir, ROOTFS)
    if not args.rootfs_only:
        os.mkdir(rootfs)
    root = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with Extractor(root, prefix=ROOTFS, owners=os.geteuid() == 0, where=args.image) as extractor:
            found = read_aci(source, extractor, where=args.image)
            extractor.finish()
    finally:
        os.close(root)
    if not args.rootfs_only:
        with open(os.path.join(args.dir, MANIFEST), "xb") as file:
            file.write(found.manifest_bytes)
    for note in (*found.warnings, *extractor.notes()):
        context.warn(note)
