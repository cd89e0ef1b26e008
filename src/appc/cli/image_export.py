"""`appc image export`: give an image back as a file."""

from __future__ import annotations

import os
import sys

from appc.cli.options import Args, Operand, Option, Verb
from appc.errors import HostError, UsageError
from appc.images.use import find_stored
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from appc.cli.context import Context
    from appc.store.images import StoredImage

VERB = Verb(
    "image export",
    "write an image of the store to a file",
    description=(
        "The archive is the one that was imported, to the byte, and so has the same image ID. When the imported file "
        "was kept, as it is when it was signed, that is what is written, with its signature beside it in OUT.asc. "
        "Otherwise the archive is compressed again, which a signature does not survive."
    ),
    options=(
        Option("--compress", choices=("gzip", "bzip2", "xz", "none"), help="compress again, like this"),
        Option("--overwrite", help="replace OUT if it exists"),
    ),
    operands=(
        Operand("image", complete="image", help="an ID or a name"),
        Operand("out", "OUT.aci", complete="file", help="the file to make; - is standard output"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Write the image and, where there is one, its signature."""
    store = ImageStore(context.root)
    image = find_stored(store, args.image)
    compress = args.compress or ""
    if args.out == "-":
        store.export(image, sys.stdout.buffer, compress)
        return 0
    signature = _write(store, image, args.out, compress, args.overwrite)
    if signature:
        return 0
    if image.meta.get("encrypted") and (compress or not os.path.exists(f"{image.path}/original")):
        context.warn("is not encrypted, as the file was that was imported", args.out, f"appc image encrypt {args.out}")
    if os.path.exists(f"{args.out}.asc"):
        context.warn("is left from an earlier file, and does not sign this one", f"{args.out}.asc")
    if image.signer:
        context.warn("was compressed again, so its signature does not hold for this file", args.out)
    return 0


def _write(store: ImageStore, image: StoredImage, out: str, compress: str, overwrite: bool) -> bytes:
    """Make the file under another name first, so that OUT is whole or not there."""
    if os.path.exists(out) and not overwrite:
        raise UsageError("exists", out, "--overwrite replaces it")
    temporary = f"{out}.{os.getpid()}.part"
    try:
        with open(temporary, "xb") as stream:
            signature = store.export(image, stream, compress)
            _flush(stream)
        if signature:
            with open(f"{temporary}.asc", "xb") as stream:
                stream.write(signature)
                _flush(stream)
            os.rename(f"{temporary}.asc", f"{out}.asc")
        os.rename(temporary, out)
    except OSError as error:
        raise HostError(f"cannot be written: {error.strerror}", out) from error
    finally:
        for name in (temporary, f"{temporary}.asc"):
            if os.path.exists(name):
                os.unlink(name)
    return signature


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
