"""What layers over each other come to (layer.md, "Applying Changesets"), worked out before anything is written.

Layers are applied the lowest first, in the order of their entries, to a tree of names in memory. What a name leads to
is known by where its content lies: the number of a layer and the number of an entry in it. Hard links are names
for the same entry, whatever layer they come from. Whiteouts hide what lower layers have, never what their own
layer has, wherever in it they stand.

A parent directory that a layer does not list may be a symbolic link from below, as /bin is on many systems; the entry
then goes where the link leads within the root, as it does in the tools that unpack layers over each other.
"""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats.extract import Record
from appc.formats.limits import DEFAULT, Limits
from appc.formats.tar import DIRECTORY, FILE, HARDLINK, SYMLINK, printable, safe_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from appc.formats.tar import Entry

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
_MAX_HOPS = 40
_ORDINAL_BITS = 32


class Node:
    """A name in the tree.

    `layer` is the layer that placed it. Directories have `children` and, unless no layer lists them, a `record`;
    everything else has the `key` of its entry, symbolic links their text in `link`.
    """

    __slots__ = ("children", "key", "layer", "link", "record")

    def __init__(self, layer: int, children: dict[str, Node] | None, key: int = -1, link: str | None = None) -> None:
        self.layer = layer
        self.children = children
        self.key = key
        self.link = link
        self.record: Record | None = None


def key_of(layer: int, ordinal: int) -> int:
    """The key of an entry: its layer's number and its own in that layer, both from 0."""
    return layer << _ORDINAL_BITS | ordinal


def place_of(key: int) -> tuple[int, int]:
    """The layer and the number of the entry that a key means."""
    return key >> _ORDINAL_BITS, key & (1 << _ORDINAL_BITS) - 1


