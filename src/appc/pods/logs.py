"""What apps wrote: the keeper's log files, read back as lines with their time and stream.

A line of the file is `<RFC 3339 time> <stream> <F|P> <text>`, the format Kubernetes' container
runtimes write; P marks a part of a line that was longer than the keeper's buffer.
"""

from __future__ import annotations

import os
import time

from appc.errors import AppcError
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_SECONDS = 0.1
CHUNK = 256 * 1024


class LogLine:
    """One line an app wrote: nanoseconds since the epoch, app, "stdout" or "stderr", raw bytes."""

    __slots__ = ("app", "stream", "text", "time_ns")

    def __init__(self, time_ns: int, app: str, stream: str, text: bytes) -> None:
        self.time_ns = time_ns
        self.app = app
        self.stream = stream
        self.text = text


def read(
    pod: Pod, apps: list[str], *, follow: bool = False, since_ns: int = 0, until_ns: int = 2**63
) -> Iterator[LogLine]:
    """Yield the lines of `apps` in order of time; with `follow`, go on until nothing of the pod is alive."""
    readers = [_Reader(pod, app) for app in apps]
    while True:
        # Looked at before the files are read: what was written before the end is then still found.
        alive = follow and pod.refresh().locked()
        batch = [line for reader in readers for line in reader.lines()]
        batch.sort(key=lambda line: line.time_ns)
        for line in batch:
            if since_ns <= line.time_ns <= until_ns:
                yield line
        if not alive:
            return
        time.sleep(POLL_SECONDS)


class _Reader:
    """Reads one app's log from its oldest kept file on, across rotations."""

    def __init__(self, pod: Pod, app: str) -> None:
        self.pod = pod
        self.app = app
        self.pending = b""
        self.parts: dict[str, bytes] = {}
        self.fd = -1
        self.backlog = self._rotated()

    def _rotated(self) -> list[str]:
        """Return the rotated files, oldest (highest number) first."""
        numbers = []
        for name in os.listdir(self.pod.file("logs")):
            base, _, number = name.rpartition(".")
            if base == f"{self.app}.log" and number.isdecimal():
                numbers.append(int(number))
        return [f"{self.app}.log.{number}" for number in sorted(numbers, reverse=True)]

    def lines(self) -> Iterator[LogLine]:
        """Yield what has been added since the last call."""
        for name in self.backlog:
            try:
                self.fd = self._open(name)
            except FileNotFoundError:
                continue
            yield from self._drain()
            self._close()
        self.backlog = []
        if self.fd < 0:
            try:
                self.fd = self._open(f"{self.app}.log")
            except FileNotFoundError:
                return
        yield from self._drain()
        if self._was_rotated():
            self._close()
            yield from self.lines()

    def _open(self, name: str) -> int:
        return os.open(self.pod.file(f"logs/{name}"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _close(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def _was_rotated(self) -> bool:
        try:
            current = os.stat(self.pod.file(f"logs/{self.app}.log"))
        except FileNotFoundError:
            return False
        return current.st_ino != os.fstat(self.fd).st_ino

    def _drain(self) -> Iterator[LogLine]:
        while chunk := os.read(self.fd, CHUNK):
            *lines, self.pending = (self.pending + chunk).split(b"\n")
            for raw in lines:
                line = self._parse(raw)
                if line is not None:
                    yield line

    def _parse(self, raw: bytes) -> LogLine | None:
        fields = raw.split(b" ", 3)
        if len(fields) != 4:
            return None
        stream = fields[1].decode("ascii", "replace")
        text = self.parts.pop(stream, b"") + fields[3]
        if fields[2] == b"P":
            self.parts[stream] = text
            return None
        try:
            return LogLine(parse_time(fields[0].decode("ascii", "replace")), self.app, stream, text)
        except AppcError:
            return None


def parse_time(text: str) -> int:
    """Parse an RFC 3339 time in UTC (`2026-01-02T03:04:05[.frac]Z`) to nanoseconds since the epoch."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    parts = whole.replace("T", "-").replace(":", "-").split("-")
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(numbers) != 6 or len(parts) != 6 or (fraction and not fraction.isdecimal()):
        raise AppcError("is not an RFC 3339 time such as 2026-01-02T03:04:05Z", text)
    year, month, day, hour, minute, second = numbers
    seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    return seconds * 10**9 + int(fraction[:9].ljust(9, "0") or "0")


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar (years begin in March here)."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
