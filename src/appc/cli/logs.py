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
    for line in logs.read(pod, wanted, follow=args.follow, since_ns=args.since, until_ns=args.until):
        if context.format == "json":
            _write_json(line)
            continue
        prefix = f"{_stamp(line.time_ns)} " if args.timestamps else ""
        if len(wanted) > 1:
            prefix += f"{line.app}: "
        stream = sys.stderr.buffer if line.stream == "stderr" else sys.stdout.buffer
        stream.write(prefix.encode() + line.text + b"\n")
        stream.flush()
    return 0


def _write_json(line: logs.LogLine) -> None:
    from appc.schema.json import dumps

    text = line.text.decode("utf-8", "replace")
    document = {"time": _stamp(line.time_ns), "app": line.app, "stream": line.stream, "text": text}
    sys.stdout.write(printable_json(dumps(document)) + "\n")
    sys.stdout.flush()


def _stamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
