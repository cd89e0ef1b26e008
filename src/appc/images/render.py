"""From an image to the trees that make its root: the closure of its dependencies, in order.

ace.md, "Filesystem Setup", extracts images over each other into one directory. Here their trees lie over each other
as overlay lowers, which comes to the same and costs nothing, unless an image
  - has a whitelist, which leaves things out of itself and of everything below it;
  - has files in directories it has no entry for, and other images lie below it: those directories keep
    the owner and mode from below, while an overlay would show the ones that extraction had to make up;
  - holds what overlayfs takes for its own (then there can be no overlay at all, only a copy).
Such a root is rendered once into the store's cache of trees.
"""

from __future__ import annotations

import os

from appc.errors import UsageError
from appc.store import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.images.closure import Pass
    from appc.store.images import ImageStore, StoredImage

# Overlayfs takes 500 layers; long before that one tree is quicker.
MOST_LOWERS = 100


class Rootfs:
    """What an app's root is made of.

    `lowers` are the trees, topmost first, as overlayfs wants them; `image_ids` are all images that have to stay in the
    store while the root is in use. When `overlay` is false the tree (then exactly one) holds things that overlayfs
    would interpret, and `reason` says which: such a root has to be a private copy, made with `copy_rootfs`.
    As long as this object exists none of it can be removed; whoever uses the root longer names the images in a pod.
    """

    __slots__ = ("_holds", "image_ids", "lowers", "overlay", "reason")

    def __init__(
        self, lowers: tuple[str, ...], image_ids: tuple[str, ...], reason: str, holds: tuple[locks.Hold, ...]
    ) -> None:
        self.lowers = lowers
        self.image_ids = image_ids
        self.overlay = not reason
        self.reason = reason
        self._holds = holds


def rootfs_for(store: ImageStore, image: StoredImage) -> Rootfs:
    """Return the trees of `image` and its dependencies, rendered into the store's cache where overlay does not do.

    Notes all of them as used. Raises DependencyError (with the chain of names) when a dependency is missing, is not
    what its dependant asks for, or depends on itself.
    """
    if not image.meta["dependencies"] and not image.meta["whitelist"]:
        held = store.hold(image)
        store.touch(image)
        return Rootfs((image.tree,), (image.id,), image.meta["special"], (held,))
    return _rootfs(store, passes_of(store, image))


def rootfs_of(store: ImageStore, images: Sequence[StoredImage]) -> Rootfs:
    """Return the trees of an image that depends on `images`, of which there is at least one; see `rootfs_for`."""
    from appc.images.closure import closure_of
    from appc.images.fetch import host_labels

    return _rootfs(store, closure_of(store, images, host_labels()))


def copy_of(store: ImageStore, images: Sequence[StoredImage], target: str) -> Sequence[str]:
    """Render what `rootfs_of` describes into the empty directory `target`, as a copy; see `copy_rootfs`."""
    from appc.images.closure import closure_of
    from appc.images.fetch import host_labels

    return _copy(store, closure_of(store, images, host_labels()), target)


def _rootfs(store: ImageStore, passes: list[Pass]) -> Rootfs:
    images = list({one.image.id: one.image for one in passes}.values())
    holds = tuple(store.hold(one) for one in images)
    for one in images:
        store.touch(one)
    ids = tuple(one.id for one in images)
    reason = next((one.meta["special"] for one in images if one.meta["special"]), "")
    if not reason and _stackable(passes):
        return Rootfs(tuple(one.image.tree for one in passes), ids, "", holds)
    from appc.store import trees

    key = _key(passes)
    while True:
        tree = trees.find(store.root, key) or trees.make(store.root, key, ids, lambda path: _render(passes, path))
        held_tree = locks.hold(os.path.dirname(tree))
        if held_tree is not None:
            return Rootfs((tree,), ids, reason, (*holds, held_tree))
        # A collector was quicker: make it again.


def copy_rootfs(store: ImageStore, image: StoredImage, target: str) -> Sequence[str]:
    """Render `image` with its dependencies and whitelists into the empty directory `target`, as a copy.

    Returns what could not be kept, a sentence each (without root: owners and device nodes).
    """
    if os.listdir(target):
        raise UsageError("is not empty", target)
    return _copy(store, passes_of(store, image), target)


def _copy(store: ImageStore, passes: list[Pass], target: str) -> Sequence[str]:
    from appc.images.materialise import materialise
    from appc.images.merge import merge

    holds = [store.hold(one.image) for one in passes]
    try:
        return materialise(merge(passes), target, link=False)
    finally:
        for held in holds:
            held.close()


def passes_of(store: ImageStore, image: StoredImage) -> list[Pass]:
    """Return what is extracted to make the root of `image` on this host, topmost first; see `closure`."""
    from appc.images.closure import closure
    from appc.images.fetch import host_labels

    return closure(store, image, host_labels())


def _stackable(passes: list[Pass]) -> bool:
    return (
        len(passes) <= MOST_LOWERS
        and not any(one.filters for one in passes)
        and not any(one.image.meta["implied"] for one in passes[:-1])
    )


def _render(passes: list[Pass], target: str) -> None:
    from appc.images.materialise import materialise
    from appc.images.merge import merge

    materialise(merge(passes), target, link=True)


def _key(passes: list[Pass]) -> str:
    """What the tree depends on, in short: images in their order, each with the images whose whitelists apply."""
    from hashlib import sha256

    lines = ["2"] + [" ".join((one.image.id, *sorted(above.id for above in one.filters))) for one in passes]
    return sha256("\n".join(lines).encode()).hexdigest()
