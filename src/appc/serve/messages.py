"""One HTTP exchange, free of sockets: what was asked, what is answered."""

from __future__ import annotations

import os
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
HTML = "text/html; charset=utf-8"

Fields = tuple[tuple[str, str], ...]

_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:[]")
_MAX_QUERY = 20


class Request:
    """A request whose head has arrived.

    `path` is decoded, `host` in lower case with its port if it has one, `fields` by name in lower case (repeated ones
    joined with commas, as RFC 9110 says). `secure` tells whether it came over TLS. `body` gives what follows the head.
    """

    __slots__ = ("body", "fields", "host", "method", "path", "query", "secure", "target")

    def __init__(
        self,
        method: str,
        target: str,
        fields: dict[str, str],
        *,
        secure: bool = False,
        body: AsyncIterator[bytes] | None = None,
    ) -> None:
        """Raises Refusal for a target or a host that cannot be meant."""
        self.method = method
        self.target = target
        self.fields = fields
        self.secure = secure
        self.body = body
        authority = fields.get("host", "")
        if "://" in target:  # absolute form, which servers have to take (RFC 9112, section 3.2.2)
            authority, slash, rest = target.partition("://")[2].partition("/")
            target = slash + rest
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            raise Refusal(400, "the target is no path")
        self.path = _decoded(path)
        self.host = authority.lower()
        if not _HOST.issuperset(self.host) or len(self.host) > 255:
            raise Refusal(400, "the host is none")
        try:
            self.query = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY))
        except ValueError:
            raise Refusal(400, f"the query has more than {_MAX_QUERY} fields") from None

    @property
    def domain(self) -> str:
        """The host without its port."""
        host, colon, port = self.host.rpartition(":")
        return host if colon and port.isdigit() else self.host

    @property
    def origin(self) -> str:
        """Scheme and host, to make absolute URLs of."""
        return f"{'https' if self.secure else 'http'}://{self.host}"

    def get(self, name: str) -> str:
        """The field `name` (lower case), "" when it is absent."""
        return self.fields.get(name, "")


def _decoded(path: str) -> str:
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "the path is not UTF-8") from None
    if not text.isprintable():
        raise Refusal(400, "the path has control characters")
    return text


class FileBody:
    """A part of an open file as the body of an answer. Closing it closes the file."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count

    def __len__(self) -> int:
        return self.count

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Response:
    """An answer. `length` is of the whole body, which is left out when HEAD was asked."""

    __slots__ = ("body", "fields", "length", "status")

    def __init__(self, status: int, body: bytes | FileBody = b"", fields: Fields = (), length: int = -1) -> None:
        self.status = status
        self.body = body
        self.fields = fields
        self.length = len(body) if length < 0 else length

    def close(self) -> None:
        """Let go of the file that was to be sent."""
        if isinstance(self.body, FileBody):
            self.body.close()


class Refusal(Exception):
    """A request that gets an error answer; `reason` is for whoever reads it."""

    def __init__(self, status: int, reason: str, fields: Fields = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.fields = fields

    def response(self) -> Response:
        """The answer that says so, as text."""
        body = f"{HTTPStatus(self.status).phrase}: {self.reason}\n".encode("utf-8", "backslashreplace")
        return Response(self.status, body, (("Content-Type", TEXT), *self.fields))


class MethodNotAllowed(Refusal):
    """405, with the methods that are allowed."""

    def __init__(self, *allowed: str) -> None:
        super().__init__(405, f"allowed here: {', '.join(allowed)}", (("Allow", ", ".join(allowed)),))
