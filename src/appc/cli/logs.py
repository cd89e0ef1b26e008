"""`appc logs`: what the apps of a pod wrote, also after it has ended."""

from __future__ import annotations

import sys
import time

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import printable_json
from appc.cli.values import duration, integer
from appc.executor import control
from appc.pods import layout, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context


def moment(text: str) -> int:
    """Parse an RFC 3339 time in UTC, or an age such as 10m, to nanoseconds since the epoch."""
    try:
        return int((time.time() - duration(text)) * 1e9)
    except ValueError:
        return logs.parse_time(text)


VERB = Verb(
    "logs",
    "show what a pod's apps wrote",
    description=(
        "Lines of stdout go to stdout and those of stderr to stderr. A terminal gets control characters escaped, but "
        "for tabs and colours; pipes and files get every byte as the app wrote it, and so does a terminal with --raw."
    ),
    options=(
        Option("--app", metavar="NAME", kind="repeat", help="only this app (may be given several times)"),
        Option("--follow", "-f", help="go on until the pod ends"),
        Option("--since", metavar="TIME", parse=moment, default=0, help="from this time or age (10m) on"),
        Option("--until", metavar="TIME", parse=moment, help="up to this time or age"),
        Option("--tail", metavar="N", parse=integer(0), help="of what is there already only the last N lines"),
        Option("--timestamps", "-t", help="put the time before each line"),
        Option("--raw", help="give a terminal control characters, too"),
        Option("--format", choices=("table", "json"), default="table", help="text, or one JSON object per line"),
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Write the lines as the apps wrote them: stdout's to stdout, stderr's to stderr."""
    pod = layout.find(context.root, args.uuid)
    wanted = control.chosen_apps(pod, args.app)
    escaping = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and stream.isatty()]
    if args.raw:
        escaping.clear()
    last = sys.stdout
    until = 2**63 if args.until is None else args.until
    window = {"since_ns": args.since, "until_ns": until, "tail": args.tail}
    for line in logs.read(pod, wanted, follow=args.follow, **window):
        stream = sys.stderr if line.stream == "stderr" and context.format != "json" else sys.stdout
        if stream is None:
            continue
        if stream is not last and last is not None:
            # Both may lead to one terminal.
            last.flush()
        if context.format == "json":
            stream.write(_json(line))
        else:
            prefix = f"{logs.format_time(line.time_ns)} " if args.timestamps else ""
            if len(wanted) > 1:
                prefix += f"{line.app}: "
            text = harmless(line.text) if stream in escaping else line.text
            stream.buffer.write(prefix.encode() + text + b"\n")
        if args.follow:
            stream.flush()
        last = stream
    return 0


_PLAIN = bytes(range(0x20, 0x7F)) + b"\t"
_LONGEST_COLOUR = 40  # characters of an escape sequence; the longest in use have twenty
_RESET = "\x1b[0m"


def harmless(line: bytes) -> bytes:
    """Return a line with every character escaped that would have a terminal do something, but for tabs and colours.

    Colours (ECMA-48's SGR) end with the line. What is no UTF-8 is escaped byte by byte.
    """
    if not line.translate(None, _PLAIN):
        return line
    text = line.decode("utf-8", "backslashreplace")
    # Before the line's end it does nothing, and what was written to a terminal has it there.
    text = text.removesuffix("\r")
    pieces: list[str] = []
    at = 0
    coloured = False
    while at < len(text):
        character = text[at]
        length = _colour(text, at) if character == "\x1b" else 0
        if length:
            coloured = True
            pieces.append(text[at : at + length])
            at += length
            continue
        control = (character < " " and character != "\t") or "\x7f" <= character <= "\x9f"
        pieces.append(character.encode("unicode_escape").decode() if control else character)
        at += 1
    return ("".join(pieces) + (_RESET if coloured else "")).encode()


def _colour(text: str, at: int) -> int:
    """The length of the sequence at `at` if it sets colours (`ESC [ 1;31 m`), else 0."""
    end = text.find("m", at, at + _LONGEST_COLOUR)
    if end < 0 or text[at + 1] != "[" or text[at + 2 : end].strip("0123456789;:"):
        return 0
    return end + 1 - at


def _json(line: logs.LogLine) -> str:
    from appc.schema.json import dumps

    text = line.text.decode("utf-8", "replace")
    document = {"time": logs.format_time(line.time_ns), "app": line.app, "stream": line.stream, "text": text}
    return printable_json(dumps(document)) + "\n"
