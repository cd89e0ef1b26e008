"""`appc top`: what running apps use."""

from __future__ import annotations

import sys
import time

from appc.cli.options import LISTING, Args, Operand, Option, Verb
from appc.cli.output import json_document, listing, out, size
from appc.cli.values import duration
from appc.executor.usage import Usage, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context

VERB = Verb(
    "top",
    "show what running apps use",
    description=(
        "CPU is the processors in use over the last interval (1.00 is one of them, all the time), MEMORY what counts "
        "against the app's limit where it has one, else what its processes have in memory. READ and WRITTEN are what "
        "its living processes had from and gave to disks; NET is what the pod received and sent, which its apps share. "
        "On a terminal it goes on until Ctrl-C."
    ),
    options=(
        Option("--interval", metavar="TIME", default=1.0, parse=duration, help="between two measurements (default 1s)"),
        Option("--once", help="measure one interval and end (the default without a terminal)"),
        *LISTING,
    ),
    operands=(Operand("uuid", count="*", complete="pod", help="pods to show, by any unique beginning (default: all)"),),
)

_COLUMNS = (
    ("UUID", "uuid"),
    ("APP", "app"),
    ("CPU", "cpu"),
    ("MEMORY", "memory"),
    ("LIMIT", "limit"),
    ("PROCESSES", "processes"),
    ("READ", "read"),
    ("WRITTEN", "written"),
    ("NET IN", "received"),
    ("NET OUT", "sent"),
)
_HOME_AND_CLEAR = "\033[H\033[J"


def run(args: Args, context: Context) -> int:
    """Print the apps, those that use the most first."""
    before = {(one.pod, one.app): one for one in measure(context.root, args.uuid)}
    again = sys.stdout.isatty() and not args.once and context.format == "table"
    while True:
        time.sleep(args.interval)
        now = measure(context.root, args.uuid)
        if again:
            out(_HOME_AND_CLEAR)
        _show(now, before, context)
        if not again:
            return 0
        sys.stdout.flush()
        before = {(one.pod, one.app): one for one in now}


def _show(now: list[Usage], before: dict[tuple[str, str], Usage], context: Context) -> None:
    measured = [(one, one.cpu_since(before.get((one.pod, one.app), one))) for one in now]
    measured.sort(key=lambda pair: (-pair[1], -pair[0].memory))
    if context.format == "json":
        json_document([_document(one, cpu) for one, cpu in measured])
        return
    rows = []
    for one, cpu in measured:
        row = _document(one, cpu)
        row["uuid"] = one.pod if context.full else one.pod[:8]
        row["cpu"] = f"{cpu:.2f}"
        for key in ("memory", "limit", "read", "written", "received", "sent"):
            row[key] = None if key == "limit" and not row[key] else size(row[key])
        rows.append(row)
    listing(context, rows, _COLUMNS)


def _document(one: Usage, cpu: float) -> dict[str, Any]:
    return {
        "uuid": one.pod,
        "app": one.app,
        "cpu": round(cpu, 3),
        "cpuTime": one.cpu,
        "memory": one.memory,
        "limit": one.memory_limit,
        "processes": one.processes,
        "read": one.read,
        "written": one.written,
        "received": one.received,
        "sent": one.sent,
    }
