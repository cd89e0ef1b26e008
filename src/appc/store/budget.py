"""Keeping a store within a budget of disk space: what was not used for the longest time goes first.

Images and rendered trees count, as `store.usage` measures them: files that several of them share are freed by the last.
"""

from __future__ import annotations

import heapq
import os

from appc.errors import AppcError
from appc.quantity import Quantity
from appc.store import locks
from appc.store.collect import Removed, hold_unused, last_use, needed, take_out
from appc.store.staging import Staging
from appc.store.trees import each
from appc.store.usage import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from appc.store.images import ImageStore, StoredImage
    from appc.store.usage import Share

REASON = "unused for the longest time, and more is there than the budget allows"


def limit(text: str, path: str) -> int | None:
    """Return a budget in bytes: "" is none, `20%` a part of the file system of `path`, else it is a size."""
    if not text:
        return None
    if not text.endswith("%"):
        return Quantity.parse(text).value
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return int(found.f_blocks * found.f_frsize * float(text[:-1]) / 100)


class _Item:
    """An image or a rendered tree: `needs` are the IDs of images that it cannot do without."""

    __slots__ = ("image", "name", "needs", "path", "share", "used")

    def __init__(
        self, name: str, path: str, used: float, share: Share, needs: Collection[str], image: StoredImage | None = None
    ) -> None:
        self.name = name
        self.path = path
        self.used = used
        self.share = share
        self.needs = needs
        self.image = image


def collect(
    store: ImageStore,
    in_use: Callable[[], Mapping[str, str]],
    pinned: Iterable[StoredImage],
    budget: int,
    gone: Collection[str],
    dry_run: bool,
) -> list[Removed]:
    """Remove images and trees until they take at most `budget` bytes; return what was (on `dry_run`: would be) removed.

    What a pod uses, or `pinned` names, stays with all it depends on, however much that is. `gone` are names of what
    counts as removed already.
    """
    items = [item for item in _items(store) if item.name not in gone]
    users = in_use()
    images = [item.image for item in items if item.image is not None]
    kept = needed(store, [*pinned, *(image for image in images if image.id in users)])
    removed = []
    for item, size in _chosen(items, kept, users.keys(), budget):
        if dry_run or _take(store, item, in_use):
            kind = "image" if item.image is not None else "tree"
            removed.append(Removed(kind, item.name, size, REASON))
    return removed


def _items(store: ImageStore) -> list[_Item]:
    measured = usage(store)
    used = {path: moment for path, _, moment in each(store.root)}
    items = [
        _Item(image.id, image.path, last_use(image), share, needed(store, [image]) - {image.id}, image)
        for image, share in measured.images
    ]
    return items + [
        _Item(os.path.basename(path), path, used.get(path, 0.0), share, ids) for path, ids, share in measured.trees
    ]


def _chosen(
    items: list[_Item], kept: Collection[str], users: Collection[str], budget: int
) -> Iterable[tuple[_Item, int]]:
    """Yield what is to go, the oldest of what nothing else needs first, with the bytes that each frees."""
    needs: dict[str, int] = {}
    owners: dict[tuple[int, int], int] = {}
    for item in items:
        for image_id in item.needs:
            needs[image_id] = needs.get(image_id, 0) + 1
        for inode in item.share.linked:
            owners[inode] = owners.get(inode, 0) + 1
    sizes = {inode: size for item in items for inode, size in item.share.linked.items()}
    total = sum(item.share.total - sum(item.share.linked.values()) for item in items) + sum(sizes.values())
    by_name = {item.name: item for item in items}
    free = [(item.used, item.name) for item in items if not needs.get(item.name)]
    heapq.heapify(free)
    while free and total > budget:
        item = by_name[heapq.heappop(free)[1]]
        if item.name in kept or (item.image is None and set(item.needs) <= set(users)):
            continue
        freed = item.share.total - sum(item.share.linked.values())
        for inode in item.share.linked:
            owners[inode] -= 1
            freed += 0 if owners[inode] else sizes[inode]
        total -= freed
        yield item, freed
        for image_id in item.needs:
            needs[image_id] -= 1
            if not needs[image_id] and image_id in by_name:
                heapq.heappush(free, (by_name[image_id].used, image_id))


def _take(store: ImageStore, item: _Item, in_use: Callable[[], Mapping[str, str]]) -> bool:
    """Remove it, unless somebody has begun to use it meanwhile."""
    with Staging(store.root) as staging:
        if item.image is not None:
            try:
                with hold_unused(item.image, in_use):
                    take_out(store, item.image, staging)
            except AppcError:
                return False
            return True
        held = locks.hold_alone(item.path)
        if held is None:
            return False
        with held:
            if set(item.needs) <= in_use().keys():
                return False
            os.rename(item.path, f"{staging.path}/tree")
        return True
