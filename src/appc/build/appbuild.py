"""Performing a build file: each step that changes files makes a layer, whose key is its text with what it reads."""

from __future__ import annotations

import os

from appc.build.appfile import THIN
from appc.build.appsteps import inputs, perform
from appc.build.failed import StepFailed, failure, keep
from appc.build.layered import Cache, Layered
from appc.build.manifest import NO_APP
from appc.build.overlay import like
from appc.errors import AppcError, ManifestError
from appc.images.layers import hides, link_layers, paths
from appc.schema.image import ImageManifest
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from appc.build.appfile import Appfile, Step
    from appc.build.appsteps import Run
    from appc.build.dockercopy import Source
    from appc.build.overlay import Overlay


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
        self._run = run
        self._say = say
        self._warnings = warnings
        self._cache = Cache(root, cached)
        self._files = Layered(directory, base.lowers, base.key, self._cache)
        self._mounted: list[Overlay] = []

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
        return self._shown("flat"), dumps(document).encode()

    def close(self) -> None:
        """Unmount everything, and let go of the layers."""
        for overlay in self._mounted:
            overlay.unmount()
        self._cache.close()

    def _step(self, step: Step, manifest: bytes) -> bytes:
        try:
            if step.edit is not None:
                return step.edit(manifest)
            app = ImageManifest.parse(manifest).app
            unchanged = self._files.find(f"{step.text}\n{inputs(step, self._context, app)}")
            self._say(f"{step.path}: {step.title}{' (unchanged)' if unchanged else ''}".strip())
            if not unchanged:
                self._files.add(lambda root: perform(step, root, self._context, app, self._run))
        except ManifestError as error:
            faults = [(f"{step.path}: {path}" if path else step.path, what) for path, what in error.faults]
            raise ManifestError(faults, self._file.path) from None
        except AppcError as error:
            if isinstance(error, StepFailed):
                error.hint = keep(self._cache.root, self._directory, self._file.path, error)
            where = ": ".join(part for part in (self._file.path, step.path, error.where) if part)
            raise type(error)(error.what, where, error.hint) from None
        except OSError as error:
            raise failure(error, f"{self._file.path}: {step.path}") from None
        return manifest

    def _thin(self, document: dict[str, Any]) -> str:
        """The root of the image that only holds what was changed; the manifest gets what makes up for the rest."""
        document["dependencies"] = list(self._base.dependencies)
        empty, target = f"{self._directory}/empty", f"{self._directory}/thin"
        for path in (empty, target):
            os.mkdir(path, 0o755)
        like(empty, self._base.lowers[0])
        link_layers((*self._files.layers, empty), target, self._warnings)
        if any(hides(layer) for layer in self._files.layers):
            document.update(whitelist(paths(self._shown("base", False)), paths(self._shown("all"))))
        return target

    def _shown(self, name: str, changed: bool = True) -> str:
        self._mounted.append(self._files.show(name, changed))
        return self._mounted[-1].root


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
