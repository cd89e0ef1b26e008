"""The steps of a build file that change files, performed in a directory that is the image's root file system."""

from __future__ import annotations

import os
import stat

from appc.build.dockercopy import Copier, digest
from appc.build.dockerignore import expression
from appc.build.failed import StepFailed
from appc.build.stage import Config
from appc.errors import InvalidValue
from appc.images.view import TreeView
from appc.schema.image import App, EnvVar
from appc.store.staging import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appc.build.appfile import Step
    from appc.build.dockercopy import Source

    # (root, app, network) → exit status
    Run = Callable[[str, App, str], int]


def perform(step: Step, root: str, context: Source, app: App | None, run: Run) -> None:
    """Do what a step says to the files below `root`. Raises AppcError, OSError."""
    if step.action == "run":
        made = command(step, app)
        status = run(root, made, step.fields["network"])
        if status:
            hint = "--network default gives commands a network" if step.fields["network"] == "none" else ""
            error = StepFailed(f"{step.title!r} ended with status {status}", "", hint)
            error.app = made
            raise error
    elif step.action == "copy":
        _copy(step, root, context)
    elif step.action == "remove":
        for pattern in step.fields["paths"]:
            remove(root, pattern)
    elif step.action == "mkdir":
        _mkdir(step, root)
    else:
        _place(step, root)


def command(step: Step, app: App | None) -> App:
    """The app that a `run` step is, given the image's app as it is so far: root unless the step says otherwise."""
    fields = step.fields
    variables = {one.name: one.value for one in app.environment} if app is not None else {}
    variables.update(fields.get("env", {}))
    user, _, group = fields.get("user", "0").partition(":")
    return App(
        exec=tuple(fields["command"]),
        user=user,
        group=group or "0",
        working_directory=fields.get("working-dir", ""),
        environment=tuple(EnvVar(name=name, value=value) for name, value in variables.items()),
    )


def inputs(step: Step, context: Source, app: App | None) -> str:
    """What the result of a step depends on beside its text and the files before it, in short.

    For `copy` that is the content, for `run` the environment. Raises InvalidValue for what cannot be copied.
    """
    if step.action == "run":
        variables = command(step, app).environment
        return "\0".join(sorted(f"{one.name}={one.value}" for one in variables))
    return digest(context, step.fields["from"]) if step.action == "copy" else ""


def _copier(step: Step, root: str) -> Copier:
    owner = Config.owner(TreeView((root,)), step.fields.get("owner", ""))
    return Copier(root, owner, step.fields.get("mode"))


def _copy(step: Step, root: str, context: Source) -> None:
    before = digest(context, step.fields["from"])
    _copier(step, root).copy(context, step.fields["from"], step.fields["to"])
    if digest(context, step.fields["from"]) != before:
        # What is kept for the next build must be what its key says.
        raise InvalidValue("what was copied changed meanwhile")


def _mkdir(step: Step, root: str) -> None:
    copier, path = _copier(step, root), step.fields["path"]
    there = copier.is_directory(path)
    made = copier.make_directory(path)
    if not there or not step.fields.keys().isdisjoint(("owner", "mode")):
        copier.own(made, stat.S_IMODE(os.stat(made).st_mode) if there else 0o755)


def _place(step: Step, root: str) -> None:
    """`symlink` and `write`: a new file in the place of what was there, unless that is a directory."""
    copier, path = _copier(step, root), step.fields["path"].rstrip("/")
    directory, _, name = path.rpartition("/")
    if not name:
        raise InvalidValue(f"{step.fields['path']} is a directory")
    place = f"{copier.make_directory(directory)}/{name}"
    if os.path.lexists(place):
        if not os.path.islink(place) and os.path.isdir(place):
            raise InvalidValue(f"{path} is a directory")
        os.unlink(place)
    if step.action == "symlink":
        os.symlink(step.fields["to"], place)
    else:
        with open(place, "xb") as file:
            file.write(step.fields["text"].encode("utf-8", "surrogateescape"))
    copier.own(place, 0o644)


def remove(root: str, pattern: str) -> None:
    """Remove what a path, or a pattern with `*`, `?` and `[a-z]`, means below `root`; a link itself, not its target."""
    parts = pattern.strip("/").split("/")
    if parts == [""]:
        raise InvalidValue("the root itself cannot be removed")
    plain = next((index for index, part in enumerate(parts[:-1]) if _is_pattern(part)), len(parts) - 1)
    try:
        top = TreeView((root,)).lookup("/" + "/".join(parts[:plain]))[1][0]
    except OSError:
        raise InvalidValue(f"{pattern} is not there") from None
    rest = parts[plain:]
    if not any(_is_pattern(part) for part in rest):
        found = [f"{top}/{rest[0]}"] if os.path.lexists(f"{top}/{rest[0]}") else []
    else:
        found = _below(top, rest)
    if not found:
        raise InvalidValue(f"{pattern} is not there")
    for place in found:
        if os.path.isdir(place) and not os.path.islink(place):
            remove_tree(place)
        else:
            os.unlink(place)


def _below(top: str, parts: Sequence[str]) -> list[str]:
    rule = expression(parts[0])
    found = []
    for name in sorted(os.listdir(top)) if os.path.isdir(top) else ():
        place = f"{top}/{name}"
        if not rule.fullmatch(name):
            continue
        if len(parts) == 1:
            found.append(place)
        elif not os.path.islink(place):
            found += _below(place, parts[1:])
    return found


def _is_pattern(part: str) -> bool:
    return any(letter in part for letter in "*?[")
