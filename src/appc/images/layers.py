"""Layers of overlays, and plain directories, as merged trees: what layers change, without what is below them."""

from __future__ import annotations

import os

from appc.formats.extract import implied
from appc.formats.tar import DIRECTORY, HARDLINK
from appc.formats.tartree import Walk
from appc.images.materialise import materialise
from appc.images.merge import Node, place
from appc.images.snapshot import is_opaque, is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.formats.extract import Record


class _Directory:
    """A directory as a source of contents."""

    __slots__ = ("id", "tree")

    def __init__(self, path: str) -> None:
        self.id = path
        self.tree = path


def merge_layers(layers: Sequence[str], warnings: list[str]) -> Node:
    """Return what the layers, topmost first, come to, without whiteouts; sockets are left out with a warning."""
    root = Node(None, implied(""))
    for layer in reversed(layers):
        directory = _Directory(layer)
        originals: dict[str, Record] = {}
        fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            walk = Walk(fd, layer)
            for record, _ in walk:
                path = record.path
                if record.type == DIRECTORY and path and is_opaque(f"{layer}/{path}"):
                    _remove(root, path)
                if record.type == HARDLINK:
                    record = originals[record.linkname]
                originals[path] = record
                if is_whiteout(record):
                    # Whiteouts are links to each other, too.
                    _remove(root, path)
                    continue
                place(root, path, directory, record, True)
            warnings += walk.warnings
        finally:
            os.close(fd)
    return root


def copy_directory(source: str, target: str, warnings: list[str]) -> None:
    """Copy a root file system into the empty directory `target`: owners, modes, times, links, devices, attributes."""
    warnings += materialise(merge_layers((source,), warnings), target, link=False)


def link_layers(layers: Sequence[str], target: str, warnings: list[str]) -> None:
    """Make what the layers, topmost first, come to in the empty directory `target`, of links to their files."""
    warnings += materialise(merge_layers(layers, warnings), target, link=True)


def hides(layer: str) -> bool:
    """Whether a layer may hide something of what lies below it."""
    fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return any(
            is_whiteout(record) or (record.type == DIRECTORY and record.path and is_opaque(f"{layer}/{record.path}"))
            for record, _ in Walk(fd, layer)
        )
    finally:
        os.close(fd)


def paths(root: str) -> set[str]:
    """Every path in a directory, as a whitelist names them."""
    found: set[str] = set()
    for directory, directories, files in os.walk(root):
        above = directory[len(root) :]
        found.update(f"{above}/{name}" for name in (*directories, *files))
    return found


def _remove(root: Node, path: str) -> None:
    node = root
    directory, _, name = path.rpartition("/")
    for part in directory.split("/") if directory else ():
        below = (node.children or {}).get(part)
        if below is None:
            return
        node = below
    (node.children or {}).pop(name, None)
