"""The images that make one root: dependencies looked up in the store, verified, and put in order (ace.md).

"A → [B, C]" means that B, then C, then A are extracted over each other, each after its own dependencies. An image
that occurs several times counts where it occurs last: extracting it again leaves nothing of the first time, provided
that the same whitelists apply.
"""

from __future__ import annotations

from appc.errors import DependencyError
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.schema.image import Dependency
    from appc.store.images import ImageStore, StoredImage
    from appc.values import Labels

# Whitelists can make the number of passes exponential in the number of images.
MAX_PASSES = 500


class Pass:
    """One image to be extracted; `filters` are the images whose whitelists apply to it, itself and its dependants."""

    __slots__ = ("filters", "image")

    def __init__(self, image: StoredImage, filters: tuple[StoredImage, ...]) -> None:
        self.image = image
        self.filters = filters


def closure(store: ImageStore, image: StoredImage, prefer: Labels | None = None) -> list[Pass]:
    """Return the passes that make the root of `image`, topmost first.

    `prefer` decides between images that match a dependency equally (see `ImageStore.find`). Raises DependencyError
    when one is missing, is not what its dependant asks for, or depends on itself.
    """
    walk = _Walk(store, prefer)
    walk.visit(image, (), ())
    return walk.passes


def closure_of(store: ImageStore, images: Sequence[StoredImage], prefer: Labels | None = None) -> list[Pass]:
    """Return the passes that make the root of an image that depends on `images`, topmost first."""
    walk = _Walk(store, prefer)
    for image in reversed(images):
        walk.visit(image, (), ())
    return walk.passes


def find_all(
    store: ImageStore, dependencies: Sequence[Dependency], where: str, prefer: Labels | None = None
) -> list[StoredImage]:
    """Return the images that `dependencies` mean, in their order. DependencyError says `where` one is missing."""
    walk = _Walk(store, prefer)
    return [walk.find(dependency, where) for dependency in dependencies]


def dependencies(store: ImageStore, image: StoredImage, prefer: Labels | None = None) -> list[StoredImage]:
    """Return the images that `image` itself depends on, in the order of its manifest; see `closure`."""
    walk = _Walk(store, prefer)
    return [walk.find(dependency, _where((image,))) for dependency in image.manifest.dependencies]


class _Walk:
    def __init__(self, store: ImageStore, prefer: Labels | None) -> None:
        self._store = store
        self._prefer = prefer
        self._seen: set[tuple[str, ...]] = set()
        self.passes: list[Pass] = []

    def visit(self, image: StoredImage, chain: tuple[StoredImage, ...], filters: tuple[StoredImage, ...]) -> None:
        """Walk the dependencies backwards, so that the first visit to an image is the one that counts."""
        if any(above.id == image.id for above in chain):
            raise DependencyError("depends on itself", f"image {_shown((*chain, image))}")
        if image.meta["whitelist"] and all(above.id != image.id for above in filters):
            filters = (*filters, image)
        key = (image.id, *sorted(above.id for above in filters))
        if key in self._seen:
            return
        self._seen.add(key)
        self.passes.append(Pass(image, filters))
        if len(self.passes) > MAX_PASSES:
            raise DependencyError(f"its dependencies come to more than {MAX_PASSES} images", str(chain[0].name))
        if image.meta["dependencies"]:
            chain = (*chain, image)
            for dependency in reversed(image.manifest.dependencies):
                self.visit(self.find(dependency, _where(chain)), chain, filters)

    def find(self, dependency: Dependency, where: str) -> StoredImage:
        """The image in the store that `where` depends on. Raises DependencyError."""
        wanted = str(dependency.image_name) + (f",{dependency.labels}" if dependency.labels else "")
        found = self._store.best(self._store.matching(dependency.image_name, dependency.labels), self._prefer)
        if dependency.image_id is not None:
            found = self._by_id(dependency, where)
        if found is None:
            raise DependencyError(
                f"its dependency {wanted} is not in the store", where, f"appc fetch the file of {wanted} first"
            )
        sizes = (found.size, *found.meta["fileSizes"])
        if dependency.size and dependency.size not in sizes:
            raise DependencyError(
                f"its dependency {wanted} should have {dependency.size} bytes, but {found.id.short} has "
                f"{' or '.join(str(size) for size in sorted(set(sizes)))}",
                where,
            )
        return found

    def _by_id(self, dependency: Dependency, where: str) -> StoredImage | None:
        """The image of the ID that the dependency gives, which must also have the name and labels it gives."""
        if not isinstance(dependency.image_id, ImageID):
            raise DependencyError(
                f"its dependency {dependency.image_name} has an ID that is not whole: {dependency.image_id}", where
            )
        found = self._store.lookup(dependency.image_id)
        if found is None:
            return None
        if found.name != dependency.image_name or not dependency.labels.matches(found.labels):
            asked = f"{dependency.image_name},{dependency.labels}".rstrip(",")
            raise DependencyError(
                f"its dependency {asked} is given as {found.id.short}, but that is {found.name},{found.labels}", where
            )
        return found


def _where(chain: tuple[StoredImage, ...]) -> str:
    return f"image {_shown(chain)}"


def _shown(chain: tuple[StoredImage, ...]) -> str:
    return " → ".join(str(image.name) for image in chain)
