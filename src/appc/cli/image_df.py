"""`appc image df`: what the store takes on disk."""

from __future__ import annotations

import os

from appc.cli.options import LISTING, Args, Verb
from appc.cli.output import amounts, free_space, json_document, listing, out, size, titled
from appc.errors import StoreError
from appc.store.images import ImageStore
from appc.store.usage import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.cli.context import Context
    from appc.cli.output import Column
    from appc.store.images import StoredImage
    from appc.store.usage import Share

VERB = Verb(
    "image df",
    "show what the images take on disk",
    description=(
        "Real blocks, not lengths. FILES is the image's tree, ORIGINAL the imported file where it was kept, RECORDS "
        "what checking and exporting need. SHARED is the part of SIZE that lies in hard links which rendered trees and "
        "other images have too, UNIQUE what would be free without this one. Blocks shared by reflinks count for each."
    ),
    options=LISTING,
)


def run(args: Args, context: Context) -> int:
    """Print images and rendered trees, the largest first, and the sum."""
    store = ImageStore(context.root)
    found = usage(store)
    names = {str(image.id): _name(context, image) for image, _ in found.images}
    images = [{"id": image.id, "name": names[image.id], **_numbers(share)} for image, share in found.images]
    rendered = [
        {"key": os.path.basename(path), "images": sorted(ids), **_numbers(share)} for path, ids, share in found.trees
    ]
    for records in (images, rendered):
        records.sort(key=lambda one: -one["size"])
    disk = free_space(context.root)
    if context.format == "json":
        json_document({"images": images, "trees": rendered, "other": found.other, "total": found.total, **disk})
        return 0
    rows: list[dict[str, Any]] = list(images)
    for tree in rendered:
        made_of = ", ".join(sorted(names.get(one, one[:19]) for one in tree["images"]))
        rows.append({**tree, "id": f"tree-{tree['key']}", "name": f"rendered: {made_of}"})
    columns: list[Column] = [("ID", lambda row: row["id"] if context.full else row["id"][:19]), ("NAME", "name")]
    listing(context, rows, columns + amounts(context, *_NUMBERS))
    if context.legend:
        shown: Callable[[int], str] = str if context.full else size
        out(f"\nin all: {shown(found.total)}, {shown(disk['available'])} available\n")
    return 0


_NUMBERS = ("size", "files", "original", "records", "shared", "unique")


def _numbers(share: Share) -> dict[str, Any]:
    numbers = (share.total, share.files, share.original, share.records, share.shared, share.unique)
    return dict(zip(_NUMBERS, numbers, strict=True))


def _name(context: Context, image: StoredImage) -> str:
    try:
        return titled(image.name, image.labels)
    except StoreError as error:
        context.warn(error.what, error.where, error.hint)
        return ""
