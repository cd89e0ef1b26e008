"""What is wrong with a text that is no JSON, for who wrote it: found out only when the scanner has stopped at it."""

from __future__ import annotations

from appc.errors import ManifestError
from appc.schema.json import NotFinite, TooLong, fault, scan, too_deep


def _expected(text: str, index: int) -> str:
    if index >= len(text):
        return "the text ends where a value should be"
    if text[index] == "\ufeff":
        return "a byte order mark is not JSON"
    return f"a value should be here, not {text[index]!r}"


def explain(text: str, start: int, error: Exception) -> ManifestError:
    """What the scanner's exception means to the person who wrote the text."""
    if isinstance(error, SystemError):
        # The C scanner finds its own exception class only when json.decoder is loaded.
        import json.decoder  # noqa: F401

        try:
            scan(text, start)
        except (StopIteration, ValueError, RecursionError) as explained:
            error = explained
    if isinstance(error, RecursionError):
        return too_deep()
    if isinstance(error, StopIteration):
        return fault(text, error.value, _expected(text, error.value))
    word = str(error)
    if isinstance(error, NotFinite):
        return fault(text, _outside_strings(text, word), f"{word} is not a JSON number")
    if isinstance(error, TooLong):
        shown = word if len(word) <= 24 else word[:20] + "…"
        return fault(text, _outside_strings(text, word), f"the number {shown} is too large")
    reason = str(getattr(error, "msg", word)).removesuffix(" at").removesuffix(" starting")
    return fault(text, getattr(error, "pos", 0), reason[:1].lower() + reason[1:])


def _outside_strings(text: str, word: str) -> int:
    """Where `word` first stands outside a string."""
    index, inside = 0, False
    while index < len(text):
        if inside:
            if text[index] == "\\":
                index += 1
            elif text[index] == '"':
                inside = False
        elif text[index] == '"':
            inside = True
        elif text.startswith(word, index):
            return index
        index += 1
    return 0
