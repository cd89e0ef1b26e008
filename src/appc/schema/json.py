"""JSON without the `json` package: importing that costs more than starting the interpreter.

The C scanner and encoder behind `json` are used directly; `json` itself is imported only where
`_json` is missing or while a syntax error is being reported. Input is treated as hostile: size,
depth and numbers are bounded, and whatever two readers could understand differently (invalid
UTF-8, unpaired surrogates, NaN, text after the value) is refused with its line and column.
Duplicate keys are not refused: the last one counts, as in every appc tool.
"""

from __future__ import annotations

from appc.errors import ManifestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring, make_scanner
    from _json import make_encoder as _make_encoder
except ImportError:  # an interpreter without the C accelerators
    from json.encoder import encode_basestring
    from json.scanner import make_scanner

    _make_encoder = None  # type: ignore[assignment, misc]

MAX_BYTES = 8 << 20
MAX_DEPTH = 100
MAX_DIGITS = 100

_SPACE = " \t\r\n"


def loads(data: bytes | str, limit: int = MAX_BYTES) -> Any:
    """The value of one JSON text of at most `limit` bytes.

    Raises ManifestError with one fault, `line L, column C: reason`; columns count characters from 1.
    """
    if len(data) > limit:
        raise ManifestError([("", f"{len(data)} bytes of JSON, more than the limit of {limit}")])
    text = _encodable(data) if isinstance(data, str) else _decode(data)
    start = 0
    while text[start : start + 1] in _SPACE and start < len(text):
        start += 1
    try:
        value, end = scan(text, start)
    except (StopIteration, ValueError, RecursionError, SystemError) as error:
        from appc.schema.json_faults import explain

        raise explain(text, start, error) from None
    if text[end:].strip(_SPACE):
        rest = len(text) - len(text[end:].lstrip(_SPACE))
        raise fault(text, rest, "text after the end of the JSON value")
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise too_deep()
    if "\\ud" in text or "\\uD" in text:
        _refuse_lone_surrogates(text)
    return value


def dumps(value: Any, indent: int | None = None) -> str:
    """`value` (dict, list, tuple, str, int, float, bool, None) as JSON, keys in their own order.

    Compact when `indent` is None, else indented by that many spaces. Raises ValueError for NaN and infinities.
    """
    if indent is None and _make_encoder is not None:
        return "".join(_make_encoder({}, _unknown, encode_basestring, None, ":", ",", False, False, False)(value, 0))
    pieces: list[str] = []
    _write(value, pieces, "\n" if indent is not None else "", " " * (indent or 0))
    return "".join(pieces)


class NotFinite(ValueError):
    """A number that JSON has no word for."""


class TooLong(ValueError):
    """A number of more digits than anything in a manifest can mean."""


class _Settings:
    """What the scanner reads its options from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    memo: dict[str, str] = {}  # noqa: RUF012 - only the pure-Python scanner uses it

    @staticmethod
    def parse_int(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise TooLong(digits)
        return int(digits)

    @staticmethod
    def parse_float(digits: str) -> float:
        number = float(digits)
        if number in (_INFINITY, -_INFINITY):
            raise TooLong(digits)
        return number

    @staticmethod
    def parse_constant(word: str) -> float:
        raise NotFinite(word)

    def __getattr__(self, name: str) -> Any:
        # The pure-Python scanner also asks for its object, array and string parsers.
        from json import decoder

        names = {"parse_object": "JSONObject", "parse_array": "JSONArray", "parse_string": "scanstring"}
        return getattr(decoder, names[name])


_INFINITY = float("inf")
scan = make_scanner(_Settings())  # type: ignore[arg-type]


def _decode(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise ManifestError([("", "line 1, column 1: a byte order mark is not JSON")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise fault(before, len(before), f"byte 0x{data[error.start]:02x} is not UTF-8") from None


def _encodable(text: str) -> str:
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise fault(text, error.start, f"\\u{ord(text[error.start]):04x} is half of a character") from None
    return text


def fault(text: str, index: int, message: str) -> ManifestError:
    """Return the error for a fault at `index`."""
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    return ManifestError([("", f"line {line}, column {column}: {message}")])


def too_deep() -> ManifestError:
    """Return the error for more than MAX_DEPTH."""
    return ManifestError([("", f"values are nested more than {MAX_DEPTH} deep")])


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level and depth <= MAX_DEPTH:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        depth += 1
        level = [item for item in below if isinstance(item, (dict, list))]
    return depth


def _refuse_lone_surrogates(text: str) -> None:
    """Raise for \\uD800–\\uDFFF that is not half of a pair. `text` is known to be valid JSON."""
    index = text.find("\\")
    while index >= 0:
        if text[index + 1] != "u":
            index = text.find("\\", index + 2)
            continue
        code = int(text[index + 2 : index + 6], 16)
        after = text[index + 6 : index + 12]
        if 0xD800 <= code < 0xDC00 and after[:2] == "\\u" and 0xDC00 <= int(after[2:], 16) < 0xE000:
            index = text.find("\\", index + 12)
        elif 0xD800 <= code < 0xE000:
            raise fault(text, index, f"\\u{code:04x} is half of a character")
        else:
            index = text.find("\\", index + 6)


def _unknown(value: object) -> str:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _write(value: Any, pieces: list[str], newline: str, step: str) -> None:
    if isinstance(value, str):
        pieces.append(encode_basestring(value))
    elif value is None or value is True or value is False:
        pieces.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, int):
        pieces.append(int.__repr__(value))
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{value!r} has no JSON form")
        pieces.append(float.__repr__(value))
    elif isinstance(value, dict):
        below = newline + step
        mark = "{" + below
        for key, item in value.items():
            pieces.append(mark + encode_basestring(key) + (": " if newline else ":"))
            _write(item, pieces, below, step)
            mark = "," + below
        pieces.append(newline + "}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        below = newline + step
        mark = "[" + below
        for item in value:
            pieces.append(mark)
            _write(item, pieces, below, step)
            mark = "," + below
        pieces.append(newline + "]" if value else "[]")
    else:
        _unknown(value)
