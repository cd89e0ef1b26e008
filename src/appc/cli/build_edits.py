"""`appc build set-…` and `appc build label|port|… add|remove`: the manifest of a build by single commands."""

from __future__ import annotations

import sys

from appc.cli.build_context import opened, verb
from appc.cli.options import Args, Operand, Option
from appc.cli.values import integer
from appc.errors import InvalidValue, ManifestError, UsageError
from appc.images.edit import ManifestEditor, NothingToRemove, parse_dependency
from appc.schema.image import MountPoint, Port
from appc.schema.isolators import Isolator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from appc.cli.context import Context

    Change = Callable[[ManifestEditor, Args], None]


def _edit(args: Args, change: Change) -> int:
    with opened(args) as session:
        session.edit(lambda editor: change(editor, args))
    return 0


def _set(name: str, change: Change, summary: str, *operands: Operand) -> SimpleNamespace:
    return verb(name, lambda args, _: _edit(args, change), summary, operands=operands)


def _list(
    name: str,
    what: str,
    add: Change,
    remove: Callable[[ManifestEditor, str], None],
    *values: Operand,
    options: tuple[Option, ...] = (),
    key: str = "its name",
) -> SimpleNamespace:
    """A verb with `add NAME VALUE...` and `remove NAME`, acbuild's `rm`."""

    def run(args: Args, context: Context) -> int:
        given = [getattr(args, value.name) for value in values]
        if args.action == "add":
            missing = next((value for value, one in zip(values, given, strict=True) if one is None), None)
            if missing is not None:
                raise UsageError(f"{missing.metavar} is missing", f"build {name} add")
            return _edit(args, add)
        if any(one is not None for one in given):
            raise UsageError(f"{key} is enough", f"build {name} remove")
        try:
            return _edit(args, lambda editor, _: remove(editor, args.name))
        except NothingToRemove as error:
            raise UsageError(error.faults[0][1], f"build {name} remove") from None

    return verb(
        name,
        run,
        f"add or remove {what}",
        description=f"`add` replaces what has the same name. `remove` takes {key}; if it is not there it exits with 2.",
        options=options,
        operands=(
            Operand("action", choices=("add", "remove", "rm"), help="what to do"),
            Operand("name", help=key),
            *(Operand(value.name, value.metavar, count="?", help=value.help) for value in values),
        ),
    )


def _words(args: Args) -> list[str]:
    if not args.command:
        raise UsageError("COMMAND is missing", "build set-exec")
    return list(args.command)


def _gids(args: Args) -> list[int]:
    try:
        return [integer(0)(text) for text in args.gid]
    except ValueError as error:
        raise UsageError(str(error), "build set-supp-groups") from None


def _port(editor: ManifestEditor, args: Args) -> None:
    text = f"{args.name},protocol={args.protocol},port={args.port}"
    if args.count is not None:
        text += f",count={args.count}"
    if args.socket_activated:
        text += ",socketActivated=true"
    editor.set_port(Port.parse_string(text))


def _mount(editor: ManifestEditor, args: Args) -> None:
    text = f"{args.name},path={args.path}"
    editor.set_mount_point(MountPoint.parse_string(text + (",readOnly=true" if args.read_only else "")))


def _dependency(editor: ManifestEditor, args: Args) -> None:
    text = args.name
    for name, value in (("imageID", args.image_id), ("size", args.size)):
        text += f",{name}={value}" if value is not None else ""
    for label in args.label:
        text += f",{label}"
    editor.set_dependency(parse_dependency(text))


def _isolator(editor: ManifestEditor, args: Args) -> None:
    from appc.formats.layout import read_small
    from appc.schema.json import loads

    data = sys.stdin.buffer.read(1 << 20) if args.value == "-" else read_small(None, args.value, args.value)
    try:
        editor.set_isolator(Isolator.parse({"name": args.name, "value": loads(data)}))
    except (ManifestError, InvalidValue) as error:
        raise InvalidValue(error.what, args.value if args.value != "-" else "standard input") from None


_COMMAND = Operand("command", count="rest", help="the program and its arguments")
_VALUE = Operand("value", help="its value")

VERBS = (
    _set("set-name", lambda e, a: e.set_name(a.name), "set the image's name", Operand("name", help="an AC identifier")),
    _set("set-exec", lambda e, a: e.set_exec(_words(a)), "set the app's command", _COMMAND),
    _set("set-user", lambda e, a: e.set_user(a.user), "set the app's user", Operand("user", help="name or number")),
    _set("set-group", lambda e, a: e.set_group(a.group), "set its group", Operand("group", help="name or number")),
    _set(
        "set-supp-groups",
        lambda e, a: e.set_supplementary_gids(_gids(a)),
        "set the app's further groups",
        Operand("gid", count="*", help="a number"),
    ),
    _set(
        "set-working-directory",
        lambda e, a: e.set_working_directory(a.path),
        "set the app's working directory",
        Operand("path", help="an absolute path"),
    ),
    _set(
        "set-event-handler",
        lambda e, a: e.set_handler(a.event, _words(a)),
        "set an event handler of the app",
        Operand("event", choices=("pre-start", "post-stop"), help="when it is executed"),
        _COMMAND,
    ),
    _set("set-tag", lambda e, a: e.set_label("version", a.tag), "set the version", Operand("tag", help="its value")),
    _list(
        "annotation",
        "annotations of the image",
        lambda e, a: e.set_annotation(a.name, a.value),
        ManifestEditor.remove_annotation,
        _VALUE,
    ),
    _list("label", "labels", lambda e, a: e.set_label(a.name, a.value), ManifestEditor.remove_label, _VALUE),
    _list(
        "environment",
        "variables of the app's environment",
        lambda e, a: e.set_variable(a.name, a.value),
        ManifestEditor.remove_variable,
        _VALUE,
    ),
    _list(
        "port",
        "ports of the app",
        _port,
        ManifestEditor.remove_port,
        Operand("protocol", help="tcp or udp"),
        Operand("port", help="its number"),
        options=(
            Option("--count", metavar="N", parse=integer(1, 65535), help="how many ports, from this one on"),
            Option("--socket-activated", help="the app expects the socket open"),
        ),
        key="its name or, to remove it, its number",
    ),
    _list(
        "mount",
        "mount points of the app",
        _mount,
        ManifestEditor.remove_mount_point,
        Operand("path", help="where it is in the image"),
        options=(Option("--read-only", help="mounted read-only"),),
        key="its name or, to remove it, its path",
    ),
    _list(
        "dependency",
        "dependencies of the image",
        _dependency,
        lambda editor, name: editor.remove_dependency(name),
        options=(
            Option("--image-id", metavar="ID", help="the image it must be"),
            Option("--label", metavar="N=V", kind="repeat", help="a label it must have"),
            Option("--size", metavar="BYTES", help="the size it must have"),
        ),
        key="NAME, for `add` also NAME:VERSION",
    ),
    _list(
        "isolator",
        "isolators of the app",
        _isolator,
        ManifestEditor.remove_isolator,
        Operand("value", "FILE", help="a file with its value as JSON, - for standard input"),
    ),
)
