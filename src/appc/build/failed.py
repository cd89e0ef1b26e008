"""Steps of builds that failed: what they left is kept in the store, to be looked at."""

from __future__ import annotations

import errno
import hashlib
import os

from appc.errors import AppcError, HostError
from appc.schema.image import App
from appc.schema.json import dumps, loads
from appc.store import layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.build.overlay import Overlay


class StepFailed(AppcError):
    """A command of a build, `app`, ended with another status than 0; `overlay` shows what it left, once mounted."""

    app: App | None = None
    overlay: Overlay | None = None


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
        from appc.build.overlay import Overlay

        lowers = tuple(path if path[:1] == "/" else f"{directory}/{path}" for path in self.lowers)
        return Overlay(f"{directory}/{self.at}", lowers)


def keep(root: str, directory: str, file: str, error: StepFailed) -> str:
    """Move the build of `file` in `directory`, where nothing is mounted, to the failed ones of the store `root`.

    It takes the place of the one of the same file that failed before. Returns a hint that names it.
    """
    if error.overlay is None or error.app is None:
        return error.hint
    inside = f"{directory}/"
    at = error.overlay.upper.removeprefix(inside).rpartition("/")[0]
    FailedBuild(file, at, [path.removeprefix(inside) for path in error.overlay.lowers], error.app).write(directory)
    name = os.path.basename(layers.keep_build(root, build_name(file), directory))
    return f"`appc build enter {name}` shows what it left{'; ' if error.hint else ''}{error.hint}"


def build_name(path: str) -> str:
    """The name under which the failed build of a file is kept."""
    return hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def failure(error: OSError, where: str) -> AppcError:
    """The error for a system call that failed while a step was performed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostError(f"{error.strerror}: {error.filename}", where, "free some space: `appc image gc`, `appc gc`")
    return AppcError(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror), where)
