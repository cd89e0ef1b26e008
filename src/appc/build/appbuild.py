"""Performing a build file: each step that changes files makes a layer, which is kept for as long as nothing changes.

What a layer depends on is its key: the base, by ID, and then step by step the text of the step with what it reads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time

from appc.build.appfile import THIN
from appc.build.appsteps import StepFailed, command, inputs, perform
from appc.build.manifest import NO_APP
from appc.build.overlay import Overlay, like
from appc.build.times import settle
from appc.errors import AppcError, HostError, ManifestError
from appc.images.layers import hides, link_layers, paths
from appc.schema.image import App, ImageManifest
from appc.schema.json import dumps, loads
from appc.store import layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from appc.build.appfile import Appfile, Step
    from appc.build.appsteps import Run
    from appc.build.dockercopy import Source
    from appc.store.layers import Layer

# Layers made by other rules than today's are not taken.
_VERSION = "1"


class Base:
    """What a build begins with: the trees, topmost first, what they are in short, and the images as dependencies."""

    def __init__(self, lowers: tuple[str, ...], key: str, dependencies: Sequence[dict[str, Any]]) -> None:
        self.lowers = lowers
        self.key = key
        self.dependencies = dependencies


class Builder:
    """One build of `file` in `directory`, which is its own, lies in the store `root` and can hold an overlay's layers.

    `run` runs the command of a step; `say` is told each step; unless `cached` every step is performed. The caller's
    mount namespace must be private.
    """

    def __init__(
        self,
        file: Appfile,
        base: Base,
        context: Source,
        directory: str,
        *,
        root: str,
        run: Run,
        say: Callable[[str], None],
        cached: bool,
        warnings: list[str],
    ) -> None:
        self._file = file
        self._base = base
        self._context = context
        self._directory = directory
        self._root = root
        self._run = run
        self._say = say
        self._cached = cached
        self._warnings = warnings
        self._layers: list[str] = []
        self._held: list[Layer] = []
        self._mounted: list[Overlay] = []
        self._key = hashlib.sha256(f"{_VERSION}\n{base.key}".encode()).hexdigest()

    def build(self, manifest: bytes) -> tuple[str, bytes]:
        """Perform the steps, given the manifest to begin with; return the root file system and the manifest.

        Raises AppcError that names the step; the tree of one whose command failed is kept in the store.
        """
        manifest = self._file.start(manifest)
        for step in self._file.steps:
            manifest = self._step(step, manifest)
        document = loads(manifest)
        if document.get("app") == NO_APP:
            del document["app"]
        if self._file.output == THIN and self._base.dependencies:
            return self._thin(document), dumps(document).encode()
        overlay = self._shown("flat", self._base.lowers)
        return overlay.root, dumps(document).encode()

    def close(self) -> None:
        """Unmount everything, and let go of the layers."""
        for overlay in self._mounted:
            overlay.unmount()
        self._held.clear()

    def _step(self, step: Step, manifest: bytes) -> bytes:
        try:
            if step.edit is not None:
                return step.edit(manifest)
            app = ImageManifest.parse(manifest).app
            text = f"{self._key}\n{step.text}\n{inputs(step, self._context, app)}"
            self._key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
            kept = layers.find(self._root, self._key) if self._cached else None
            self._say(f"{step.path}: {step.title}{' (unchanged)' if kept else ''}".strip())
            if kept is not None:
                self._held.append(kept)
            self._layers.insert(0, self._perform(step, app) if kept is None else kept.path)
        except ManifestError as error:
            faults = [(f"{step.path}: {path}" if path else step.path, what) for path, what in error.faults]
            raise ManifestError(faults, self._file.path) from None
        except AppcError as error:
            where = ": ".join(part for part in (self._file.path, step.path, error.where) if part)
            raise type(error)(error.what, where, error.hint) from None
        except OSError as error:
            raise failure(error, f"{self._file.path}: {step.path}") from None
        return manifest

    def _perform(self, step: Step, app: App | None) -> str:
        """Perform a step on top of the others; return its layer."""
        place = f"{self._directory}/{len(self._layers)}"
        overlay = Overlay(place, (*self._layers, *self._base.lowers))
        overlay.make_upper()
        began = time.time_ns()
        overlay.mount()
        try:
            perform(step, overlay.root, self._context, app, self._run)
        except StepFailed as error:
            overlay.unmount()
            raise self._kept(step, app, overlay, error) from None
        finally:
            overlay.unmount()
        settle(overlay.upper, began)
        if not self._cached:
            return overlay.upper
        self._held.append(layers.put(self._root, self._key, overlay.upper))
        return self._held[-1].path

    def _kept(self, step: Step, app: App | None, overlay: Overlay, error: StepFailed) -> StepFailed:
        """Keep the tree of a step that failed, instead of the one of the last build of this file that did."""
        at = os.path.relpath(os.path.dirname(overlay.upper), self._directory)
        inside = f"{self._directory}/"
        failed = FailedBuild(
            self._file.path, at, [path.removeprefix(inside) for path in overlay.lowers], command(step, app)
        )
        failed.write(self._directory)
        name = os.path.basename(layers.keep_build(self._root, build_name(self._file.path), self._directory))
        hint = f"`appc build enter {name}` shows what it left"
        if step.fields["network"] == "none":
            hint += "; --network host gives commands a network"
        return StepFailed(error.what, "", hint)

    def _thin(self, document: dict[str, Any]) -> str:
        """The root of the image that only holds what was changed; the manifest gets what makes up for the rest."""
        document["dependencies"] = list(self._base.dependencies)
        empty, target = f"{self._directory}/empty", f"{self._directory}/thin"
        for path in (empty, target):
            os.mkdir(path, 0o755)
        like(empty, self._base.lowers[0])
        link_layers((*self._layers, empty), target, self._warnings)
        if any(hides(layer) for layer in self._layers):
            left = paths(self._shown("all", self._base.lowers).root)
            document.update(whitelist(paths(self._shown("base", self._base.lowers, False).root), left))
        return target

    def _shown(self, name: str, lowers: tuple[str, ...], changed: bool = True) -> Overlay:
        overlay = Overlay(f"{self._directory}/{name}", lowers)
        self._mounted.append(overlay)
        overlay.mount_readonly(*(self._layers if changed else ()))
        return overlay


class FailedBuild:
    """What is needed to look at a step that failed: the build file, where the overlay lies, and what was to be run.

    `lowers` are absolute paths, or relative to the directory of the failed build.
    """

    def __init__(self, file: str, at: str, lowers: list[str], app: App) -> None:
        self.file = file
        self.at = at
        self.lowers = lowers
        self.app = app

    def write(self, directory: str) -> None:
        """Write it down in the directory that is kept."""
        text = dumps({"file": self.file, "at": self.at, "lowers": self.lowers, "app": self.app.to_dict()})
        with open(f"{directory}/failed", "x", encoding="utf-8") as stream:
            stream.write(text)

    @classmethod
    def read(cls, directory: str) -> FailedBuild:
        """Read what was written down in `directory`. Raises AppcError when what it rests on is gone."""
        with open(f"{directory}/failed", "rb") as stream:
            found = loads(stream.read())
        failed = cls(found["file"], found["at"], found["lowers"], App.parse(found["app"]))
        if not all(os.path.isdir(f"{directory}/{path}" if path[:1] != "/" else path) for path in failed.lowers):
            raise AppcError("rests on trees that were removed from the store", f"build {os.path.basename(directory)}")
        return failed

    def overlay(self, directory: str) -> Overlay:
        """The overlay on which the step worked, not mounted."""
        lowers = tuple(path if path[:1] == "/" else f"{directory}/{path}" for path in self.lowers)
        return Overlay(f"{directory}/{self.at}", lowers)


def build_name(path: str) -> str:
    """The name under which the failed build of a file is kept: the next one of the same file takes its place."""
    return hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def whitelist(before: set[str], after: set[str]) -> dict[str, list[str]]:
    """The field of the manifest that leaves out what was in `before` and is not in `after`, if there is such.

    It has to name everything that stays (aci.md, pathWhitelist). Raises AppcError for names it cannot hold.
    """
    if before <= after:
        return {}
    for path in after:
        if not path.isascii() and path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") != path:
            raise AppcError(f"{path!r} is not UTF-8", "pathWhitelist", 'build it with output = "flat"')
    return {"pathWhitelist": sorted(after)}


def failure(error: OSError, where: str) -> AppcError:
    """The error for a system call that failed while a step was performed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostError(f"{error.strerror}: {error.filename}", where, "free some space: `appc image gc`, `appc gc`")
    return AppcError(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror), where)
