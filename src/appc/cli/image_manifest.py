"""`appc image manifest`: print an image's manifest."""

from __future__ import annotations

import sys

from appc.cli.image_file import file_path, open_image
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image manifest",
    "print an image's manifest",
    description=(
        "Prints the manifest as it stands in the image, and then checks it: the exit status is 1 when it is invalid."
    ),
    options=(Option("--pretty-print", help="lay it out for people: one field per line"), *PASSPHRASE),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("image", complete="image", help="an image file, or an image in the store"),),
)


def run(args: Args, context: Context) -> int:
    """Print the manifest, then check it."""
    from appc.schema.image import ImageManifest
    from appc.schema.json import dumps, loads

    data = _read(args, context)
    if args.pretty_print:
        data = dumps(loads(data), indent=4).encode()
    if sys.stdout is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
    ImageManifest.parse(data, where=args.image)
    return 0


def _read(args: Args, context: Context) -> bytes:
    path = file_path(args.image)
    if path:
        from appc.formats.aci import read_manifest

        with open_image(path, "reading", passphrase(args, context)) as source:
            return read_manifest(source, where=path)
    from appc.images.fetch import resolve
    from appc.store.images import ImageStore

    return resolve(
        ImageStore(context.root), args.image, config=context.config, pull="never", insecure=("image",)
    ).manifest_bytes
