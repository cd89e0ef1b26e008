"""The access log: a line for each request, in the combined format that tools read."""

from __future__ import annotations

import os
import sys
import time

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.serve.connection import Exchange

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class AccessLog:
    """Appends to the file `path`, "-" for standard output; nothing is logged without one."""

    def __init__(self, path: str) -> None:
        """Raises HostError when the file cannot be written."""
        self._path = path
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the file again, for it may have been moved away (log rotation)."""
        if not self._path or self._path == "-":
            self._fd = sys.stdout.fileno() if self._path and sys.stdout is not None else -1
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise HostError(f"cannot be written: {error.strerror}", f"--access-log {self._path}") from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd

    def write(self, exchange: Exchange) -> None:
        """Add a line. A full disk does not end the service."""
        if self._fd < 0:
            return
        now = time.gmtime()
        when = f"{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:{time.strftime('%H:%M:%S', now)} +0000"
        request = _shown(f"{exchange.line} HTTP/{exchange.version}") if exchange.line != "-" else "-"
        answer = f"{exchange.status} {exchange.sent}"
        line = f'{exchange.client} - - [{when}] "{request}" {answer} "-" "{_shown(exchange.agent)}"\n'
        try:
            os.write(self._fd, line.encode("ascii", "backslashreplace"))
        except OSError:
            pass


def _shown(text: str) -> str:
    """Text from a client as it may stand between quotes on one line."""
    return "".join(
        character if character.isprintable() and character not in '"\\' else f"\\x{ord(character):02x}"
        for character in text
    )
