"""`appc image list`: the images in the store."""

from __future__ import annotations

import time

from appc.cli.options import LISTING, Args, Operand, Option, Verb
from appc.cli.output import ago, listing, size, titled
from appc.errors import StoreError
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context
    from appc.store.images import StoredImage

VERB = Verb(
    "image list",
    "list the images in the store",
    description=(
        "SIZE is that of the files in the image. SIGNER is the key whose signature was verified when the image was "
        "imported; an image without one was imported with --insecure image."
    ),
    options=(
        *LISTING,
        Option("--sort", choices=("name", "imported", "used", "size"), default="name", help="order of the rows"),
        Option("--order", choices=("asc", "desc"), default="asc", help="asc: the smallest or oldest first"),
    ),
    operands=(Operand("pattern", count="?", help="only images whose name contains this"),),
)

_KEYS = {
    "name": lambda image: (image["name"], image["importedNs"]),
    "imported": lambda image: image["importedNs"],
    "used": lambda image: image["usedNs"],
    "size": lambda image: image["treeSize"],
}


def run(args: Args, context: Context) -> int:
    """Print the images."""
    records = []
    for image in ImageStore(context.root).list():
        try:
            if (args.pattern or "") in image.name:
                records.append(_record(image))
        except StoreError as error:
            context.warn(error.what, error.where, error.hint)
    records.sort(key=_KEYS[args.sort], reverse=args.order == "desc")
    now = time.time()
    columns = [
        ("ID", lambda image: image["id"] if context.full else image["id"][:19]),
        ("NAME", lambda image: titled(image["name"], image["labels"])),
        ("SIZE", lambda image: image["treeSize"] if context.full else size(image["treeSize"])),
        ("IMPORTED", lambda image: image["imported"] if context.full else ago(now - image["importedNs"] / 1e9)),
        ("LAST USED", lambda image: image["used"] if context.full else ago(now - image["usedNs"] / 1e9)),
        ("SIGNER", lambda image: image["signer"] if context.full else image["signer"][-16:]),
    ]
    listing(context, records, columns)
    return 0


def _record(image: StoredImage) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "labels": dict(image.labels),
        "size": image.size,
        "treeSize": image.meta["treeSize"],
        "imported": _time(image.imported),
        "importedNs": image.imported,
        "used": _time(image.used),
        "usedNs": image.used,
        "signer": image.signer,
        "source": image.meta["source"],
    }


def _time(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 10**9))
