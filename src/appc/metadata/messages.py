"""One HTTP exchange with the metadata service, free of sockets and of how it is put on the wire."""

from __future__ import annotations

JSON = "application/json"
TEXT = "text/plain; charset=us-ascii"
"""The content types of ace.md, "Metadata Service"; clients compare them literally."""

UNICODE_TEXT = "text/plain; charset=utf-8"
FORM = "application/x-www-form-urlencoded"

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


class Request:
    """A complete request. `target` is the path and query as sent, `content_type` without parameters."""

    __slots__ = ("body", "content_type", "method", "target")

    def __init__(self, method: str, target: str, content_type: str = "", body: bytes = b"") -> None:
        self.method = method
        self.target = target
        self.content_type = content_type
        self.body = body

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the path's question mark, as sent."""
        return self.target.partition("?")[2]


class Response:
    """An answer; `fields` are header fields beyond those every answer has."""

    __slots__ = ("body", "content_type", "fields", "status")

    def __init__(self, status: int, content_type: str, body: bytes, fields: tuple[tuple[str, str], ...] = ()) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.fields = fields


class Question:
    """What another program has to be asked before there is an answer: its arguments, and what it reads."""

    __slots__ = ("argv", "data")

    def __init__(self, argv: tuple[str, ...], data: bytes) -> None:
        self.argv = argv
        self.data = data


class Refusal(Exception):
    """A request that gets an error answer; `reason` is the body a person reads."""

    def __init__(self, status: int, reason: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason, fields)
        self.status = status
        self.reason = reason
        self.fields = fields

    def response(self) -> Response:
        """The answer that says so."""
        body = f"{REASONS[self.status]}: {self.reason}\n".encode("ascii", "backslashreplace")
        return Response(self.status, TEXT, body, self.fields)
