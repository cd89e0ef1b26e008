"""What the store takes on disk, and whose it is."""

from __future__ import annotations

import os

from appc.store import trees
from appc.store.blocks import Blocks, measure
from appc.store.layout import store_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.store.images import ImageStore, StoredImage


class Share:
    """What one image or rendered tree takes, in bytes of blocks.

    `files` is its root file system, `original` the file that was kept as it came, with its signature, `records` all
    else. Of that, `shared` lies in files that other images or trees have links to, and `unique` is what goes with it.
    """

    __slots__ = ("files", "linked", "original", "records", "shared")

    def __init__(self, files: Blocks, original: int, records: int) -> None:
        self.files = files.total
        self.linked = files.linked  # those with several names, as in Blocks
        self.original = original
        self.records = records
        self.shared = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.files + self.original + self.records

    @property
    def unique(self) -> int:
        """The bytes that nothing else has."""
        return self.total - self.shared


class StoreUsage:
    """What a whole store takes.

    `images` and `trees` (path, IDs of the images it was made from) have a Share each; `other` is the bytes of indexes
    and of work in progress, `total` those of everything, what is shared counted once.
    """

    __slots__ = ("images", "other", "total", "trees")

    def __init__(
        self,
        images: Sequence[tuple[StoredImage, Share]],
        rendered: Sequence[tuple[str, frozenset[str], Share]],
        other: int,
    ) -> None:
        self.images = images
        self.trees = rendered
        self.other = other
        shares = [share for _, share in images] + [share for _, _, share in rendered]
        owners: dict[tuple[int, int], int] = {}
        sizes: dict[tuple[int, int], int] = {}
        for share in shares:
            for inode, size in share.linked.items():
                owners[inode] = owners.get(inode, 0) + 1
                sizes[inode] = size
        for share in shares:
            share.shared = sum(size for inode, size in share.linked.items() if owners[inode] > 1)
        once = sum(size for inode, size in sizes.items() if owners[inode] > 1)
        self.total = other + once + sum(share.unique for share in shares)


def usage(store: ImageStore) -> StoreUsage:
    """Measure the images and rendered trees of `store`; see `Blocks` for how."""
    images = [(image, _image(image.path)) for image in store.list()]
    rendered = [(path, ids, _tree(path)) for path, ids, _ in trees.each(store.root)]
    top = store_path(store.root)
    other = _rest(top, ("images", "trees")) + _itself(f"{top}/images") + _itself(f"{top}/trees")
    return StoreUsage(images, rendered, other)


def _image(path: str) -> Share:
    original = measure(f"{path}/original", f"{path}/original.asc").total
    return Share(measure(f"{path}/rootfs"), original, _rest(path, ("rootfs", "original", "original.asc")))


def _tree(path: str) -> Share:
    return Share(measure(f"{path}/rootfs"), 0, _rest(path, ("rootfs",)))


def _rest(path: str, without: Sequence[str]) -> int:
    """The bytes of a directory itself and of what is in it, but for some names."""
    try:
        names = os.listdir(path)
    except OSError:
        return 0  # it was removed since
    return _itself(path) + measure(*(f"{path}/{name}" for name in names if name not in without)).total


def _itself(path: str) -> int:
    found = Blocks()
    try:
        found.count(os.lstat(path))
    except OSError:
        pass
    return found.total
