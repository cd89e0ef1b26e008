"""From an image to the trees that make its root: the closure of its dependencies, in order (ace.md, "Filesystem Setup")."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.store.images import ImageStore, StoredImage


class Rootfs:
    """What an app's root is made of.

    `lowers` are the trees, topmost first, as overlayfs wants them; `image_ids` are all images that have to stay in the
    store while the root is in use. When `overlay` is false the tree (then exactly one) holds things that overlayfs
    would interpret, and `reason` says which: such a root has to be a private copy, made with `copy_rootfs`.
    """

    __slots__ = ("image_ids", "lowers", "overlay", "reason")

    def __init__(
        self, lowers: tuple[str, ...], image_ids: tuple[str, ...], overlay: bool = True, reason: str = ""
    ) -> None:
        self.lowers = lowers
        self.image_ids = image_ids
        self.overlay = overlay
        self.reason = reason


def rootfs_for(store: ImageStore, image: StoredImage) -> Rootfs:
    """Return the trees of `image` and its dependencies, rendered into the store's cache where overlay does not do.

    Notes all of them as used. Raises DependencyError (with the chain of names) when a dependency is missing, is not
    what its dependant asks for, or depends on itself.
    """
    raise NotImplementedError


def copy_rootfs(store: ImageStore, image: StoredImage, target: str) -> None:
    """Render `image` with its dependencies and whitelists into the empty directory `target`, as a copy."""
    raise NotImplementedError
