"""From layers to an ACI: one image of all of them, or one of each.

Two passes over the layers. The first checks every digest and works out what is visible (`layertree`); only the second
writes, so that nothing is written of an image that turns out to be wrong, and every file is written once.
"""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats.aci import MANIFEST, ROOTFS
from appc.formats.extract import Record, implied
from appc.formats.layer import LayerReader
from appc.formats.layertree import Tree, key_of, place_of
from appc.formats.limits import DEFAULT, Limits
from appc.formats.tar import FILE, HARDLINK, SYMLINK
from appc.formats.tarwrite import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from appc.formats.compress import Sink
    from appc.formats.layertree import Node
    from appc.formats.oci_image import SourceImage
    from appc.formats.tar import Entry

# docker2aci adds these, for programs that log to them; the targets are those of OS-SPEC.md.
DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stderr", "/dev/console"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/dev/console"),
)


class Selection:
    """What of which layer goes into one ACI.

    `directories` are complete; `files` says for each layer which entries (by number) go under which paths, the
    first of which gets the content and the others are links to it.
    """

    __slots__ = ("diff_id", "directories", "files", "links", "whitelist")

    def __init__(self) -> None:
        self.directories: list[Record] = []
        self.files: dict[int, dict[int, list[str]]] = {}
        self.links: list[tuple[str, str]] = []
        self.whitelist: tuple[str, ...] = ()
        self.diff_id = ""

    def add(self, path: str, node: Node) -> None:
        """Take in one name of the tree."""
        if node.children is not None:
            record = node.record
            if record is None or record.path != path:
                record = _directory(path, record)
            self.directories.append(record)
            return
        layer, ordinal = place_of(node.key)
        self.files.setdefault(layer, {}).setdefault(ordinal, []).append(path)


class Plan:
    """What reading all layers showed: the ACIs to make, the lowest first, and the image's account files by path."""

    __slots__ = ("accounts", "selections")

    def __init__(self, selections: list[Selection], accounts: dict[str, bytes]) -> None:
        self.selections = selections
        self.accounts = accounts


def plan(image: SourceImage, layered: bool, limits: Limits = DEFAULT) -> Plan:
    """Read all layers of `image` once and work out one ACI, or with `layered` one for each layer.

    Raises ArchiveError for any layer that is not what its digests say, or does not fit those below it.
    """
    tree = Tree(limits)
    accounts = _Accounts()
    found: list[Selection] = []
    for number, layer in enumerate(image.layers, 1):
        with LayerReader(image.blobs, layer, number, limits) as reader:
            hides = tree.apply(accounts.watch(reader.entries, number - 1), reader.where)
            diff_id = reader.finish()
        if layered:
            selection = _of_layer(tree, number - 1)
            selection.diff_id = diff_id
            if hides:
                selection.whitelist = tuple(f"/{path}" for path, _ in tree.files())
            found.append(selection)
    if not layered or not found:
        selection = Selection()
        for path, node in tree.files():
            selection.add(path, node)
        found.append(selection)
    _add_device_links(tree, found[-1])
    return Plan(found, accounts.found(tree))


def _of_layer(tree: Tree, layer: int) -> Selection:
    """What one layer placed, and the directories above it: an image that omits those could not just lie on others."""
    above: set[str] = set()
    for path, _ in tree.files(layer):
        while path and (path := path.rpartition("/")[0]) not in above:
            above.add(path)
    selection = Selection()
    for path, node in tree.files():
        if node.layer == layer or path in above:
            selection.add(path, node)
    return selection


class _Accounts:
    """Keeps the files that say which groups users are in."""

    PATHS = ("etc/passwd", "etc/group")
    LIMIT = 4 << 20

    def __init__(self) -> None:
        self._kept: dict[int, bytes] = {}

    def watch(self, entries: Iterable[Entry], layer: int) -> Iterator[Entry]:
        """Pass entries on, after keeping the content of those that matter."""
        for ordinal, entry in enumerate(entries):
            if entry.type == FILE and entry.size <= self.LIMIT and entry.name.lstrip("./") in self.PATHS:
                self._kept[key_of(layer, ordinal)] = entry.read(self.LIMIT)
            yield entry

    def found(self, tree: Tree) -> dict[str, bytes]:
        """The ones that count in the end."""
        etc = tree.root.children.get("etc") if tree.root.children else None
        names = etc.children if etc is not None and etc.children is not None else {}
        kept = {f"etc/{name}": self._kept.get(node.key) for name, node in names.items()}
        return {path: data for path, data in kept.items() if path in self.PATHS and data is not None}


def _add_device_links(tree: Tree, selection: Selection) -> None:
    assert tree.root.children is not None
    dev = tree.root.children.get("dev")
    if dev is not None and dev.children is None:
        return
    if all(record.path != "dev" for record in selection.directories):
        selection.directories.append(_directory("dev", dev.record if dev else None))
    there = dev.children if dev is not None and dev.children is not None else {}
    selection.links = [(f"dev/{name}", target) for name, target in DEVICE_LINKS if name not in there]
    if selection.whitelist:
        listed = {*selection.whitelist, "/dev", *(f"/{path}" for path, _ in selection.links)}
        selection.whitelist = tuple(sorted(listed))


def _directory(path: str, like: Record | None) -> Record:
    """A directory that no layer lists (then root's, 0755, of the epoch), or one listed under another name."""
    if like is None:
        return implied(path)
    return Record.of(like, path)


def write_aci(image: SourceImage, selection: Selection, manifest: bytes, out: Sink, limits: Limits = DEFAULT) -> None:
    """Write the uncompressed ACI of a `selection` of the layers of `image` to `out`.

    The manifest comes first, then all directories, parents before what is in them, then files in the order of the
    layers. Raises ArchiveError when a layer is no longer what it was; what was written is then of no use.
    """
    writer = Writer(out)
    record = Record(MANIFEST, FILE, mode=0o644, uid=0, gid=0, size=len(manifest))
    writer.add(MANIFEST, record, (manifest,))
    directories = {one.path: one for one in selection.directories}
    directories.setdefault("", _directory("", None))
    for path in sorted(directories, key=_components):
        writer.add(_inside(path), directories[path])
    for path, target in selection.links:
        writer.add(_inside(path), Record(path, SYMLINK, mode=0o777, uid=0, gid=0, linkname=target))
    for layer in sorted(selection.files):
        _write_files(image, layer, selection.files[layer], writer, limits)
    writer.close()


def _write_files(image: SourceImage, layer: int, wanted: dict[int, list[str]], writer: Writer, limits: Limits) -> None:
    left = len(wanted)
    with LayerReader(image.blobs, image.layers[layer], layer + 1, limits) as reader:
        for ordinal, entry in enumerate(reader.entries):
            paths = wanted.get(ordinal)
            if paths is None:
                continue
            left -= 1
            writer.add(_inside(paths[0]), Record.of(entry, paths[0]), entry.chunks())
            for path in paths[1:]:
                link = Record.of(entry, path)
                link.type, link.size, link.linkname, link.xattrs = HARDLINK, 0, _inside(paths[0]), {}
                writer.add(_inside(path), link)
        reader.finish()
    if left:
        raise ArchiveError("changed while it was read", f"{image.blobs.where}: layer {layer + 1}")


def _inside(path: str) -> str:
    return f"{ROOTFS}/{path}" if path else ROOTFS


def _components(path: str) -> list[bytes]:
    return path.encode("utf-8", "surrogateescape").split(b"/") if path else []
