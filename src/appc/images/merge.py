"""What images extracted over each other come to, worked out from their records before a file is touched (ace.md).

A path that comes later replaces an earlier one of any type. Directories alone are merged: they keep what is in them and
take the later owner, mode and attributes. A symbolic link where a directory is needed is replaced, never followed.
"""

from __future__ import annotations

import posixpath

from appc.errors import StoreError
from appc.formats.extract import implied
from appc.formats.tar import DIRECTORY, HARDLINK
from appc.store.records import read_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from appc.formats.extract import Record
    from appc.images.closure import Pass
    from appc.store.images import StoredImage

    class Tree(Protocol):
        """Where contents are: an image of the store, or another directory."""

        @property
        def id(self) -> str: ...
        @property
        def tree(self) -> str: ...


class Node:
    """A path of the merged tree: the record that describes it, and the image its content is in.

    `record.path` is where in that image's tree it lies; hard links are resolved to what they link to, so nodes
    of the same image and path are links to each other. `children` is None but for directories. The image
    is None for directories that no image has an entry for. `wanted` is false for directories that are only there
    because something whitelisted could lie below them.
    """

    __slots__ = ("children", "image", "record", "wanted")

    def __init__(self, image: Tree | None, record: Record, wanted: bool = False) -> None:
        self.image = image
        self.record = record
        self.wanted = wanted
        self.children: dict[str, Node] | None = {} if record.type == DIRECTORY else None


def merge(passes: Sequence[Pass]) -> Node:
    """Return the root of what `passes` (topmost first) come to."""
    root = Node(None, implied(""))
    for one in reversed(passes):
        filters = [_allowed(image) for image in one.filters]
        originals: dict[str, Record] = {}
        for record in read_records(f"{one.image.path}/entries"):
            path = record.path
            if record.type == HARDLINK:
                if record.linkname not in originals:
                    raise StoreError(f"/{path} links to what is not there", f"{one.image.path}/entries")
                record = originals[record.linkname]
            originals[path] = record
            wanted = all(allowed.get(path, False) for allowed in filters)
            if wanted or (record.type == DIRECTORY and all(path in allowed for allowed in filters)):
                place(root, path, one.image, record, wanted)
    if any(one.filters for one in passes):
        _prune(root)
    return root


def _prune(node: Node) -> None:
    """Remove directories below `node` that nobody wanted and that hold nothing."""
    children = node.children or {}
    for name, child in list(children.items()):
        if child.children is not None:
            _prune(child)
            if not child.children and not child.wanted:
                del children[name]


def _allowed(image: StoredImage) -> dict[str, bool]:
    """The paths in an image's whitelist, and with False the directories above them.

    Paths are matched whole: a directory in the list does not bring what is in it (aci.md, pathWhitelist).
    """
    allowed: dict[str, bool] = {"": False}
    for listed in image.manifest.path_whitelist:
        path = posixpath.normpath("/" + listed).strip("/")
        allowed[path] = True
        while path:
            path = path.rpartition("/")[0]
            allowed.setdefault(path, False)
    return allowed


def place(root: Node, path: str, image: Tree, record: Record, wanted: bool) -> None:
    """Put a record into the tree, over whatever is there."""
    if not path:
        root.image, root.record = image, record
        return
    parent = root
    directory, _, name = path.rpartition("/")
    above = ""
    for part in directory.split("/") if directory else ():
        above = f"{above}/{part}" if above else part
        assert parent.children is not None
        below = parent.children.get(part)
        if below is None or below.children is None:
            below = parent.children[part] = Node(None, implied(above))
        parent = below
    assert parent.children is not None
    there = parent.children.get(name)
    if there is not None and there.children is not None and record.type == DIRECTORY:
        there.image, there.record = image, record
        there.wanted = there.wanted or wanted
    else:
        parent.children[name] = Node(image, record, wanted)
