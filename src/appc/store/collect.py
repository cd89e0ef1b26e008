"""Removing images on request, and what nobody needs any more."""

from __future__ import annotations

import os
import time

from appc.errors import AppcError, ImageNotFound, StoreError
from appc.store import downloads, layers, locks, names, trees
from appc.store.blocks import measure
from appc.store.layout import ID_LENGTH, store_path
from appc.store.staging import Staging, abandoned, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from appc.store.images import ImageStore, StoredImage
    from appc.values import ImageID

# Seconds after which nobody is expected to go on with a download.
_DOWNLOADS_KEPT = 7 * 86400

# Images are locked in batches while it is found out whether pods need them: descriptors are limited.
_BATCH = 200


class Removed:
    """Something `gc` removed or would remove.

    `kind` is "image", "tree", "download", "layer", "build" or "staging"; `size` the bytes on disk that this frees.
    """

    __slots__ = ("kind", "name", "reason", "size")

    def __init__(self, kind: str, name: str, size: int, reason: str) -> None:
        self.kind = kind
        self.name = name
        self.size = size
        self.reason = reason


def remove(store: ImageStore, image: StoredImage, in_use: Callable[[], Mapping[str, str]], force: bool) -> None:
    """See `ImageStore.remove`."""
    with Staging(store.root) as staging, hold_unused(image, dict if force else in_use):
        take_out(store, image, staging)


def hold_unused(image: StoredImage, in_use: Callable[[], Mapping[str, str]]) -> locks.Hold:
    """Hold `image` alone. Raises AppcError when a pod or another process uses it, ImageNotFound when it is gone."""
    where = f"image {image.id.short}"
    held = locks.hold_alone(image.path)
    if held is None:
        if not os.path.isdir(image.path):
            raise ImageNotFound("is not in the store", where)
        raise AppcError("another process is working with it", where, "try again when that has ended")
    user = in_use().get(image.id)
    if user:
        held.close()
        raise AppcError(f"is in use by {user}", where, "remove that first, or use --force")
    return held


def collect(
    store: ImageStore,
    in_use: Callable[[], Mapping[str, str]],
    grace: float | None,
    dry_run: bool,
    pinned: Sequence[StoredImage] = (),
) -> list[Removed]:
    """See `ImageStore.gc`."""
    removed = []
    for path, _ in abandoned(store.root):
        removed.append(Removed("staging", os.path.basename(path), measure(path).freed, "its process died"))
        if not dry_run:
            remove_tree(path)
    for path, changed, _ in downloads.unused(store.root):
        if changed < time.time() - (_DOWNLOADS_KEPT if grace is None else min(grace, _DOWNLOADS_KEPT)):
            removed.append(
                Removed("download", os.path.basename(path), measure(path).freed, "broken off, and not gone on with")
            )
            if not dry_run:
                remove_tree(path)
    before = time.time() - grace if grace is not None else 0.0
    removed += _collect_images(store, in_use, before, dry_run, {image.id for image in pinned})
    gone = {entry.name for entry in removed if entry.kind == "image"}
    present = {str(image.id) for image in store.list()} - gone
    removed += _collect_trees(store, present, in_use, before, dry_run)
    removed += _collect_layers(store, before, dry_run)
    if not dry_run:
        names.sweep(store.root)
        _sweep_sources(store.root, present)
        downloads.sweep(store.root, present)
    return removed


def needed(store: ImageStore, kept: Iterable[StoredImage]) -> set[str]:
    """The IDs of `kept` and of every image in the store that any of them, directly or not, may depend on."""
    found: set[str] = set()
    waiting = list(kept)
    while waiting:
        image = waiting.pop()
        if image.id in found:
            continue
        found.add(image.id)
        try:
            dependencies = image.manifest.dependencies if image.meta["dependencies"] else ()
        except AppcError:
            # It is damaged, and cannot be used before it is repaired or fetched again.
            continue
        for dependency in dependencies:
            waiting += store.matching(dependency.image_name, dependency.labels)
    return found


def _collect_images(
    store: ImageStore, in_use: Callable[[], Mapping[str, str]], before: float, dry_run: bool, pinned: set[ImageID]
) -> list[Removed]:
    images = store.list()
    old = [image for image in images if last_use(image) < before and image.id not in pinned]
    recent = {image.id for image in images} - {image.id for image in old}
    removed = []
    for start in range(0, len(old), _BATCH):
        batch = old[start : start + _BATCH]
        holds = {image.id: held for image in batch if (held := locks.hold_alone(image.path)) is not None}
        try:
            # Asked now that nobody can begin to use these.
            users = in_use()
            kept = needed(store, [image for image in images if image.id in recent or image.id in users])
            for image in batch:
                if image.id in kept or image.id not in holds:
                    continue
                removed.append(
                    Removed("image", image.id, measure(image.path).freed, "not used lately, and nothing needs it")
                )
                if not dry_run:
                    with Staging(store.root) as staging:
                        take_out(store, image, staging)
                        holds[image.id].close()
        finally:
            for held in holds.values():
                held.close()
    return removed


def last_use(image: StoredImage) -> float:
    """When an image was last used, in seconds since 1970; 0 when that is not known."""
    try:
        return image.used / 1e9
    except StoreError:
        return 0.0


def take_out(store: ImageStore, image: StoredImage, staging: Staging) -> None:
    """Make a held image invisible by one rename; it is deleted with `staging`."""
    try:
        name = str(image.name)
    except StoreError:
        name = ""
    os.rename(image.path, f"{staging.path}/image")
    if name:
        names.discard(store.root, name, image.id)
    else:
        names.sweep(store.root)


def _collect_trees(
    store: ImageStore, present: set[str], in_use: Callable[[], Mapping[str, str]], before: float, dry_run: bool
) -> list[Removed]:
    removed = []
    for path, image_ids, used in list(trees.each(store.root)):
        if not image_ids <= present:
            reason = "an image it was made from is gone"
        elif used < before:
            reason = "not used lately"
        else:
            continue
        held = locks.hold_alone(path)
        if held is None:
            continue
        with held:
            # Whoever uses the tree uses all of its images.
            if image_ids <= in_use().keys():
                continue
            removed.append(Removed("tree", os.path.basename(path), measure(path).freed, reason))
            if not dry_run:
                with Staging(store.root) as staging:
                    os.rename(path, f"{staging.path}/tree")
    return removed


def _collect_layers(store: ImageStore, before: float, dry_run: bool) -> list[Removed]:
    removed = []
    for one in list(layers.each(store.root)):
        if one.used >= before or (held := locks.hold_alone(one.path)) is None:
            continue
        held.close()
        size = one.size or measure(one.path).freed
        if dry_run or layers.discard(store.root, one.path):
            removed.append(Removed(one.kind, os.path.basename(one.path), size, "not used lately"))
    return removed


def _sweep_sources(root: str, present: set[str]) -> None:
    """Forget files that were imported as images which are gone."""
    directory = store_path(root, "sources")
    for entry in os.listdir(directory) if os.path.isdir(directory) else ():
        try:
            with open(f"{directory}/{entry}", "rb") as stream:
                image_id = stream.read(1000).decode("ascii", "replace").strip()[-ID_LENGTH:]
            if image_id not in present:
                os.unlink(f"{directory}/{entry}")
        except FileNotFoundError:
            pass  # another collector was quicker
