"""Finding damage: an image's files against the records made at import, and the whole against the image ID."""

from __future__ import annotations

import os

from appc.errors import AppcError, StoreError
from appc.store import trees
from appc.store.collect import hold_unused
from appc.store.compare import differences
from appc.store.exporter import archive
from appc.store.records import read_records
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appc.store.images import ImageStore, StoredImage

# What an import writes anew; the rest of an image's directory is about how it came here.
_RENEWED = ("manifest", "entries", "tar")


def check(image: StoredImage) -> list[tuple[str, str]]:
    """See `ImageStore.check`."""
    faults = verify(image)
    if not faults:
        import hashlib

        digest = hashlib.sha512()
        try:
            for data in archive(image):
                digest.update(data)
        except StoreError as error:
            faults.append(("", error.what))
        else:
            if f"sha512-{digest.hexdigest()}" != image.id:
                faults.append(("", "its files and headers no longer make the archive of this ID"))
    return faults


def verify(image: StoredImage) -> list[tuple[str, str]]:
    """See `ImageStore.verify`."""
    import hashlib

    faults = []
    try:
        # Not what this process may have read of it before.
        fresh = type(image)(image.path, image.id)
        if hashlib.sha256(fresh.manifest_bytes).hexdigest() != fresh.meta["manifestSha256"]:
            faults.append(("", "its manifest is not the one that was imported"))
        records = read_records(f"{image.path}/entries")
        faults += differences(image.tree, records, bool(image.meta["owners"]), image.meta["skipped"])
    except StoreError as error:
        faults.append((error.where, error.what))
    return faults


def repair(store: ImageStore, image: StoredImage, in_use: Callable[[], Mapping[str, str]]) -> None:
    """See `ImageStore.repair`."""
    from appc.store.importer import read_again

    where = f"image {image.id.short}"
    if not os.path.exists(f"{image.path}/original"):
        raise StoreError(
            "cannot be repaired: the file it came from was not kept",
            where,
            f"appc image rm {image.id.short}, then fetch it again",
        )
    with Staging(store.root) as staging, hold_unused(image, in_use):
        try:
            fresh = read_again(store, image, staging)
        except AppcError as error:
            raise StoreError(f"cannot be repaired: {error}", where, f"appc image rm {image.id.short}") from None
        # Interrupted between any two of these the image is still damaged, and can still be repaired.
        os.rename(image.tree, f"{staging.path}/damaged")
        os.rename(f"{fresh}/rootfs", image.tree)
        for name in _RENEWED:
            os.rename(f"{fresh}/{name}", f"{image.path}/{name}")
        for number, (path, image_ids, _) in enumerate(list(trees.each(store.root))):
            # Rendered trees may share the damaged files.
            if image.id in image_ids:
                os.rename(path, f"{staging.path}/tree{number}")
