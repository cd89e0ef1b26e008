"""Where the bytes of an image are: in which of the images it is made of, in which directories, and who shares them."""

from __future__ import annotations

from appc.errors import AppcError
from appc.images.closure import dependencies
from appc.images.fetch import host_labels
from appc.images.merge import merge
from appc.images.render import passes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.merge import Node
    from appc.store.images import ImageStore, StoredImage


class Part:
    """One of the images that a root is made of.

    `size` is the bytes of its own files; `dependencies` are parts in the order of its manifest; `others` are the names
    of images in the store that need it too and are not among the parts.
    """

    __slots__ = ("dependencies", "image", "others", "size")

    def __init__(self, image: StoredImage) -> None:
        self.image = image
        self.size = int(image.meta["treeSize"])
        self.dependencies: list[Part] = []
        self.others: list[str] = []


class Usage:
    """The parts of an image, itself first, and their bytes.

    `root` is what the files of the rendered root come to, `total` what all parts come to, so the difference is hidden
    by later images or left out by whitelists. `shared` is the bytes of parts that others need. `directories` maps
    the paths of directories to the bytes below them, those with the most first.
    """

    __slots__ = ("directories", "parts", "root", "shared", "total")

    def __init__(self, parts: list[Part], directories: dict[str, int]) -> None:
        self.parts = parts
        self.total = sum(part.size for part in parts)
        self.shared = sum(part.size for part in parts if part.others)
        self.root = directories["/"]
        self.directories = directories


def usage(store: ImageStore, image: StoredImage) -> Usage:
    """Return where the bytes of `image` are. Raises DependencyError."""
    root = merge(passes_of(store, image))  # refuses cycles, so that the walk below ends
    prefer = host_labels()
    parts: dict[str, Part] = {}

    def part_of(one: StoredImage) -> Part:
        known = parts.get(one.id)
        if known is None:
            known = parts[one.id] = Part(one)
            known.dependencies = [part_of(below) for below in dependencies(store, one, prefer)]
        return known

    part_of(image)
    for other in store.list():
        if other.id in parts:
            continue
        for needed in _needs(store, other):
            if needed in parts:
                parts[needed].others.append(str(other.name))
    sizes: dict[str, int] = {}
    _measure(root, "", sizes, set())
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return Usage(list(parts.values()), dict(ordered))


def _needs(store: ImageStore, image: StoredImage) -> set[str]:
    try:
        return {one.image.id for one in passes_of(store, image)}
    except AppcError:
        # What is broken about that one is not the question.
        return set()


def _measure(node: Node, path: str, sizes: dict[str, int], seen: set[tuple[str, str]]) -> int:
    """The bytes at and below `node`, files with several names counted once; enters those of directories."""
    if node.children is None:
        key = (node.image.id if node.image is not None else "", node.record.path)
        if key in seen:
            return 0
        seen.add(key)
        return node.record.size
    total = sum(_measure(child, f"{path}/{name}", sizes, seen) for name, child in node.children.items())
    sizes[path or "/"] = total
    return total
