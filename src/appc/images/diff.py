"""What is different between two trees, path by path, and between two manifests, field by field."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.formats.tar import BLOCK_DEVICE, CHAR, FILE, SYMLINK
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from appc.formats.extract import Record
    from appc.images.snapshot import Snapshot

ADDED, REMOVED, CHANGED = "added", "removed", "changed"

# What can be left out of the comparison.
ASPECTS = ("mode", "owner", "mtime", "xattr", "link")


class Change:
    """One path that differs; `details` are (what, before, after), and only a changed path has them.

    What is type, content (with the sizes), mode, owner, target, device, link, mtime or an extended attribute's name.
    """

    __slots__ = ("details", "kind", "path")

    def __init__(self, path: str, kind: str, details: list[tuple[str, str, str]] | None = None) -> None:
        self.path = path
        self.kind = kind
        self.details = details or []


def compare(before: Snapshot, after: Snapshot, ignore: Collection[str] = ()) -> list[Change]:
    """Return the paths that differ, in order. `ignore` are of ASPECTS. Raises ArchiveError for unreadable files."""
    changes = []
    for path in sorted(before.entries.keys() | after.entries.keys()):
        if path not in before.entries:
            changes.append(Change(f"/{path}", ADDED))
        elif path not in after.entries:
            changes.append(Change(f"/{path}", REMOVED))
        else:
            details = list(_details(before, after, path, ignore))
            if details:
                changes.append(Change(f"/{path}", CHANGED, details))
    return changes


def _details(before: Snapshot, after: Snapshot, path: str, ignore: Collection[str]) -> Iterator[tuple[str, str, str]]:
    old, new = before.entries[path], after.entries[path]
    if old.type != new.type:
        yield "type", old.type, new.type
        return
    if old.type == FILE and (old.size != new.size or before.sha256(path) != after.sha256(path)):
        yield "content", _bytes(old.size), _bytes(new.size)
    if old.type == SYMLINK:
        if old.linkname != new.linkname:
            yield "target", old.linkname, new.linkname
    elif old.mode != new.mode and "mode" not in ignore:
        yield "mode", f"{old.mode:04o}", f"{new.mode:04o}"
    if (old.uid, old.gid) != (new.uid, new.gid) and "owner" not in ignore:
        yield "owner", f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}"
    if old.type in (CHAR, BLOCK_DEVICE) and _device(old) != _device(new):
        yield "device", _device(old), _device(new)
    if before.links.get(path) != after.links.get(path) and "link" not in ignore:
        yield "link", before.links.get(path, ""), after.links.get(path, "")
    if old.mtime_ns != new.mtime_ns and "mtime" not in ignore:
        yield "mtime", _seconds(old.mtime_ns), _seconds(new.mtime_ns)
    if "xattr" not in ignore:
        for name in sorted(old.xattrs.keys() | new.xattrs.keys()):
            if old.xattrs.get(name) != new.xattrs.get(name):
                yield name, _hex(old.xattrs.get(name)), _hex(new.xattrs.get(name))


def _bytes(size: int) -> str:
    return f"{size} byte{'' if size == 1 else 's'}"


def _device(record: Record) -> str:
    return f"{record.devmajor}:{record.devminor}"


def _seconds(ns: int) -> str:
    seconds, fraction = divmod(ns, 1_000_000_000)
    return f"{seconds}.{fraction:09d}".rstrip("0").rstrip(".")


def _hex(value: bytes | None) -> str:
    return "" if value is None else f"0x{value.hex()}"


def compare_manifests(before: bytes, after: bytes) -> list[tuple[str, str, str]]:
    """Return the fields that differ as (path, before, after): values are JSON, "" for a field that is not there.

    Members of lists that have names are told apart by them: `app.ports[http].port`. Raises ManifestError.
    """
    if not before or not after or before == after:
        return []
    return list(_fields("", _read(before), _read(after)))


_MISSING = object()


def _fields(path: str, old: Any, new: Any) -> Iterator[tuple[str, str, str]]:
    if old == new and type(old) is type(new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{path}.{key}" if path else key
            yield from _fields(below, old.get(key, _MISSING), new.get(key, _MISSING))
        return
    olds, news = _by_name(old), _by_name(new)
    if olds is None or news is None:
        yield path, _shown(old), _shown(new)
        return
    if [name for name in olds if name in news] != [name for name in news if name in olds]:
        yield path, dumps(list(olds)), dumps(list(news))
    for name in [*olds, *(name for name in news if name not in olds)]:
        yield from _fields(f"{path}[{name}]", olds.get(name, _MISSING), news.get(name, _MISSING))


def _by_name(value: Any) -> dict[str, Any] | None:
    """The members of a list by their names; None if they have none, or share some."""
    if value is _MISSING:
        return {}
    if not isinstance(value, list):
        return None
    found: dict[str, Any] = {}
    for item in value:
        name = item.get("name", item.get("imageName")) if isinstance(item, dict) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = item
    return found


def _shown(value: Any) -> str:
    return "" if value is _MISSING else dumps(value)


def _read(data: bytes) -> Any:
    try:
        return loads(data)
    except InvalidValue:
        return {}
