"""Fetching what an image depends on, and what that depends on, several at once."""

from __future__ import annotations

from appc.errors import AppcError, DependencyError
from appc.images.closure import MAX_PASSES
from appc.values import ACIdentifier, ImageID, ImageReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.fetch import Wish
    from appc.images.remote import Remote
    from appc.schema.image import Dependency
    from appc.store.images import ImageStore, StoredImage

AT_ONCE = 4  # transfers; more would only share the same line


def complete(store: ImageStore, image: StoredImage, wish: Wish, *, needed: bool = True) -> None:
    """Fetch what is missing in the store of all that `image` depends on.

    Each image has to have the name, labels, ID and size that its dependant gives. Raises DependencyError; where they
    are not `needed` yet, or the network is not to be used, that becomes a warning of `wish`.
    """
    try:
        _complete(store, image, wish)
    except DependencyError as error:
        if needed and wish.network is not None and not wish.network().offline:
            raise
        wish.warnings.append(str(error))


def _complete(store: ImageStore, image: StoredImage, wish: Wish) -> None:
    seen = {image.id}
    level = [image]
    remote: Remote | None = None
    while level:
        missing: dict[str, tuple[StoredImage, Dependency]] = {}
        below: list[StoredImage] = []
        for dependant in level:
            for dependency in dependant.manifest.dependencies if dependant.meta["dependencies"] else ():
                found = _stored(store, dependency)
                if found:
                    below += found
                else:
                    missing.setdefault(f"{_wanted(dependency)} {dependency.image_id}", (dependant, dependency))
        if missing:
            remote = remote or wish.remote(store)
            below += _fetch(remote, list(missing.values()))
        level = []
        for found_one in below:
            if found_one.id not in seen:
                seen.add(found_one.id)
                level.append(found_one)
        if len(seen) > MAX_PASSES:
            raise DependencyError(f"its dependencies come to more than {MAX_PASSES} images", str(image.name))


def _stored(store: ImageStore, dependency: Dependency) -> list[StoredImage]:
    if isinstance(dependency.image_id, ImageID):
        found = store.lookup(dependency.image_id)
        return [found] if found is not None else []
    return list(store.matching(dependency.image_name, dependency.labels))


def _fetch(remote: Remote, wanted: list[tuple[StoredImage, Dependency]]) -> list[StoredImage]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE, "appc-fetch") as pool:
        waiting = [pool.submit(_fetch_one, remote, *one) for one in wanted]
        try:
            return [one.result() for one in waiting]
        finally:
            for one in waiting:
                one.cancel()


def _fetch_one(remote: Remote, dependant: StoredImage, dependency: Dependency) -> StoredImage:
    image_id = str(dependency.image_id) if isinstance(dependency.image_id, ImageID) else ""
    try:
        return remote.by_name(_wanted(dependency), size=dependency.size, image_id=image_id)
    except AppcError as error:
        refusal = DependencyError(
            f"its dependency {_wanted(dependency)} cannot be had: {error}", f"image {dependant.name}", error.hint
        )
        refusal.exit_status = error.exit_status
        raise refusal from error


def _wanted(dependency: Dependency) -> ImageReference:
    return ImageReference(ACIdentifier(dependency.image_name), dependency.labels)
