"""Whether the trees an app is about to run from are still what was imported."""

from __future__ import annotations

from appc.errors import TamperedImage
from appc.formats.extract import Record
from appc.images.merge import Node, merge
from appc.images.render import passes_of, rootfs_for
from appc.store.compare import differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.store.images import ImageStore, StoredImage


def verify(store: ImageStore, image: StoredImage) -> None:
    """Compare `image`, its dependencies and, where there is one, the tree rendered of them with the records.

    Raises TamperedImage with the first difference; DependencyError.
    """
    root = rootfs_for(store, image)
    for image_id in root.image_ids:
        one = store.get(image_id)
        repair = f"`appc image check --repair {one.id.short}` makes it again if its file was kept"
        _refuse(list(store.verify(one)), f"image {one.id.short} ({one.name})", repair)
    passes = passes_of(store, image)
    if len(root.lowers) == 1 and root.lowers[0] not in [one.image.tree for one in passes]:
        skipped = {what for one in passes for what in one.image.meta["skipped"]}
        owners = all(one.image.meta["owners"] for one in passes)
        found = differences(root.lowers[0], _records(merge(passes), ""), owners, skipped)
        _refuse(found, f"rendered tree of {image.name}", f"remove {root.lowers[0]}; it is made again when it is needed")


def _refuse(found: list[tuple[str, str]], where: str, hint: str) -> None:
    if not found:
        return
    first = " ".join(found[0]).lstrip()
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise TamperedImage(f"is not as it was imported: {first}{more}", where, hint)


def _records(node: Node, path: str) -> Iterator[Record]:
    """What materialising `node` at `path` made."""
    yield Record.of(node.record, path, node.record.sha256)
    for name, child in (node.children or {}).items():
        yield from _records(child, f"{path}/{name}" if path else name)
