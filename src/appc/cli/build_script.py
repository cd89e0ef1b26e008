"""`appc build script`: the commands of a build, one in each line of a file."""

from __future__ import annotations

import shlex

from appc.cli.build_context import COMMON
from appc.cli.options import Args, Operand, Verb, parse
from appc.errors import AppcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.cli.context import Context

VERB = Verb(
    "build script",
    "perform the commands of a build that are in a file",
    description=(
        "Each line is a command as after `appc build`, beginning with `begin` and ending with `end`; it may also be "
        "written with `acbuild` or `appc build` before it. Words are quoted as in a shell, of which nothing else is "
        "known; `#` begins a comment, and a backslash at the end of a line continues it. When a command fails, the "
        "build is ended and the line is named."
    ),
    options=COMMON,
    operands=(Operand("file", complete="file", help="the file of commands"),),
)
_PREFIXES = (["appc", "build"], ["acbuild"])


def run(args: Args, context: Context) -> int:
    """Perform the lines; the first that fails is the last."""
    from appc.formats.layout import read_small

    text = read_small(None, args.file, args.file).decode("utf-8", "replace")
    for number, words in list(_commands(text, args.file)):
        where = f"{args.file}: line {number}"
        try:
            status = _perform(words, args.work_path, context)
            if status:
                context.error(f"{' '.join(words)[:60]!r} ended with status {status}", where)
        except AppcError as error:
            error.where = f"{where}: {error.where}" if error.where else where
            _end(args.work_path)
            raise
        if status:
            _end(args.work_path)
            return status
    return 0


def _perform(words: list[str], work_path: str, context: Context) -> int:
    from appc.cli.build_verbs import VERBS, arranged

    name, *rest = arranged(words)
    if name == "version":
        from appc.cli import version

        return version.run(parse(version.VERB, rest), context)
    if f"build {name}" not in VERBS or name == "script":
        raise UsageError("no such command", name, "see `appc help build`")
    module = VERBS[f"build {name}"]
    args = parse(module.VERB, rest)
    if work_path and not args.work_path:
        args.work_path = work_path
    status: int = module.run(args, context)
    return status


def _commands(text: str, path: str) -> Iterator[tuple[int, list[str]]]:
    """The (number of the line, words) of every command."""
    waiting, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        if line.endswith("\\"):
            waiting += line[:-1] + " "
            continue
        try:
            words = shlex.split(waiting + line, comments=True)
        except ValueError as error:
            raise UsageError(f"cannot be split into words: {error}", f"{path}: line {first}") from None
        for prefix in _PREFIXES:
            if words[: len(prefix)] == prefix:
                words = words[len(prefix) :]
        if words:
            yield first, words
        waiting, first = "", 0
    if waiting:
        raise UsageError("ends with a backslash", f"{path}: line {first}")


def _end(work_path: str) -> None:
    from appc.build.session import Session

    try:
        Session.open(work_path, begun=False).end()
    except AppcError:
        # It had not begun, or had ended.
        pass
