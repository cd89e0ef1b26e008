"""What `appc serve` makes of requests: targets, conditions, ranges, and the ETags and dates in them.

An input is a request: the target on the first line, then a field a line. The answer must agree with itself, whatever
was asked.
"""

from __future__ import annotations

from appc.serve.conditions import FULL, check, http_date, part
from appc.serve.messages import Refusal, Request

ALLOWED = (Refusal,)
SIZE, TAG, MODIFIED = 1000, '"sha512-0123.4567"', 1_700_000_000.5
WORDS = (
    b"range: bytes=", b"bytes=0-9", b"bytes=-5", b"bytes=5-", b"0-0,5-6", b"999-", b"1000-", b"if-range: ",
    TAG.encode(),
    b"W/", b'"', b"*", b"if-none-match: ", b"if-match: ", b"if-modified-since: ", b"if-unmodified-since: ",
    http_date(MODIFIED).encode(), b"GMT", b"host: ", b"http://", b"?ac-discovery=1", b"%2e%2e", b"%00", b"&a=", b", ",
    b"99999999999999999999",
)  # fmt: skip
SEEDS = (
    b"/app?ac-discovery=1\nhost: example.com:80",
    b"/-/aci/a.aci\nhost: [::1]:80\nrange: bytes=0-499\nif-range: " + TAG.encode(),
    b"http://example.com/%7Ex\nif-none-match: W/" + TAG.encode() + b', "x"\nrange: bytes=-1',
    b"/\nif-modified-since: " + http_date(MODIFIED).encode() + b"\nif-unmodified-since: Mon, 01 Jan 2001 00:00:00 GMT",
)


def run(data: bytes) -> None:
    """Read a request as a connection does, and answer its conditions and range for one file."""
    target, *lines = data.decode("latin-1").split("\n")
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    request = Request("GET", target, fields)
    assert request.path.startswith("/")
    assert request.path.isprintable()
    assert not set(request.host) & set(" \t\r\n/<>\"'{}")
    assert request.domain in request.host
    assert len(request.query) <= 20
    check(request, TAG, MODIFIED)
    offset, count = part(request, SIZE, TAG, MODIFIED)
    if (offset, count) != FULL:
        assert 0 <= offset < SIZE
        assert 0 < count <= SIZE - offset
        assert "range" in fields
