"""The one-line forms of manifest parts: `NAME,key=value,…`, as command lines write them."""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.schema.record import Record
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    R = TypeVar("R", bound=Record)

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def flag(text: str) -> bool:
    """The truth value a word stands for: true, t, 1 or false, f, 0 in the usual spellings. Raises InvalidValue."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidValue(f"{quoted(text)} should be true or false")


def number(text: str) -> int:
    """A decimal number of at most 20 digits. Raises InvalidValue."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or digits.strip("0123456789") or len(digits) > 20:
        raise InvalidValue(f"{quoted(text)} should be a number")
    return int(text)


def word(text: str) -> str:
    """Any text."""
    return text


def pairs(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split `NAME,key=value,…` into the name and the pairs, in order. Values are literal and hold no comma.

    Raises InvalidValue for a part without `=` and for a repeated key.
    """
    name, *parts = text.split(",")
    found: list[tuple[str, str]] = []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidValue(f"{quoted(part)} should be KEY=VALUE")
        if any(key == known for known, _ in found):
            raise InvalidValue(f"{quoted(key)} is given twice")
        found.append((key, value))
    return name, found


def read(record: type[R], text: str, form: str, readers: Mapping[str, Callable[[str], Any]]) -> R:
    """Make a `record` of `NAME,key=value,…`; `readers` turns the text of each key it knows into a JSON value.

    Raises InvalidValue on one line, with `form` as the hint.
    """
    try:
        name, given = pairs(text)
        raw: dict[str, Any] = {"name": name}
        for key, value in given:
            if key not in readers:
                raise InvalidValue(f"there is no {quoted(key)}, only {', '.join(readers)}")
            try:
                raw[key] = readers[key](value)
            except InvalidValue as error:
                raise InvalidValue(f"{key}: {error.what}") from None
        return record.parse(raw)
    except ManifestError as error:
        what = "; ".join(f"{path}: {message}" if path else message for path, message in error.faults)
        raise InvalidValue(what, quoted(text), f"the form is {form}") from None
    except InvalidValue as error:
        raise InvalidValue(error.what, quoted(text), f"the form is {form}") from None
