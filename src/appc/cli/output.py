"""Results on stdout, for people or as one JSON document; progress on stderr, for people only."""

from __future__ import annotations

import os
import sys

from appc.cli.context import printable as printable  # verbs that print by themselves need them too
from appc.cli.context import printable_json as printable_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from appc.cli.context import Context
    from appc.values import Labels

    # A heading, and the key of the record or the function of it that gives the cell.
    Column = tuple[str, str | Callable[[dict[str, Any]], object]]


def out(text: str) -> None:
    """Write text to stdout; nothing when stdout was closed by the caller."""
    if sys.stdout is not None:
        sys.stdout.write(text)


def json_document(value: object) -> None:
    """Print one JSON document."""
    from appc.schema.json import dumps

    out(printable_json(dumps(value, indent=2)) + "\n")


def listing(context: Context, records: Sequence[dict[str, Any]], columns: Sequence[Column]) -> None:
    """Print records as `--format` asks: a table of `columns`, or all of every record as a JSON array."""
    if context.format == "json":
        json_document(list(records))
        return
    rows = [[_cell(record, source) for _, source in columns] for record in records]
    if context.legend:
        rows.insert(0, [heading for heading, _ in columns])
        heading_style = style("1")
    else:
        heading_style = ("", "")
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(columns))]
    for number, row in enumerate(rows):
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        before, after = heading_style if number == 0 else ("", "")
        out(f"{before}{line}{after}\n")


def record(context: Context, values: dict[str, Any]) -> None:
    """Print one record as `--format` asks: `key=value` lines, or a JSON object."""
    if context.format == "json":
        json_document(values)
        return
    for key, value in values.items():
        out(f"{key}={_text(value)}\n")


def _cell(values: dict[str, Any], source: str | Callable[[dict[str, Any]], object]) -> str:
    return _text(values.get(source) if isinstance(source, str) else source(values)) or "-"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(_text(item) for item in value)
    return printable(str(value))


def style(code: str, stream: Any = None) -> tuple[str, str]:
    """Return the escape sequences before and after text in an ANSI style, both "" where colour is unwanted."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb" or stream is None or not stream.isatty():
        return ("", "")
    return (f"\x1b[{code}m", "\x1b[0m")


def size(count: float) -> str:
    """Return a number of bytes for people: 512 B, 1.2 KiB, 34 MiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} {units[0]}" if units[0] == "B" or count >= 10 else f"{count:.1f} {units[0]}"


def amounts(context: Context, *keys: str) -> list[Column]:
    """Columns of bytes, each headed by the key of the record that holds it."""
    shown: Callable[[int], str] = str if context.full else size

    def column(key: str) -> Column:
        return key.upper(), lambda record: shown(record[key])

    return [column(key) for key in keys]


def free_space(path: str) -> dict[str, int]:
    """What is `free`, and `available` to this user, on the file system of `path` or of what is above it, in bytes."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or "."
    found = os.statvfs(path)
    return {"free": found.f_bfree * found.f_frsize, "available": found.f_bavail * found.f_frsize}


def titled(name: str, labels: Mapping[str, str] | Labels) -> str:
    """Return an image's name for people, with its version if it has one."""
    version = labels.get("version")
    return f"{name}:{version}" if version else str(name)


def ago(seconds: float) -> str:
    """Return an age for people: 5 seconds ago, 3 hours ago, 2 days ago."""
    lengths = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
    unit = next((unit for unit, length in lengths.items() if seconds >= length), "second")
    count = max(0, int(seconds // lengths[unit]))
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


class Progress:
    """A progress line on stderr, drawn only on a terminal and only when the work takes long enough to wonder.

    `with Progress("importing x.aci", total_bytes) as progress: progress.advance(n)`; total None = unknown. One that
    takes work to know may be a function, which is called when the line is first drawn.
    """

    PATIENCE = 0.5  # seconds without a sign of life that nobody minds

    def __init__(self, label: str, total: int | Callable[[], int] | None = None) -> None:
        import time

        self.label = label
        self.total = total
        self.done = 0
        self._clock = time.monotonic
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._due = self._clock() + self.PATIENCE if terminal else float("inf")
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def advance(self, count: int) -> None:
        """Count `count` more bytes as done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif self._clock() >= self._due:
            self._draw()

    def _draw(self) -> None:
        self._due = float("inf")
        try:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar
        except ImportError:
            return
        size = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        total = self.total() if callable(self.total) else self.total
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), *size, console=Console(stderr=True), transient=True
        )
        self._task = self._bar.add_task(printable(self.label), total=total, completed=self.done)
        self._bar.start()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