class Tree:
    """The file system that the layers applied so far make."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.root = Node(-1, {})
        self._limits = limits
        self._layer = -1
        self._where = ""
        self._names = 0
        self._hides = False

    def apply(self, entries: Iterable[Entry], where: str) -> bool:
        """Put the next layer over the tree; return whether it hides anything below it. `where` names the layer."""
        self._layer += 1
        self._where = where
        self._hides = False
        for ordinal, entry in enumerate(entries):
            path = self._safe(entry.name, entry.name)
            directory, _, name = path.rpartition("/")
            if WHITEOUT in path and self._whiteout(path, directory, name, entry):
                continue
            if not path:
                if entry.type != DIRECTORY:
                    raise self._fault("/", f"is a {entry.type} where the root directory belongs")
                self.root.layer = self._layer
                self.root.record = Record.of(entry, "")
            else:
                self._place(directory, name, entry, key_of(self._layer, ordinal))
        return self._hides

    def _safe(self, name: str, shown: str) -> str:
        try:
            return safe_name(name.lstrip("/"), self._limits)
        except ArchiveError as error:
            raise self._fault(shown, error.what) from None

    # -- entries ----------------------------------------------------------------------------------

    def _place(self, directory: str, name: str, entry: Entry, key: int) -> None:
        path = f"{directory}/{name}" if directory else name
        parent = self._parent(directory, path)
        assert parent.children is not None
        before = parent.children.get(name)
        if entry.type == DIRECTORY:
            if before is None or before.children is None:
                before = self._new(Node(self._layer, {}))
                parent.children[name] = before
            before.layer = self._layer
            before.record = Record.of(entry, path)
            return
        if before is not None and before.children is not None and self._own(before):
            raise self._fault(path, f"is a {entry.type}, but an earlier entry of the layer made it a directory")
        if entry.type == HARDLINK:
            target = self._target(path, entry.linkname)
            node = Node(self._layer, None, target.key, target.link)
        else:
            node = Node(self._layer, None, key, entry.linkname if entry.type == SYMLINK else None)
        parent.children[name] = self._new(node)

    def _new(self, node: Node) -> Node:
        self._names += 1
        if self._names > self._limits.entries:
            raise ArchiveError(f"has more than {self._limits.entries} entries in its layers", self._where)
        return node

    def _target(self, path: str, linkname: str) -> Node:
        shown = printable(linkname)
        try:
            target = safe_name(linkname.lstrip("/"), self._limits)
        except ArchiveError as error:
            raise self._fault(path, f"is a hard link to {shown!r}: that {error.what}") from None
        directory, _, name = target.rpartition("/")
        parent = self._walk(directory, make=False, path=path)
        found = parent.children.get(name) if parent is not None and parent.children is not None and name else None
        if found is None:
            raise self._fault(path, f"is a hard link to {shown!r}, which is not there")
        if found.children is not None:
            raise self._fault(path, f"is a hard link to {shown!r}, which is a directory")
        return found

    # -- whiteouts --------------------------------------------------------------------------------

    def _whiteout(self, path: str, directory: str, name: str, entry: Entry) -> bool:
        """Apply a whiteout; False for an ordinary entry. Other names that begin like one are refused."""
        parts = path.split("/")
        if any(part.startswith(_AUFS) and part != OPAQUE for part in parts):
            # Records of the file system that invented whiteouts; every reader passes over them.
            return True
        if any(part.startswith(WHITEOUT) for part in parts[:-1]):
            raise self._fault(path, "lies below the name of a whiteout")
        if not name.startswith(WHITEOUT):
            return False
        hidden = name[len(WHITEOUT) :]
        if entry.type not in (FILE, HARDLINK):
            raise self._fault(path, f"is a whiteout, but a {entry.type}")
        if hidden in ("", ".", ".."):
            raise self._fault(path, "is a whiteout of nothing that has a name")
        self._hides = True
        parent = self._walk(directory, make=False, path=path)
        if parent is None or parent.children is None:
            return True
        if name == OPAQUE:
            self._clear(parent)
        elif hidden in parent.children and not self._remove(parent.children[hidden]):
            del parent.children[hidden]
        return True

    def _remove(self, node: Node) -> bool:
        """Take away `node` as lower layers have it; whether anything of this layer is left of it."""
        left = node.children is not None and self._clear(node)
        if left and not self._own(node):
            # The directory itself went; what this layer has in it brings it back, plain.
            node.record = None
            node.layer = self._layer
        return left or self._own(node)

    def _clear(self, directory: Node) -> bool:
        """Take away what lower layers put into a directory; whether anything is left in it."""
        # Not recursive: how deep a tree is, a stranger decided. The deepest directories come last.
        pending = [directory]
        order: list[tuple[Node, str, Node]] = []
        while pending:
            node = pending.pop()
            assert node.children is not None
            for name, child in list(node.children.items()):
                if child.children is not None:
                    order.append((node, name, child))
                    pending.append(child)
                elif not self._own(child):
                    del node.children[name]
        for above, name, node in reversed(order):
            assert above.children is not None
            if not node.children and not self._own(node):
                del above.children[name]
            elif not self._own(node):
                node.record = None
                node.layer = self._layer
        return bool(directory.children)

    def _own(self, node: Node) -> bool:
        return node.layer == self._layer

    # -- walking ----------------------------------------------------------------------------------

    def _parent(self, directory: str, path: str) -> Node:
        node = self._walk(directory, make=True, path=path)
        assert node is not None
        return node

    def _walk(self, directory: str, make: bool, path: str) -> Node | None:
        """The directory of that name, through symbolic links within the root.

        With `make` directories that are missing, or that a lower layer has as files, are made.
        """
        if not directory:
            return self.root
        node = self.root
        trail = [node]
        parts = directory.split("/")[::-1]
        hops = 0
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if len(trail) > 1:
                    trail.pop()
                node = trail[-1]
                continue
            children = node.children
            assert children is not None
            child = children.get(part)
            if child is not None and child.link is not None:
                hops += 1
                if hops > _MAX_HOPS:
                    raise self._fault(path, "lies below a symbolic link that leads through too many others")
                if child.link.startswith("/"):
                    trail = [self.root]
                    node = self.root
                parts += child.link.split("/")[::-1]
                if len(parts) > self._limits.depth * 2:
                    raise self._fault(path, "lies below symbolic links that come to too long a path")
                continue
            if child is None or child.children is None:
                if not make:
                    return None
                if child is not None and self._own(child):
                    raise self._fault(path, f"lies below {printable(part)!r}, which the layer has as a file")
                child = children[part] = self._new(Node(self._layer, {}))
            node = child
            trail.append(node)
        return node

    def files(self, layer: int = -1) -> Iterator[tuple[str, Node]]:
        """(path, node) of all names, parents first, in byte order; of one layer only if `layer` is given."""
        stack: list[tuple[str, Node]] = [("", self.root)]
        while stack:
            path, node = stack.pop()
            if layer in (-1, node.layer):
                yield path, node
            if node.children:
                above = f"{path}/" if path else ""
                names = sorted(node.children, key=_bytes, reverse=True)
                stack += [(above + name, node.children[name]) for name in names]

    def _fault(self, path: str, what: str) -> ArchiveError:
        return ArchiveError(what, f"{self._where}: {printable(path)}")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
