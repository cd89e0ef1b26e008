"""`appc events`: what happens to pods, while it happens."""

from __future__ import annotations

import sys

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import printable, printable_json
from appc.executor.events import Event, follow
from appc.pods import layout
from appc.pods.logs import format_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "events",
    "tell what happens to pods",
    description=(
        "Prints one line for each thing that happens from now on: prepared, started, ready, exited and removed of a "
        "pod; app-started, app-ready, out-of-memory and app-exited of an app. With UUIDs it ends when these pods have "
        "ended, else it goes on until Ctrl-C."
    ),
    options=(Option("--format", choices=("table", "json"), default="table", help="text, or one JSON object per line"),),
    operands=(Operand("uuid", count="*", complete="pod", help="pods, by any unique beginning (default: all)"),),
)


def run(args: Args, context: Context) -> int:
    """Print events as they come."""
    uuids = [layout.find(context.root, prefix).uuid for prefix in args.uuid]
    for event in follow(context.root, uuids):
        sys.stdout.write(_json(event) if context.format == "json" else _line(event))
        sys.stdout.flush()
    return 0


def _line(event: Event) -> str:
    words = [format_time(event.time_ns), event.pod, event.kind]
    if event.app:
        words.append(event.app)
    words += [f"{key}={value}" for key, value in event.details.items() if value is not None]
    return printable(" ".join(words)) + "\n"


def _json(event: Event) -> str:
    from appc.schema.json import dumps

    document = {"time": format_time(event.time_ns), "pod": event.pod, "event": event.kind, "app": event.app or None}
    return printable_json(dumps({**document, **event.details})) + "\n"
