"""How long a server may take and how much it may send besides what was asked for.

http.client reads headers, chunk sizes and trailers without an overall limit of time or size: a server that sends a
byte now and then, or `100 Continue` for ever, would hold it for ever. Here every read from the socket is counted and
timed, below http.client, so that no part of the protocol escapes.
"""

from __future__ import annotations

import io
import threading
import time
from http.client import HTTPResponse

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from appc.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

MAX_HEADERS = 256 << 10  # bytes of status lines and headers of one answer, interim ones included
_OVERHEAD = 8 << 20  # bytes of chunk sizes, extensions and trailers that are let pass, besides as much as the body
_WINDOW = 2  # times the longest silence: the seconds of waiting over which the rate is looked at


class Watch:
    """The patience with one exchange: `where` is the URL, for messages.

    From when the request has been sent, everything up to the end of the body has to arrive within `total` seconds,
    with `read` seconds between two reads at most. After `stream` the time does not count any more, but a least rate.
    """

    def __init__(self, where: str, read: float, total: float, slowest: int) -> None:
        self._where = where
        self._read = read
        self._total = total
        self._deadline: float | None = None
        self._slowest = slowest
        self._headers = True
        self._bytes = 0
        self._waited = 0.0
        self._window_bytes = 0
        self.delivered = 0

    def begin(self) -> None:
        """The request has been sent; an upload may have taken its time until here."""
        self._deadline = time.monotonic() + self._total

    def body(self) -> None:
        """The headers are complete."""
        self._headers = False

    def stream(self) -> None:
        """From here the rate counts, not the time: the body may have any length."""
        self._deadline = None

    def hurry(self) -> None:
        """What is left of the body is not worth waiting for: it comes within a second or not at all."""
        self._deadline = time.monotonic() + 1

    def timeout(self) -> float:
        """Seconds that the next read may take. Raises NetworkError when the time is up."""
        if self._deadline is None:
            return self._read
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NetworkError(f"has not answered completely within {self._total:.0f} s", self._where)
        return min(self._read, left)

    def count(self, size: int, waited: float) -> None:
        """Note that one read took `waited` seconds and brought `size` bytes. Raises NetworkError."""
        self._bytes += size
        if self._headers and self._bytes > MAX_HEADERS:
            raise NetworkError(f"sends more than {MAX_HEADERS >> 10} KiB of headers", self._where)
        if self._bytes > 2 * self.delivered + _OVERHEAD:
            raise NetworkError("sends more framing than content", self._where)
        # Time in which we did not read is not the server's, so only the waiting counts.
        self._waited += waited
        self._window_bytes += size
        if self._waited >= _WINDOW * self._read:
            if self._window_bytes < self._slowest * self._waited:
                rate = self._window_bytes / self._waited
                raise NetworkError(f"is too slow: {rate:.0f} bytes a second, less than {self._slowest}", self._where)
            self._waited = 0.0
            self._window_bytes = 0


_current = threading.local()


class watching:
    """Makes `watch` the one of the responses that this thread begins to read in the `with` block."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __enter__(self) -> None:
        _current.watch = self._watch

    def __exit__(self, *_: object) -> None:
        _current.watch = None


class _Socket(io.RawIOBase):
    """The reading end of a connection, under a watch."""

    def __init__(self, raw: Any, connection: socket.socket, watch: Watch) -> None:
        self._raw = raw
        self._connection = connection
        self._watch = watch
        self._timeout: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        timeout = self._watch.timeout()
        if timeout != self._timeout:
            # A system call, for pieces that TLS makes no longer than 16 KiB.
            self._connection.settimeout(timeout)
            self._timeout = timeout
        before = time.monotonic()
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            # Of the two limits, say which it was.
            self._watch.timeout()
            raise
        self._watch.count(count or 0, time.monotonic() - before)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        watch = getattr(_current, "watch", None)
        if watch is not None:
            watch.begin()
            self.fp = io.BufferedReader(_Socket(self.fp.detach(), sock, watch))


class _Plain(HTTPConnection):
    response_class = _Answer


class _Secure(HTTPSConnection):
    response_class = _Answer


class PlainPool(HTTPConnectionPool):
    """Connections for http URLs whose answers are watched."""

    ConnectionCls = _Plain


class SecurePool(HTTPSConnectionPool):
    """Connections for https URLs whose answers are watched."""

    ConnectionCls = _Secure
