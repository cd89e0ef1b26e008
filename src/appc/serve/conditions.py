"""Conditional and range requests (RFC 9110, sections 13 and 14): what a client has, and which part it wants."""

from __future__ import annotations

import time
from base64 import b64encode
from email.utils import formatdate

from appc.net.dates import parse_date
from appc.serve.messages import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.serve.messages import Request

FULL = (-1, -1)
"""What `part` returns when all of it is wanted."""

_DIGITS = frozenset("0123456789")
_MOST_DIGITS = 18
_MOST_TAGS = 100


def http_date(seconds: float) -> str:
    """A time as HTTP wants it."""
    return formatdate(seconds, usegmt=True)


def repr_digest(sha256: str) -> str:
    """The value of the field Repr-Digest (RFC 9530) for a SHA-256 in hexadecimal."""
    return f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"


def entity_tags(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (weak, tag with its quotes) of a list of entity tags; ends at what is no tag."""
    at = 0
    for _ in range(_MOST_TAGS):
        while at < len(text) and text[at] in " \t,":
            at += 1
        weak = text.startswith("W/", at)
        at += 2 * weak
        end = text.find('"', at + 1)
        if not text.startswith('"', at) or end < 0:
            return
        yield weak, text[at : end + 1]
        at = end + 1


def check(request: Request, tag: str, modified: float) -> None:
    """Raise Refusal with 304 or 412 when the conditions of `request` say so, in the order of section 13.2.2.

    `tag` is the strong entity tag, quotes and all; `modified` is in seconds since the epoch.
    """
    whole = int(modified)
    if_match, if_none = request.get("if-match"), request.get("if-none-match")
    if if_match:
        if if_match.strip() != "*" and (False, tag) not in entity_tags(if_match):
            raise Refusal(412, "it is another one now")
    elif (since := parse_date(request.get("if-unmodified-since"))) is not None and whole > since:
        raise Refusal(412, "it was changed since")
    unchanged = False
    if if_none:
        unchanged = if_none.strip() == "*" or any(own == tag for _, own in entity_tags(if_none))
    elif (since := parse_date(request.get("if-modified-since"))) is not None:
        unchanged = whole <= since
    if unchanged:
        raise Refusal(304 if request.method in ("GET", "HEAD") else 412, "you have it")


def part(request: Request, size: int, tag: str, modified: float) -> tuple[int, int]:
    """The (offset, count) of the bytes that `request` wants of `size`, or FULL.

    Several ranges at once are answered with all of it, which section 14.2 leaves to the server. Raises Refusal (416)
    for a range that lies behind the end.
    """
    text = request.get("range")
    if not text or request.method != "GET" or not _still_valid(request.get("if-range"), tag, modified):
        return FULL
    unit, equals, wanted = text.partition("=")
    first, dash, last = wanted.strip(" \t").partition("-")
    if unit.strip(" \t").lower() != "bytes" or not equals or not dash or "," in wanted:
        return FULL
    if any(len(number) > _MOST_DIGITS or not _DIGITS.issuperset(number) for number in (first, last)):
        return FULL
    if not first and not last:
        return FULL
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < begin:
            return FULL
    if begin >= size or begin >= end:
        raise Refusal(416, f"there are {size} bytes", (("Content-Range", f"bytes */{size}"),))
    return begin, end - begin


def _still_valid(condition: str, tag: str, modified: float) -> bool:
    """Whether If-Range allows a part: the tag must be the same, strongly, or the date exactly."""
    if not condition:
        return True
    if '"' in condition:
        return condition.strip() == tag
    # A date is strong only when the file was not changed again within its second.
    return parse_date(condition) == int(modified) and time.time() - modified > 1
