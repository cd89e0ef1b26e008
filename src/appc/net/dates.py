"""Dates in header fields (RFC 9110, section 5.6.7)."""

from __future__ import annotations

import calendar
from email.utils import parsedate_to_datetime


def parse_date(text: str) -> int | None:
    """The seconds since the epoch that an HTTP date names; None for what is none."""
    try:
        return calendar.timegm(parsedate_to_datetime(text).utctimetuple())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
