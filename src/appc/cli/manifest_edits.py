"""The options that change an image manifest, and what they do to one."""

from __future__ import annotations

import shlex

from appc.cli.options import LIST, REPEAT, Args, Option, did_you_mean
from appc.cli.pod_options import capabilities
from appc.cli.values import gids, pair, seccomp
from appc.errors import AppcError
from appc.images.edit import ManifestEditor, parse_dependency
from appc.schema.image import MountPoint, Port
from appc.schema.isolators import Isolator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def words(text: str) -> list[str]:
    """Split a command into words as a shell does, without expanding anything."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} cannot be split into words: {error}") from None


def handler(text: str) -> tuple[str, list[str]]:
    """Parse EVENT=COMMAND."""
    event, command = pair(text)
    return event, words(command)


def _set(long: str, metavar: str, parse: Callable[[str], object], help: str) -> Option:
    return Option(long, metavar=metavar, kind=REPEAT, parse=parse, help=help)


def _remove(long: str, metavar: str, help: str) -> Option:
    return Option(long, metavar=metavar, kind=REPEAT, help=help)


EDITS = (
    Option("--manifest", metavar="FILE", complete="file", help="begin with this manifest: JSON, .yaml or .toml"),
    Option("--name", metavar="NAME", help="the image's name"),
    _set("--label", "N=V", pair, "set a label"),
    _remove("--remove-label", "N", "remove a label"),
    Option("--exec", metavar="COMMAND", parse=words, help="the app's command, split into words as a shell does"),
    Option("--user", metavar="USER", help="name, number or path whose owner is meant"),
    Option("--group", metavar="GROUP", help="name, number or path whose group is meant"),
    Option("--supplementary-gids", metavar="N,N", parse=gids, help="further groups; an empty list removes them"),
    Option("--working-dir", metavar="DIR", help="working directory; an empty one removes it"),
    _set("--env", "N=V", pair, "set a variable"),
    _remove("--remove-env", "N", "remove a variable"),
    _set("--mount", "NAME,path=/P[,readOnly=true]", MountPoint.parse_string, "set a mount point"),
    _remove("--remove-mount", "NAME|/P", "remove a mount point"),
    _set("--port", "NAME,protocol=tcp,port=N[,...]", Port.parse_string, "set a port"),
    _remove("--remove-port", "NAME|N", "remove a port"),
    _set("--isolator", "NAME,K=V", Isolator.parse_string, "set an isolator"),
    _remove("--remove-isolator", "NAME", "remove an isolator"),
    Option("--caps-retain", metavar="CAP,...", kind=LIST, help="keep just these capabilities"),
    Option("--caps-remove", metavar="CAP,...", kind=LIST, help="drop these of the default capabilities"),
    Option("--seccomp", metavar="mode=M,CALL,...", parse=seccomp, help="retain or remove system calls"),
    _set("--handler", "EVENT=COMMAND", handler, "set a handler: pre-start or post-stop"),
    _remove("--remove-handler", "EVENT", "remove a handler"),
    _set("--dependency", "NAME[:V][,L=V]...", parse_dependency, "set a dependency; also imageID=ID and size=BYTES"),
    _remove("--remove-dependency", "NAME", "remove a dependency"),
    _set("--annotation", "N=V", pair, "set an annotation of the image"),
    _remove("--remove-annotation", "N", "remove one"),
    _set("--user-annotation", "N=V", pair, "set a user annotation of the app"),
    _remove("--remove-user-annotation", "N", "remove one"),
    _set("--user-label", "N=V", pair, "set a user label of the app"),
    _remove("--remove-user-label", "N", "remove one"),
    _remove("--path-whitelist", "PATH", "add a path to the whitelist"),
    _remove("--remove-path-whitelist", "PATH", "remove a path from it"),
)
EXCLUSIVE = (("--caps-retain", "--caps-remove"),)

_NAMES = {option.long for option in EDITS}


def asked(args: Args) -> bool:
    """Whether any of the options, or a command after `--`, was given."""
    return bool(args.given & _NAMES) or bool(args.command)


def editor(args: Args, where: str) -> Callable[[bytes], bytes]:
    """Return what makes of a manifest the one that the options ask for; raises ManifestError with all faults.

    A `--manifest` file is read at once.
    """
    replacement = _manifest_file(args.manifest) if args.manifest else None

    def edit(data: bytes) -> bytes:
        one = ManifestEditor(data if replacement is None else replacement, where)
        _remove_all(one, args)
        _set_image(one, args)
        _set_app(one, args)
        return one.finish()

    return edit


def from_table(table: Mapping[str, Any], path: str, faults: list[tuple[str, str]]) -> Callable[[bytes], bytes]:
    """Return what a table asks for whose keys are the options' names without the dashes, as `editor` does.

    What may be repeated is a string, an array of them or, where it is N=V, a table; commands are strings or arrays of
    words. What is wrong with the table, which is at `path`, is added to `faults`.
    """
    args = Args(EDITS)
    args.command = []
    options = {option.long[2:]: option for option in EDITS}
    for key, value in table.items():
        where = f"{path}.{key}" if path else key
        if key not in options:
            faults.append((where, did_you_mean(key, list(options)) or "is not known here: see `appc help image patch`"))
            continue
        option = options[key]
        try:
            setattr(args, option.dest, _from_value(option, value))
            args.given.add(option.long)
        except AppcError as error:
            faults.append((where, str(error)))
        except ValueError as error:
            faults.append((where, str(error)))
    if args.caps_retain and args.caps_remove:
        faults.append((path, "caps-retain cannot go together with caps-remove"))
    return editor(args, "")


def _from_value(option: Option, value: Any) -> Any:
    """A value as the parser of options would give it."""
    if option.long == "--exec" and isinstance(value, list):
        return [_text(one) for one in value]
    if option.long == "--handler" and isinstance(value, dict):
        return [
            (event, [_text(one) for one in command] if isinstance(command, list) else words(_text(command)))
            for event, command in value.items()
        ]
    if option.parse is pair and isinstance(value, dict):
        return [(key, _text(one)) for key, one in value.items()]
    items = value if isinstance(value, list) else [value]
    if option.kind == LIST:
        return [part for one in items for part in _text(one).split(",") if part]
    if option.kind == REPEAT:
        return [option.parse(_text(one)) if option.parse else _text(one) for one in items]
    text = ",".join(map(_text, items)) if option.parse is gids else _text(value)
    return option.parse(text) if option.parse else text


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is not a text")
    return str(value)


def _manifest_file(path: str) -> bytes:
    from appc.build.image import manifest_file

    return manifest_file(path)


def _remove_all(one: ManifestEditor, args: Args) -> None:
    """Removals come before additions, so that `--remove-env X --env X=1` is no contradiction."""
    for names, remove in (
        (args.remove_label, one.remove_label),
        (args.remove_annotation, one.remove_annotation),
        (args.remove_dependency, one.remove_dependency),
        (args.remove_path_whitelist, one.remove_whitelisted),
        (args.remove_env, one.remove_variable),
        (args.remove_mount, one.remove_mount_point),
        (args.remove_port, one.remove_port),
        (args.remove_isolator, one.remove_isolator),
        (args.remove_handler, one.remove_handler),
        (args.remove_user_annotation, lambda name: one.remove_user_entry("userAnnotations", name)),
        (args.remove_user_label, lambda name: one.remove_user_entry("userLabels", name)),
    ):
        for name in names:
            remove(name)


def _set_image(one: ManifestEditor, args: Args) -> None:
    if args.name is not None:
        one.set_name(args.name)
    for name, value in args.label:
        one.set_label(name, value)
    for name, value in args.annotation:
        one.set_annotation(name, value)
    for dependency in args.dependency:
        one.set_dependency(dependency)
    for path in args.path_whitelist:
        one.add_whitelisted(path)


def _set_app(one: ManifestEditor, args: Args) -> None:
    if args.exec is not None or args.command:
        one.set_exec([*(args.exec or ()), *args.command])
    for value, put in (
        (args.user, one.set_user),
        (args.group, one.set_group),
        (args.supplementary_gids, one.set_supplementary_gids),
        (args.working_dir, one.set_working_directory),
    ):
        if value is not None:
            put(value)
    for name, value in args.env:
        one.set_variable(name, value)
    for point in args.mount:
        one.set_mount_point(point)
    for port in args.port:
        one.set_port(port)
    for isolator in args.isolator:
        one.set_isolator(isolator)
    for isolator in (*capabilities(args.caps_retain, args.caps_remove), *([args.seccomp] if args.seccomp else [])):
        one.set_isolator(isolator)
    for event, command in args.handler:
        one.set_handler(event, command)
    for name, value in args.user_annotation:
        one.set_user_entry("userAnnotations", name, value)
    for name, value in args.user_label:
        one.set_user_entry("userLabels", name, value)
