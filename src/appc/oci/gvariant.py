"""Values of annotations `org.systemd.property.*`, in the text format of GVariant as other runtimes take it.

Numbers, booleans, strings and lists of strings: 5, uint64 5000000, true, 'word', ['a.service', 'b.service'].
"""

from __future__ import annotations

from appc.errors import AppcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# type in front of a number → (signature, bits, signed)
_NUMBERS = {
    "byte": ("y", 8, False),
    "int16": ("n", 16, True),
    "uint16": ("q", 16, False),
    "int32": ("i", 32, True),
    "uint32": ("u", 32, False),
    "int64": ("x", 64, True),
    "uint64": ("t", 64, False),
}


def parse(text: str, where: str) -> tuple[str, Any]:
    """Return (signature of D-Bus, value). AppcError that names `where` for what is none of these."""
    text = text.strip()
    if text in ("true", "false"):
        return "b", text == "true"
    if text[:1] == "[" and text[-1:] == "]":
        return "as", _strings(text[1:-1], where)
    if text[:1] in ("'", '"'):
        word, rest = _string(text, where)
        if not rest:
            return "s", word
        raise _wrong(text, where)
    kind, _, digits = text.rpartition(" ")
    return _number(kind.strip() or "int32", digits, text, where)


def _number(kind: str, digits: str, text: str, where: str) -> tuple[str, int]:
    if kind not in _NUMBERS or not digits.lstrip("+-").isascii() or not digits.lstrip("+-").isdecimal():
        raise _wrong(text, where)
    signature, bits, signed = _NUMBERS[kind]
    try:
        value = int(digits)
    except ValueError:
        raise _wrong(text, where) from None
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not lowest <= value <= highest:
        raise AppcError(f"{digits} is no {kind}", where)
    return signature, value


def _strings(text: str, where: str) -> list[str]:
    found: list[str] = []
    rest = text.strip()
    while rest:
        word, rest = _string(rest, where)
        found.append(word)
        if rest[:1] == ",":
            rest = rest[1:].strip()
        elif rest:
            raise _wrong(text, where)
    return found


def _string(text: str, where: str) -> tuple[str, str]:
    """Return the string in quotes that `text` begins with, and what follows it."""
    quote = text[:1]
    if quote not in ("'", '"'):
        raise _wrong(text, where)
    word, index = "", 1
    while index < len(text) and text[index] != quote:
        if text[index] == "\\":
            index += 1
        word += text[index : index + 1]
        index += 1
    if index >= len(text):
        raise _wrong(text, where)
    return word, text[index + 1 :].strip()


def _wrong(text: str, where: str) -> AppcError:
    hint = "numbers, booleans, strings in quotes, and lists of these are: uint64 5, true, 'word', ['a', 'b']"
    return AppcError(f"{text!r} is no value of a property", where, hint)
