"""Layers over each other: what each step of a build changes is a layer, kept in the store under a key of what went in.

The key of a layer follows from what the build begins with and from the texts of the steps up to this one.
"""

from __future__ import annotations

import hashlib
import time

from appc.build.failed import StepFailed
from appc.build.overlay import Overlay
from appc.build.times import settle
from appc.store import layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.store.layers import Layer

# Layers made by other rules than today's are not taken.
_VERSION = "1"


class Cache:
    """The layers of the store `root`, as one build uses them; unless `used` it neither takes nor keeps any."""

    def __init__(self, root: str, used: bool) -> None:
        self.root = root
        self.used = used
        self._held: list[Layer] = []

    def find(self, key: str) -> str:
        """Return the layer `key`, which stays until `close`; "" when there is none."""
        kept = layers.find(self.root, key) if self.used else None
        if kept is None:
            return ""
        self._held.append(kept)
        return kept.path

    def put(self, key: str, layer: str) -> str:
        """Keep a new layer, which is moved away; return where it is."""
        if not self.used:
            return layer
        self._held.append(layers.put(self.root, key, layer))
        return self._held[-1].path

    def close(self) -> None:
        """Let go of the layers."""
        self._held.clear()


class Layered:
    """The trees `lowers`, topmost first, which `key` stands for, and above them the `layers` of steps.

    New layers are made in `directory`, on a file system that can hold them. The caller's mount namespace must be
    private.
    """

    def __init__(self, directory: str, lowers: tuple[str, ...], key: str, cache: Cache) -> None:
        self.directory = directory
        self.lowers = lowers
        self.layers: tuple[str, ...] = ()
        self.key = hashlib.sha256(f"{_VERSION}\n{key}".encode()).hexdigest()
        self._cache = cache

    def branch(self, directory: str) -> Layered:
        """The same, to go on with in another way."""
        other = Layered(directory, self.lowers, "", self._cache)
        other.layers, other.key = self.layers, self.key
        return other

    def find(self, text: str) -> bool:
        """Say that the step `text` comes next, with all that it depends on; return whether its layer was kept."""
        self.key = hashlib.sha256(f"{self.key}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()
        kept = self._cache.find(self.key)
        if kept:
            self.layers = (kept, *self.layers)
        return bool(kept)

    def add(self, work: Callable[[str], object]) -> None:
        """Perform the step that `find` did not find: `work` changes the files in the directory it is called with."""
        overlay = Overlay(f"{self.directory}/{len(self.layers)}", (*self.layers, *self.lowers))
        overlay.make_upper()
        began = time.time_ns()
        overlay.mount()
        try:
            work(overlay.root)
        except StepFailed as error:
            error.overlay = overlay
            raise
        finally:
            overlay.unmount()
        settle(overlay.upper, began)
        self.layers = (self._cache.put(self.key, overlay.upper), *self.layers)

    def show(self, name: str, changed: bool = True) -> Overlay:
        """Mount the files, never to be changed, as they are now, or as they were before all steps."""
        overlay = Overlay(f"{self.directory}/{name}", self.lowers)
        overlay.mount_readonly(*(self.layers if changed else ()))
        return overlay
