"""`appc cp`: copy files between the host and an app."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "cp",
    "copy files between the host and an app",
    description=(
        "One of SOURCE and TARGET is a path of this host, the other UUID:PATH or, in a pod of several apps, "
        "UUID:APP:PATH, with any unique beginning of the UUID. Directories are copied with all below them; a target "
        "that is a directory gets a copy in it. What comes out of an app belongs to you, and what goes in to root; "
        "modes and times are kept. From a pod that has ended files can be copied, not into it."
    ),
    operands=(
        Operand("source", complete="file", help="what to copy"),
        Operand("target", complete="file", help="where to"),
    ),
    examples=(
        ("appc cp 6f2a:/var/log/app.log .", "a file of the pod's only app"),
        ("appc cp ./site 6f2a:web:/srv", "a directory, into the app web"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Copy, and warn of what was left out."""
    from appc.executor import control
    from appc.executor.copying import copy_in, copy_out
    from appc.pods import layout

    source, target = place(args.source), place(args.target)
    if (source is None) == (target is None):
        raise UsageError("one of the two is a path of an app, and one of this host", "cp", "such as 6f2a:/etc/hosts .")
    uuid, app, path = source or target or ("", "", "")
    pod = layout.find(context.root, uuid)
    names = control.chosen_apps(pod, (app,) if app else ())
    if len(names) > 1:
        raise UsageError("has several apps", f"pod {pod.uuid}", f"name one: {uuid}:{names[0]}:{path}")
    warnings = copy_out(pod, names[0], path, args.target) if source else copy_in(pod, names[0], args.source, path)
    for warning in warnings:
        context.warn(warning)
    return 0


def place(text: str) -> tuple[str, str, str] | None:
    """Split UUID:PATH and UUID:APP:PATH; None for a path of the host, as which `./` marks one with a colon.

    Raises UsageError for a path in an app that is not absolute.
    """
    uuid, colon, rest = text.partition(":")
    if not colon or not uuid or "/" in uuid or not all(letter in "0123456789abcdef-" for letter in uuid):
        return None
    app, colon, path = rest.partition(":")
    if not colon or "/" in app:
        app, path = "", rest
    if not path.startswith("/"):
        raise UsageError("the path in an app is absolute", text)
    return uuid, app, path
