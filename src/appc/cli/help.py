"""`appc help`, and the help texts of all verbs, made from their tables."""

from __future__ import annotations

from appc.cli.options import FLAG, GLOBAL, HELP, LIST, OPTIONAL, REPEAT, Operand, Verb
from appc.cli.output import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from appc.cli.context import Context
    from appc.cli.options import Args, Option

VERB = Verb(
    "help",
    "explain a command",
    operands=(Operand("command", count="*", help="a command or a group of commands; none: list all"),),
)

WIDTH = 100

# What IMAGE and UUID stand for in every verb.
WORDS = (
    (
        "NAME[:VERSION][,LABEL=VALUE...]",
        "an image by name, example.com/app:1.0,os=linux,arch=amd64: one of the store, else what discovery finds",
    ),
    ("sha512-...", "an image of the store by its ID, or by any beginning that only one has"),
    ("FILE.aci, ./FILE, /FILE", "an image file, imported when it is run or fetched; its signature is FILE.asc"),
    ("https://HOST/PATH", "an image by its URL; its signature is at URL.asc"),
    ("docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST]", "an OCI image, or an ACI that was pushed, in a registry"),
    ("oci:DIR[:TAG], oci-archive:FILE[:TAG]", "an OCI image in a layout or an archive"),
    ("docker-archive:FILE[:NAME:TAG]", "what `docker save` wrote"),
    ("UUID", "a pod by its UUID, or by any beginning that only one has"),
)


def run(args: Args, context: Context) -> int:
    """Print the help of a verb, of a group, or the overview."""
    from appc.cli.main import VERBS, find_verb, load

    name = " ".join(args.command)
    if not name:
        out(overview())
    elif name not in VERBS and any(verb.startswith(name + " ") for verb in VERBS):
        out(group_help(name))
    else:
        verb, rest = find_verb(args.command)
        if rest:
            find_verb([name])
        out(verb_help(load(verb).VERB, [load(below).VERB for below in VERBS if below.startswith(verb + " ")]))
    return 0


def all_verbs() -> list[Verb]:
    """Import every verb's table, hidden ones excepted, in the order of the help."""
    from appc.cli.main import VERBS, load

    return [verb for verb in (load(name).VERB for name in VERBS) if not verb.hidden]


def overview() -> str:
    """Return the help of the whole tool."""
    rows = [(verb.name, verb.summary) for verb in all_verbs()]
    return "\n".join(
        (
            f"appc: {GLOBAL.summary}",
            "",
            f"usage: appc {GLOBAL.usage}",
            "",
            "commands:",
            *_columns(rows),
            "",
            "options:",
            *_columns(_option_rows((*GLOBAL.options, HELP))),
            "",
            "images and pods:",
            *_columns(list(WORDS)),
            "",
            "`appc help COMMAND` explains one of them.",
            "",
        )
    )


def group_help(name: str) -> str:
    """Return the help of a group such as `image`."""
    rows = [(verb.name, verb.summary) for verb in all_verbs() if verb.name.startswith(name + " ")]
    return "\n".join((f"usage: appc {name} COMMAND ...", "", "commands:", *_columns(rows), ""))


def verb_help(verb: Verb, below: Sequence[Verb] = ()) -> str:
    """Return the help of one verb; `below` are those whose names go on from its own, as subcommands."""
    lines = [f"usage: appc {usage(verb)}", "", *_wrap(verb.summary[:1].upper() + verb.summary[1:] + ".", 0)]
    for paragraph in paragraphs(verb.description):
        lines += ["", *_wrap(paragraph, 0)]
    operands = [(operand.metavar, operand.help) for operand in verb.operands if operand.help]
    if operands:
        lines += ["", "operands:", *_columns(operands)]
    lines += ["", "options:", *_columns(_option_rows((*verb.options, HELP)))]
    if verb.app_options:
        lines += ["", "options of an app, after its image:", *_columns(_option_rows(verb.app_options))]
    if below:
        lines += ["", "further commands:", *_columns([(other.name, other.summary) for other in below])]
    if verb.examples:
        lines += ["", "examples:"]
        for command, meaning in verb.examples:
            lines += [f"  # {meaning}", f"  {command}"]
    return "\n".join(lines) + "\n"


def usage(verb: Verb) -> str:
    """Return the verb's line of usage without the leading `appc`."""
    if verb.usage:
        return f"{verb.name} {verb.usage}"
    words = [verb.name]
    if verb.options:
        words.append("[options]")
    if verb.app_options:
        words.append("IMAGE [app options] [-- ARGS...] [--- IMAGE ...]")
        return " ".join(words)
    forms = {"1": "{}", "?": "[{}]", "*": "[{}...]", "+": "{}...", "rest": "[{}...]", "--": "[-- {}...]"}
    words += [forms[operand.count].format(operand.metavar) for operand in verb.operands]
    return " ".join(words)


def option_form(option: Option) -> str:
    """Return how an option is written: `-n, --name NAME`."""
    form = f"{option.short}, {option.long}" if option.short else option.long
    if option.kind == FLAG:
        return form
    if option.kind == OPTIONAL:
        return f"{form}[={option.metavar}]"
    if option.kind == LIST:
        return f"{form} {option.metavar or 'WORD'}{'' if option.metavar.endswith('...') else ',...'}"
    return f"{form} {option.metavar}"


def option_help(option: Option) -> str:
    """Return what an option does, with its default and whether it may be repeated."""
    notes = []
    if option.kind == LIST and option.choices:
        notes.append(f"of {', '.join(option.choices)}")
    if option.kind == REPEAT:
        notes.append("repeatable")
    default = ",".join(option.default) if isinstance(option.default, tuple) else option.default
    if option.default is True:
        notes.append(f"on by default, --no-{option.long[2:]} turns it off")
    # What the table has as a parsed value, the help puts in the user's words.
    elif isinstance(default, (str, int)) and default and "(default" not in option.help:
        notes.append(f"default {default}")
    return option.help + (f" ({', '.join(notes)})" if notes else "")


def _option_rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [(option_form(option), option_help(option)) for option in options if not option.hidden]


def _columns(rows: list[tuple[str, str]], column: int = 31) -> list[str]:
    width = min(max((len(left) for left, _ in rows), default=0), column - 4)
    lines = []
    for left, right in rows:
        wrapped = _wrap(right, width + 4)
        if len(left) > width:
            lines += [f"  {left}", *wrapped]
        else:
            first = wrapped[0].lstrip() if wrapped else ""
            lines += [f"  {left.ljust(width)}  {first}".rstrip(), *wrapped[1:]]
    return lines


def paragraphs(text: str) -> list[str]:
    """Split a description at its empty lines; how its lines were broken in the source does not matter."""
    return [" ".join(part.split()) for part in text.strip().split("\n\n") if part.strip()]


def _wrap(text: str, indent: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
