"""Fetching files over HTTP: conditional requests, ranges and what the answers mean (RFC 9110, RFC 9111)."""

from __future__ import annotations

from appc.errors import HttpStatus, ImageNotFound, NetworkError
from appc.images.transport import Download
from appc.net.dates import parse_date
from appc.net.urls import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from appc.images.transport import Context
    from appc.net.response import Response

# What asks for an image takes what is there, and no description of it.
_ACCEPT = {"accept": "application/octet-stream, */*;q=0.5"}
_MOST_FRESH = 365 * 86400
# A date tells two files apart only if they were not made in the same moment (RFC 9110, section 8.8.2.2).
_SETTLED = 60


class HttpTransport:
    """The transport for http and https."""

    def open(self, url: str, context: Context) -> Download:
        """See `Transport.open`."""
        headers = dict(_ACCEPT)
        wanted = range_headers(context.start, context.validators)
        if wanted:
            headers |= wanted
        elif context.known.get("etag"):
            headers["if-none-match"] = context.known["etag"]
        elif context.known.get("modified"):
            headers["if-modified-since"] = context.known["modified"]
        answer = context.network.client.request("GET", url, headers=headers)
        try:
            if answer.status == 416 and wanted:
                # There is less of it than we have: it is another file.
                answer.close()
                return self.open(url, _from_start(context))
            return _download(answer, context, bool(wanted))
        except BaseException:
            answer.close()
            raise


def range_headers(start: int, validators: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that ask for a file from byte `start` on if it is still the same, {} if that is not possible.

    Weak validators do not tell whether every byte is the same.
    """
    etag = validators.get("etag", "")
    strong = etag if etag.startswith('"') else validators.get("settled", "")
    return {"range": f"bytes={start}-", "if-range": strong} if start > 0 and strong else {}


def max_age(fields: Mapping[str, str]) -> int:
    """Return for how many seconds Cache-Control lets an answer be used without asking; 0 when it does not say so."""
    ages = []
    for part in fields.get("cache-control", "")[:1000].lower().split(","):
        name, _, value = part.strip().partition("=")
        if name in ("no-store", "no-cache"):
            return 0
        digits = value.strip('"')
        if name == "max-age" and digits.isascii() and digits.isdecimal() and (digits == "0" or digits[0] != "0"):
            ages.append(min(int(digits[:12]), _MOST_FRESH))
    return ages[0] if len(ages) == 1 else 0


def content_range(text: str) -> tuple[int, int | None]:
    """Read `bytes FIRST-LAST/SIZE`; return where it starts and the size of the whole (None for `*`).

    Raises ValueError for anything else.
    """
    unit, _, rest = text.strip().partition(" ")
    span, _, size = rest.partition("/")
    first, _, last = span.partition("-")
    numbers = (first, last, size if size != "*" else "0")
    if unit != "bytes" or not all(n.isascii() and n.isdecimal() and len(n) < 19 for n in numbers):
        raise ValueError(text)
    start, end, whole = (int(n) for n in numbers)
    if end < start or (size != "*" and end >= whole):
        raise ValueError(text)
    return start, whole if size != "*" else None


def _from_start(context: Context) -> Context:
    return type(context)(context.network)


def _download(answer: Response, context: Context, ranged: bool) -> Download:
    if answer.status == 304 and not ranged and context.known:
        answer.close()
        return Download(_Nothing(), unchanged=True, fresh=max_age(answer.headers), validators=context.known)
    if answer.status == 202:
        answer.close()
        return Download(_Nothing(), pending=True)
    try:
        answer.check()
    except HttpStatus as error:
        if error.status in (404, 410):
            raise ImageNotFound(error.what, error.where, error.hint) from None
        raise
    start, size = 0, answer.length
    if answer.status == 206:
        try:
            start, size = content_range(answer.headers.get("content-range", ""))
        except ValueError:
            start = -1
        if not ranged or start != context.start:
            raise NetworkError("sends another part of the file than was asked for", shown(answer.url))
    return Download(
        answer.stream(),
        size,
        validators_of(answer.headers),
        start=start,
        fresh=max_age(answer.headers),
        close=answer.close,
    )


def validators_of(fields: Mapping[str, str]) -> dict[str, str]:
    """What tells a file from its later versions: `etag`, `modified`, and `settled`, the date where it is strong."""
    found = {}
    etag, modified = fields.get("etag", ""), fields.get("last-modified", "")
    if 0 < len(etag) <= 1000:
        found["etag"] = etag
    if 0 < len(modified) <= 100:
        found["modified"] = modified
        sent, made = parse_date(fields.get("date", "")), parse_date(modified)
        if sent is not None and made is not None and sent - made >= _SETTLED:
            found["settled"] = modified
    return found


class _Nothing:
    def read(self, size: int, /) -> bytes:
        return b""
