"""Finding the `meta` tags of an HTML page, in time that grows with its length and no faster.

It follows the tokenizer of the HTML standard as far as telling tags from text, comments and raw text needs: tags and
attributes in any case and any order, values quoted or not, and nothing in comments, scripts and their kind.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ATTRIBUTES = 64  # of one tag; the others are passed over

_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_SPACE = frozenset(b" \t\n\r\f")
_END = frozenset(b" \t\n\r\f/>")
# What is in these is text, whatever it looks like.
_RAW = frozenset((b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes"))


def meta_tags(page: bytes) -> Iterator[dict[bytes, bytes]]:
    """Yield the attributes of each `meta` tag: names in lower case, values as they stand, the first of two alike."""
    # Capitals of ASCII only: every byte keeps its place.
    lower = page.lower()
    at = 0
    while True:
        at = lower.find(b"<", at)
        if at < 0:
            return
        if lower.startswith(b"<!--", at):
            at = _after(lower, b"-->", at + 2)
        elif lower[at + 1 : at + 2] in (b"!", b"?", b"/"):
            at = _after(lower, b">", at + 2)
        elif lower[at + 1 : at + 2] and lower[at + 1] in _LETTERS:
            name, at = _word(lower, at + 1)
            attributes, at = _attributes(page, lower, at, name == b"meta")
            if name == b"meta" and at <= len(page):
                yield attributes
            elif name == b"plaintext":
                return
            elif name in _RAW:
                at = lower.find(b"</" + name, at)
                if at < 0:
                    return
        else:
            at += 1


def _after(text: bytes, mark: bytes, at: int) -> int:
    """Where the text goes on after the next `mark`: at its end when there is none."""
    found = text.find(mark, at)
    return len(text) if found < 0 else found + len(mark)


def _word(text: bytes, at: int, stop: frozenset[int] = _END) -> tuple[bytes, int]:
    end = at
    while end < len(text) and text[end] not in stop:
        end += 1
    return text[at:end], end


_NAME_END = _END | {ord("=")}
_VALUE_END = _SPACE | {ord(">")}


def _attributes(page: bytes, lower: bytes, at: int, wanted: bool) -> tuple[dict[bytes, bytes], int]:
    """Read the attributes of a tag up to its `>`; return them and where the tag ends, behind the page if it does not.

    Those of a tag that is not `wanted` are only stepped over.
    """
    found: dict[bytes, bytes] = {}
    while at < len(page):
        if page[at] in _SPACE or page[at] == ord("/"):
            at += 1
            continue
        if page[at] == ord(">"):
            return found, at + 1
        start = at
        # A name may begin with "=", oddly enough.
        _, at = _word(lower, at + 1, _NAME_END)
        name = lower[start:at]
        value, at = _value(page, at)
        if wanted and len(found) < MAX_ATTRIBUTES:
            found.setdefault(name, value)
    return found, len(page) + 1


def _value(page: bytes, at: int) -> tuple[bytes, int]:
    """Read `= value`, if it stands here; return the value and where it ends."""
    start = at
    while at < len(page) and page[at] in _SPACE:
        at += 1
    if page[at : at + 1] != b"=":
        return b"", start
    at += 1
    while at < len(page) and page[at] in _SPACE:
        at += 1
    quote = page[at : at + 1]
    if quote not in (b'"', b"'"):
        return _word(page, at, _VALUE_END)
    end = page.find(quote, at + 1)
    if end < 0:
        return b"", len(page)
    return page[at + 1 : end], end + 1
