"""HTTP/1.1 as the metadata service speaks it: bytes of one connection in, requests out, answers back.

Importing h11 costs more than all else a cold start does (measured: 36 ms of 50), and clients give up
after 100 ms. So a request of the plain form that clients send – one complete head, a Content-Length
at most – is recognised here, and one that is anything else (chunked, HTTP/1.0, `Expect`, folded lines,
malformed …) is read by h11. Whatever is recognised here means the same to h11; a property test holds
that.
"""

from __future__ import annotations

import time

from appc.metadata.messages import REASONS, Refusal, Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 1024 * 1024

_METHODS = (b"GET", b"HEAD", b"POST")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE = bytes(range(0x21, 0x7F))
_FIELD_TEXT = b"\t " + _VISIBLE
# Fields that change how a message is framed or what is asked of the connection.
_UNUSUAL_FIELDS = (b"transfer-encoding", b"expect", b"upgrade")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Conversation:
    """The requests and answers of one connection, in order.

    Give it what was received with `feed`, ask for the next request with `next_request`, turn the
    answer into bytes with `answer`; then, if it is still `open`, ask for the next request. `to_send`
    holds bytes that are due before the answer (100 Continue).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0  # bytes from which on it is worth looking at the buffer again
        self._h11: _H11 | None = None
        self._head_only = False
        self.open = True
        self.to_send = b""

    @property
    def incomplete(self) -> bool:
        """Whether a request has begun to arrive."""
        return bool(self._buffer) or self._h11 is not None

    def feed(self, data: bytes) -> None:
        """Take bytes received."""
        self._buffer += data

    def next_request(self) -> Request | None:
        """Return the next complete request; None when more bytes are needed.

        Raises Refusal when it is malformed or over a limit; the connection is then not `open` and
        ends with the refusal's answer.
        """
        try:
            request = self._read_by_h11() if self._h11 is not None else self._read_plain()
        except _Unusual:
            self._h11 = _H11()
            return self.next_request()
        except Refusal:
            self.open = self._head_only = False
            raise
        self._head_only = request is not None and request.method == "HEAD"
        return request

    def answer(self, response: Response) -> bytes:
        """Return the bytes of the answer to the request last returned or refused."""
        head = [
            f"HTTP/1.1 {response.status} {REASONS[response.status]}",
            f"Date: {_date(time.time())}",
            "Metadata-Flavor: AppContainer",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            *(f"{name}: {value}" for name, value in response.fields),
        ]
        if not self.open:
            head.append("Connection: close")
        data = "\r\n".join((*head, "", "")).encode("ascii")
        return data if self._head_only else data + response.body

    def _read_plain(self) -> Request | None:
        if len(self._buffer) < self._needed:
            return None
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
        if end < 0:
            if len(self._buffer) >= HEAD_LIMIT or b"\n\n" in self._buffer or b"\n\r\n" in self._buffer:
                raise _Unusual
            return None
        method, target, persistent, fields = _plain_head(bytes(self._buffer[:end]))
        length = int(fields.get(b"content-length", b"0"))
        if length > BODY_LIMIT:
            raise _too_large()
        start = end + 4
        if len(self._buffer) < start + length:
            # A body that arrives byte by byte must not have its head read as often.
            self._needed = start + length
            return None
        self._needed = 0
        body = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        self.open = persistent
        return Request(method, target, _media_type(fields.get(b"content-type", b"")), body)

    def _read_by_h11(self) -> Request | None:
        assert self._h11 is not None
        received = bytes(self._buffer)
        self._buffer.clear()
        request = self._h11.read(received)
        self.to_send += self._h11.go_on
        self._h11.go_on = b""
        if request is not None:
            self._buffer += self._h11.rest
            self.open = self._h11.persistent
            self._h11 = None
        return request


class _Unusual(Exception):
    """A request is not of the plain form; nothing of it was consumed."""


def _plain_head(head: bytes) -> tuple[str, str, bool, dict[bytes, bytes]]:
    """Split a plain request head into method, target, whether the connection goes on, and fields."""
    line, *lines = head.split(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or words[0] not in _METHODS or words[2] != b"HTTP/1.1":
        raise _Unusual
    method, target = words[0], words[1]
    if not target.startswith(b"/") or target.translate(None, _VISIBLE):
        raise _Unusual
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name.translate(None, _TOKEN) or value.translate(None, _FIELD_TEXT):
            raise _Unusual
        if name in fields or name in _UNUSUAL_FIELDS:
            raise _Unusual
        fields[name] = value.strip(b"\t ")
    length = fields.get(b"content-length", b"0")
    connection = fields.get(b"connection", b"keep-alive").lower()
    if not length.isdigit() or len(length) > 10 or connection not in (b"keep-alive", b"close") or b"host" not in fields:
        raise _Unusual
    return method.decode(), target.decode(), connection == b"keep-alive", fields


class _H11:
    """One request, read by h11. `go_on` is a 100 Continue that is due, `rest` what came after the request."""

    def __init__(self) -> None:
        self._library = _import_h11()
        self._connection = self._library.Connection(self._library.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._head: Any = None
        self._body = bytearray()
        self.go_on = b""
        self.rest = b""
        self.persistent = False

    def read(self, data: bytes) -> Request | None:
        """Take `data`; return the request, or None when more is needed. Raises Refusal."""
        library = self._library
        try:
            if data:
                self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not library.NEED_DATA:
                if isinstance(event, library.Request):
                    self._head = event
                elif isinstance(event, library.Data):
                    self._body += event.data
                    if len(self._body) > BODY_LIMIT:
                        raise _too_large()
                else:
                    return self._request()
            if self._connection.they_are_waiting_for_100_continue:
                self.go_on = self._connection.send(library.InformationalResponse(status_code=100, headers=[]))
        except library.RemoteProtocolError as error:
            raise Refusal(error.error_status_hint, "not well-formed HTTP/1.1") from None
        return None

    def _request(self) -> Request:
        self.rest = bytes(self._connection.trailing_data[0])
        self.persistent = self._connection.their_state is self._library.DONE
        media_types = [value for name, value in self._head.headers if name == b"content-type"]
        media_type = _media_type(media_types[0]) if len(media_types) == 1 else ""
        return Request(
            self._head.method.decode("ascii"), self._head.target.decode("ascii"), media_type, bytes(self._body)
        )


def _import_h11() -> Any:
    """Import h11, which may lie elsewhere than appc: the service starts without `site`."""
    try:
        import h11
    except ImportError:
        import site

        site.main()
        import h11
    return h11


def _too_large() -> Refusal:
    return Refusal(413, f"the body is larger than {BODY_LIMIT} bytes")


def _media_type(value: bytes) -> str:
    return value.partition(b";")[0].strip(b"\t ").lower().decode("latin-1")


def _date(seconds: float) -> str:
    """Format a time as RFC 9110 wants it, in English whatever the locale."""
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
    )
