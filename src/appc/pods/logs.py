"""What apps wrote: the keeper's log files, read back as lines with their time and stream.

A line of the file is `<RFC 3339 time> <stream> <F|P> <text>`, the format Kubernetes' container
runtimes write; P marks a part of a line that was longer than the keeper's buffer. A file that has
grown too large becomes `APP.log.1`, the former `APP.log.1` becomes `APP.log.2`, and so on.
"""

from __future__ import annotations

import os
import time
from heapq import merge

from appc.errors import AppcError, PodNotFound
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

POLL_SECONDS = 0.1
CHUNK = 256 * 1024
# An app that never ends its line is shown in pieces of this size.
LONGEST_LINE = 1024 * 1024
# Makes of what follows no entry.
_CUT = b"-"


class LogLine:
    """One line an app wrote: nanoseconds since the epoch, app, "stdout" or "stderr", raw bytes."""

    __slots__ = ("app", "stream", "text", "time_ns")

    def __init__(self, time_ns: int, app: str, stream: str, text: bytes) -> None:
        self.time_ns = time_ns
        self.app = app
        self.stream = stream
        self.text = text


def read(
    pod: Pod,
    apps: list[str],
    *,
    follow: bool = False,
    since_ns: int = 0,
    until_ns: int = 2**63,
    tail: int | None = None,
) -> Iterator[LogLine]:
    """Yield the lines of `apps` in order of time; with `follow`, go on until nothing of the pod is alive, or the time
    is `until_ns` (nanoseconds since the epoch, as `since_ns`; both included).

    Of what is there already, only the last `tail` lines are yielded if that is given. A last line without its end is
    yielded when the app cannot add to it any more.
    """
    # By descriptor: the directory moves with its pod, and is read to the end even when the pod is removed.
    directory = pod.open("logs")
    readers = [_Reader(directory, app) for app in apps]
    try:
        while True:
            # Looked at before the files are read: what was written before the end is then still found.
            alive = _alive(pod)
            lines = merge(*[reader.lines() for reader in readers], key=lambda line: line.time_ns)
            found: Iterable[LogLine] = (line for line in lines if since_ns <= line.time_ns <= until_ns)
            if tail is not None:
                from collections import deque

                found, tail = deque(found, tail), None
            yield from found
            if not alive or not follow or time.time_ns() > until_ns:
                break
            time.sleep(POLL_SECONDS)
        for line in sorted((line for reader in readers for line in reader.rest()), key=lambda line: line.time_ns):
            if since_ns <= line.time_ns <= until_ns:
                yield line
    finally:
        for reader in readers:
            reader.close()
        os.close(directory)


def last(pod: Pod, apps: list[str], size: int) -> list[LogLine]:
    """Return the lines that the last `size` bytes of each app's log hold whole, in order of time."""
    directory = pod.open("logs")
    readers = [_Reader(directory, app) for app in apps]
    try:
        return list(merge(*[reader.last(size) for reader in readers], key=lambda line: line.time_ns))
    finally:
        for reader in readers:
            reader.close()
        os.close(directory)


def _alive(pod: Pod) -> bool:
    try:
        return pod.refresh().locked()
    except PodNotFound:
        return False


class _Reader:
    """Reads one app's log from its oldest kept file on, across rotations."""

    def __init__(self, directory: int, app: str) -> None:
        self.directory = directory
        self.app = app
        self.pending = b""
        self.parts: dict[str, tuple[int, bytes]] = {}
        self.fd = -1

    def lines(self) -> Iterator[LogLine]:
        """Yield what has been added since the last call."""
        newer = self._newer_files()
        try:
            if self.fd >= 0:
                yield from self._drain()
            while newer:
                self.close()
                self.fd = newer.pop()
                yield from self._drain()
        finally:
            # Whoever reads may stop at any line.
            for fd in newer:
                os.close(fd)

    def last(self, size: int) -> Iterator[LogLine]:
        """Yield the lines that the last `size` bytes hold whole, instead of all that there are."""
        files = self._newer_files()
        wanted: list[int] = []
        while files and size > 0:
            fd = files.pop(0)
            size -= os.fstat(fd).st_size
            wanted.append(fd)
        for fd in files:
            os.close(fd)
        if size < 0:
            os.lseek(wanted[-1], -size, os.SEEK_SET)
            # What is before the first line's end is the end of another.
            self.pending = _CUT
        while wanted:
            self.fd, before = wanted.pop(), self.fd
            if before >= 0:
                os.close(before)
            yield from self._drain()

    def rest(self) -> Iterator[LogLine]:
        """Yield the lines that have begun but not ended."""
        for stream, (moment, text) in self.parts.items():
            yield LogLine(moment, self.app, stream, text)

    def close(self) -> None:
        """Close the file that is being read."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self.pending = b""

    def _newer_files(self) -> list[int]:
        """Open the files begun after the one being read; newest first, as they were before any rotation meanwhile."""
        known = {os.fstat(self.fd).st_ino} if self.fd >= 0 else set()
        found: list[int] = []
        number = 0
        while True:
            name = f"{self.app}.log.{number}" if number else f"{self.app}.log"
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.directory)
            except FileNotFoundError:
                return found
            inode = os.fstat(fd).st_ino
            if self.fd >= 0 and inode == os.fstat(self.fd).st_ino:
                os.close(fd)
                return found
            if inode in known:
                # Rotated while we looked: this is the one opened before, by its next name.
                os.close(fd)
            else:
                known.add(inode)
                found.append(fd)
            number += 1

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
        try:
            moment = parse_time(fields[0].decode("ascii", "replace"))
        except AppcError:
            return None
        stream = fields[1].decode("ascii", "replace")
        # A line counts from the moment its first part was written.
        moment, text = self.parts.pop(stream, (moment, b""))
        text += fields[3]
        if fields[2] == b"P" and len(text) < LONGEST_LINE:
            self.parts[stream] = (moment, text)
            return None
        return LogLine(moment, self.app, stream, text)


def parse_time(text: str) -> int:
    """Parse an RFC 3339 time in UTC (`2026-01-02T03:04:05[.frac]Z`) to nanoseconds since the epoch."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    parts = whole.replace("T", "-").replace(":", "-").split("-")
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) in (2, 4)]
    if len(numbers) != 6 or len(parts) != 6 or (fraction and not fraction.isdecimal()) or not _possible(numbers):
        raise AppcError("is not an RFC 3339 time in UTC such as 2026-01-02T03:04:05Z", text)
    year, month, day, hour, minute, second = numbers
    seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    return seconds * 10**9 + int(fraction[:9].ljust(9, "0") or "0")


def format_time(nanoseconds: int) -> str:
    """Return nanoseconds since the epoch as an RFC 3339 time in UTC, with all its digits."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def _possible(numbers: list[int]) -> bool:
    highest = (9999, 12, 31, 23, 59, 60)
    return all(number <= most for number, most in zip(numbers, highest, strict=True)) and min(numbers[1:3]) >= 1


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar (years begin in March here)."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
