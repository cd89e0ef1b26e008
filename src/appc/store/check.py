"""Finding damage: an image's files against the records made at import, and the whole against the image ID."""

from __future__ import annotations

import os

from appc.errors import AppcError, ArchiveError, StoreError
from appc.formats.aci import read_aci
from appc.formats.tar import HARDLINK
from appc.store import trees
from appc.store.collect import hold_unused
from appc.store.compare import differences
from appc.store.exporter import ArchiveStream
from appc.store.records import read_records
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from appc.formats.extract import Record
    from appc.formats.tar import Entry
    from appc.store.images import ImageStore, StoredImage, Unlock

# What an import writes anew; the rest of an image's directory is about how it came here.
_RENEWED = ("manifest", "entries", "tar")


def check(image: StoredImage) -> list[tuple[str, str]]:
    """See `ImageStore.check`."""
    faults = verify(image)
    if faults:
        return faults
    records = _Recorded(read_records(f"{image.path}/entries"))
    try:
        found = read_aci(ArchiveStream(image), records)
    except (ArchiveError, StoreError) as error:
        return [("", error.what)]
    if found.image_id != image.id:
        return [("", "its files and headers no longer make the archive of this ID")]
    return records.faults


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


class _Recorded:
    """Takes the entries of the archive and says which of them the records describe otherwise."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records = records
        self.faults: list[tuple[str, str]] = []

    def entry(self, entry: Entry) -> None:
        record = next(self._records, None)
        path = entry.path.partition("/")[2]
        link = entry.link_path.partition("/")[2] if entry.type == HARDLINK else entry.linkname
        said = (path, entry.type, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, link)
        if (
            record is None
            or said
            != (
                record.path,
                record.type,
                record.mode,
                record.uid,
                record.gid,
                record.size,
                record.mtime_ns,
                record.linkname,
            )
            or (entry.devmajor, entry.devminor, entry.xattrs) != (record.devmajor, record.devminor, record.xattrs)
        ):
            self.faults.append((f"/{path}", "is not recorded as the archive has it"))


def repair(
    store: ImageStore, image: StoredImage, in_use: Callable[[], Mapping[str, str]], unlock: Unlock | None
) -> None:
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
            fresh = read_again(store, image, staging, unlock)
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
