"""How several files arrive: a line for each on stderr, drawn only on a terminal and only if one has time to wonder."""

from __future__ import annotations

import sys
import threading
import time

from appc.cli.output import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATIENCE = 0.5  # seconds without a sign of life that nobody minds


class Lines:
    """Progress lines; `begin` may be called by any thread, and so may what it returns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Any = None
        self._open = 0

    def begin(self, label: str, size: int | None) -> Callable[[int], None]:
        """Show that a file of `size` bytes (None: not known) arrives; tell what is returned how many bytes did.

        Told 0, it takes the file for complete.
        """
        if sys.stderr is None or not sys.stderr.isatty():
            return lambda count: None
        line = _Line(self, label, size)
        with self._lock:
            self._open += 1
        return line.advance

    def draw(self, label: str, size: int | None, done: int) -> Any:
        """Begin to draw a line; None where that is not possible."""
        with self._lock:
            if self._bars is None:
                self._bars = _bars()
                if self._bars is not None:
                    self._bars.start()
            return None if self._bars is None else self._bars.add_task(printable(label), total=size, completed=done)

    def update(self, task: Any, done: int) -> None:
        """Move a line that is drawn."""
        with self._lock:
            if self._bars is not None:
                self._bars.update(task, completed=done)

    def end(self, task: Any) -> None:
        """Take a line away; with the last one the terminal is as it was before."""
        with self._lock:
            self._open -= 1
            if self._bars is None:
                return
            if task is not None:
                self._bars.remove_task(task)
            if self._open == 0:
                self._bars.stop()
                self._bars = None

    def close(self) -> None:
        """Take all lines away, also those of files that broke off."""
        with self._lock:
            self._open = 0
            if self._bars is not None:
                self._bars.stop()
                self._bars = None


class _Line:
    def __init__(self, lines: Lines, label: str, size: int | None) -> None:
        self._lines = lines
        self._label = label
        self._size = size
        self._done = 0
        self._due = time.monotonic() + PATIENCE
        self._task: Any = None
        self._drawn = False
        self._ended = False

    def advance(self, count: int) -> None:
        self._done += count
        if self._ended:
            return
        if count == 0:
            self._ended = True
            self._lines.end(self._task)
        elif self._drawn:
            if self._task is not None:
                self._lines.update(self._task, self._done)
        elif time.monotonic() >= self._due:
            self._drawn = True
            self._task = self._lines.draw(self._label, self._size, self._done)


def _bars() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    except ImportError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    # What is printed meanwhile goes to stdout as always: it may be no terminal.
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


# One terminal, so one set of lines.
LINES = Lines()
