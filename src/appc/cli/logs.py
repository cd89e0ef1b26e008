"""`appc logs`: what the apps of a pod wrote, also after it has ended."""

from __future__ import annotations

import sys
import time

from appc.cli.options import Args, Operand, Option, Verb, duration
from appc.cli.output import printable_json
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
    options=(
        Option("--app", metavar="NAME", kind="repeat", help="only this app (may be given several times)"),
        Option("--follow", "-f", help="go on until the pod ends"),
        Option("--since", metavar="TIME", parse=moment, default=0, help="from this time or age (10m) on"),
        Option("--until", metavar="TIME", parse=moment, default=2**63, help="up to this time or age"),
        Option("--timestamps", "-t", help="put the time before each line"),
        Option("--format", choices=("table", "json"), default="table", help="text, or one JSON object per line"),
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Write the lines as the apps wrote them: stdout's to stdout, stderr's to stderr."""
    pod = layout.find(context.root, args.uuid)
    wanted = control.chosen_apps(pod, args.app)
    last = sys.stdout
    for line in logs.read(pod, wanted, follow=args.follow, since_ns=args.since, until_ns=args.until):
        stream = sys.stderr if line.stream == "stderr" and context.format != "json" else sys.stdout
        if stream is None:
            continue
        if stream is not last and last is not None:
            # Both may lead to one terminal.
            last.flush()
        if context.format == "json":
            stream.write(_json(line))
        else:
            prefix = f"{_stamp(line.time_ns)} " if args.timestamps else ""
            if len(wanted) > 1:
                prefix += f"{line.app}: "
            stream.buffer.write(prefix.encode() + line.text + b"\n")
        if args.follow:
            stream.flush()
        last = stream
    return 0


def _json(line: logs.LogLine) -> str:
    from appc.schema.json import dumps

    text = line.text.decode("utf-8", "replace")
    document = {"time": _stamp(line.time_ns), "app": line.app, "stream": line.stream, "text": text}
    return printable_json(dumps(document)) + "\n"


def _stamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
