"""What the steps of builds made, kept so that an unchanged step is not performed again; and builds that failed.

    <root>/store/layers/<key>/{diff/, size, used}     an overlay's layer; the key says all that went into it
    <root>/store/builds/<name>/                       the tree of a step that failed, to be looked at

Whoever uses one of them holds a flock on its directory. Both go when they were not used for a while; of the layers
the ones not used for longest go when all together they are over a limit.
"""

from __future__ import annotations

import os

from appc.store import locks
from appc.store.blocks import measure
from appc.store.layout import make_directory, store_path
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Layer:
    """A layer in the store, which stays as long as this object exists: `path` is the overlay's layer."""

    __slots__ = ("_hold", "path")

    def __init__(self, path: str, hold: locks.Hold) -> None:
        self.path = path
        self._hold = hold


class Kept:
    """Something that can go: its `kind` (layer, build), directory, size in bytes (0: not known) and last use (s)."""

    __slots__ = ("kind", "path", "size", "used")

    def __init__(self, kind: str, path: str, size: int, used: float) -> None:
        self.kind = kind
        self.path = path
        self.size = size
        self.used = used


def find(root: str, key: str) -> Layer | None:
    """Return the layer `key`, noting that it is used; None when it is not there."""
    path = store_path(root, "layers", key)
    held = locks.hold(path)
    if held is None:
        return None
    os.utime(f"{path}/used")
    return Layer(f"{path}/diff", held)


def put(root: str, key: str, diff: str) -> Layer:
    """Make the directory `diff`, which is moved away, the layer `key`; one that is there already is kept instead."""
    from appc.store.durable import flush_tree

    final = f"{make_directory(store_path(root, 'layers'))}/{key}"
    while True:
        with Staging(root) as staging:
            path = f"{staging.path}/layer"
            os.mkdir(path, 0o700)
            if os.path.isdir(diff):
                os.rename(diff, f"{path}/diff")
                for name, text in (("size", f"{measure(path).total}\n"), ("used", "")):
                    with open(f"{path}/{name}", "x", encoding="ascii") as stream:
                        stream.write(text)
                flush_tree(staging.path)
                try:
                    os.rename(path, final)
                except OSError:
                    if not os.path.isdir(final):
                        raise
                    # Somebody else has just made it; ours waits in case it goes again at once.
                    os.rename(f"{path}/diff", diff)
        found = find(root, key)
        if found is not None:
            return found


def trim(root: str, limit: int) -> None:
    """Remove the layers that were not used for longest until all have at most `limit` bytes; used ones stay."""
    every = sorted(_layers(root), key=lambda one: one.used)
    total = sum(one.size for one in every)
    for one in every:
        if total <= limit:
            return
        if discard(root, one.path):
            total -= one.size


def discard(root: str, path: str) -> bool:
    """Remove a layer or failed build, unless somebody uses it."""
    held = locks.hold_alone(path)
    if held is None:
        return False
    with held, Staging(root) as staging:
        os.rename(path, f"{staging.path}/gone")
    return True


def keep_build(root: str, name: str, directory: str) -> str:
    """Move a directory of the store to the failed builds as `name`, or a name that is free; return its path."""
    parent = make_directory(store_path(root, "builds"))
    path = f"{parent}/{name}"
    discard(root, path)
    if os.path.lexists(path):
        path = f"{parent}/{os.urandom(4).hex()}"
    os.rename(directory, path)
    return path


def builds(root: str) -> list[str]:
    """The names of the failed builds, the latest last."""
    top = store_path(root, "builds")
    return sorted(os.listdir(top) if os.path.isdir(top) else (), key=lambda name: _used(f"{top}/{name}"))


def each(root: str) -> Iterator[Kept]:
    """Yield every layer and failed build."""
    yield from _layers(root)
    top = store_path(root, "builds")
    for name in builds(root):
        yield Kept("build", f"{top}/{name}", 0, _used(f"{top}/{name}"))


def _layers(root: str) -> Iterator[Kept]:
    top = store_path(root, "layers")
    for key in sorted(os.listdir(top)) if os.path.isdir(top) else ():
        try:
            with open(f"{top}/{key}/size", encoding="ascii") as stream:
                size = int(stream.read())
            yield Kept("layer", f"{top}/{key}", size, _used(f"{top}/{key}/used"))
        except FileNotFoundError:
            continue


def _used(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0
