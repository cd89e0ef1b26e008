"""Dates and URLs as manifests write them, checked by hand to spare the launch path `datetime` and `urllib`."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.values import quoted

_DIGITS = "0123456789"
_HEX = _DIGITS + "abcdefABCDEF"
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def check_date(text: str, strict: bool) -> None:
    """Raise InvalidValue unless `text` is an RFC 3339 date and time, as in `2015-05-18T13:49:28.35-04:00`.

    The compatible level admits what Go's parser does: hours of one digit, a comma before the fraction, and
    any two digits in each part of the zone.
    """
    if not _is_date(text, strict):
        raise InvalidValue(f"{quoted(text)} is not a date like 2015-05-18T13:49:28Z")


def _is_date(text: str, strict: bool) -> bool:
    day, mark, rest = text.partition("T")
    year, month, date = _numbers(day, "-", (4, 2, 2)) or (0, 0, 0)
    if not mark or not 1 <= month <= 12:
        return False
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= date <= _DAYS[month - 1] + leap:
        return False
    clock, zone = (rest[:-1], "") if rest.endswith("Z") else (rest[:-6], rest[-6:])
    if not strict and clock[1:2] == ":":
        clock = "0" + clock
    time = _numbers(clock[:8], ":", (2, 2, 2))
    if time is None or time[0] > 23 or time[1] > 59 or time[2] > 59:
        return False
    fraction = clock[8:]
    if fraction and (fraction[0] not in (".," if not strict else ".") or not _digits(fraction[1:])):
        return False
    if not zone:
        return True
    offset = _numbers(zone[1:], ":", (2, 2))
    return zone[0] in "+-" and offset is not None and (not strict or (offset[0] < 24 and offset[1] < 60))


def _digits(text: str) -> bool:
    return bool(text) and not text.strip(_DIGITS)


def _numbers(text: str, separator: str, lengths: tuple[int, ...]) -> tuple[int, ...] | None:
    parts = text.split(separator)
    if len(parts) != len(lengths) or any(
        len(p) != length or not _digits(p) for p, length in zip(parts, lengths, strict=True)
    ):
        return None
    return tuple(int(part) for part in parts)


def check_url(text: str, strict: bool) -> None:
    """Raise InvalidValue unless `text` is a URL of scheme http or https. The strict level also wants a host."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("http", "https"):
        raise InvalidValue(f"{quoted(text)} is not a URL of scheme http or https")
    if any(c < " " or c == "\x7f" for c in text):
        raise InvalidValue(f"{quoted(text)} is not a URL: it holds a control character")
    authority = rest[2:].partition("/")[0].partition("?")[0].partition("#")[0] if rest.startswith("//") else ""
    if (strict and not authority) or not _is_authority(authority):
        raise InvalidValue(f"{quoted(text)} is not a URL: its host is {'not valid' if authority else 'missing'}")
    before, _, fragment = rest.partition("#")
    # Without a slash there is no path but an opaque text, in which Go lets % stand for itself.
    path = before.partition("?")[0] if rest.startswith("/") else ""
    for part in (path, fragment):
        if any(len(code) < 2 or code[:2].strip(_HEX) for code in part.split("%")[1:]):
            raise InvalidValue(f"{quoted(text)} is not a URL: % should be followed by two hexadecimal digits")


def _is_authority(text: str) -> bool:
    """Whether `text` is a host with, perhaps, a user before and a port behind it."""
    host = text.rpartition("@")[2]
    if host.startswith("["):
        host, bracket, port = host[1:].partition("]")
        if not bracket or (port and port[0] != ":"):
            return False
        port = port[1:]
    else:
        host, _, port = host.partition(":")
    return not any(c in " \\^`{|}%" for c in host) and not port.strip(_DIGITS)
