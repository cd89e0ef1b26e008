"""The layer that does to others what path whitelists do: it deletes what they leave out, and puts back what they show.

Images become one layer each, whole, so that they can be had back. Over each other those layers hold more than the
rendered image where whitelists apply; the difference is this layer.
"""

from __future__ import annotations

import os

from appc.errors import StoreError
from appc.formats.extract import Record
from appc.formats.layertree import WHITEOUT
from appc.formats.tar import FILE, HARDLINK
from appc.formats.tartree import content
from appc.formats.tarwrite import Writer
from appc.images.merge import Node, merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from appc.formats.compress import Sink
    from appc.images.closure import Pass

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def adjustment(stacked: Sequence[Pass], rendered: Sequence[Pass]) -> Callable[[Sink], None] | None:
    """Return what writes the layer that turns `stacked` into `rendered` (both topmost first); None if equal."""
    changes = list(_differences(merge(stacked), merge(rendered)))
    return (lambda out: _write(changes, out)) if changes else None


def _differences(stacked: Node, rendered: Node) -> Iterator[tuple[str, Node | None]]:
    """(path, node that belongs there, None if nothing does) wherever the two trees differ, parents first."""
    pending: list[tuple[str, Node | None, Node]] = [("", stacked, rendered)]
    while pending:
        path, below, node = pending.pop()
        if below is None or not _same(below, node):
            yield path, node
        if node.children is None:
            continue
        old = below.children if below is not None and below.children is not None else {}
        above = f"{path}/" if path else ""
        for name in sorted(old.keys() - node.children.keys()):
            yield above + name, None
        pending += [(above + name, old.get(name), node.children[name]) for name in sorted(node.children, reverse=True)]


def _same(one: Node, other: Node) -> bool:
    if one.image is None or other.image is None:
        return one.image is other.image
    return one.image.id == other.image.id and one.record.path == other.record.path


def _write(changes: list[tuple[str, Node | None]], out: Sink) -> None:
    writer = Writer(out)
    written: dict[tuple[str, str], str] = {}
    for path, node in changes:
        directory, _, name = path.rpartition("/")
        if node is None:
            hidden = f"{directory}/{WHITEOUT}{name}" if directory else f"{WHITEOUT}{name}"
            writer.add(hidden, Record(hidden, FILE, mode=0o644, uid=0, gid=0))
            continue
        record = node.record
        key = (node.image.id if node.image else "", record.path)
        if record.type == FILE and key in written:
            link = Record(path, HARDLINK, mode=record.mode, uid=record.uid, gid=record.gid, mtime_ns=record.mtime_ns)
            link.linkname = written[key]
            writer.add(path, link)
        elif record.type == FILE:
            written[key] = path
            fd = _open(node)
            try:
                writer.add(path, record, content(fd, record.size))
            finally:
                os.close(fd)
        else:
            writer.add(path or "./", record)
    writer.close()


def _open(node: Node) -> int:
    """Open the file of a node in its image's tree, through nothing but directories."""
    assert node.image is not None
    try:
        fd = os.open(node.image.tree, _OPEN_DIR)
        parts = [os.fsencode(part) for part in node.record.path.split("/")]
        for part in parts[:-1]:
            above, fd = fd, os.open(part, _OPEN_DIR, dir_fd=fd)
            os.close(above)
        above, fd = fd, os.open(parts[-1], _OPEN_FILE, dir_fd=fd)
        os.close(above)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", f"{node.image.tree}/{node.record.path}") from None
    return fd
