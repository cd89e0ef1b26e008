"""Quantities of resources: `250m` cores, `1.5Gi` bytes, `1000` operations (ace.md, "Resource Isolators").

The grammar is the one the Go tools took from Kubernetes: a decimal number and a suffix, decimal
(`n u m k M G T P E`), binary (`Ki Mi Gi Ti Pi Ei`) or an exponent (`e3`). The specification's text
writes a thousand as `K`, the Go tools know only `k`; both are read.
"""

from __future__ import annotations

from appc.errors import InvalidValue

# The largest amount a binary suffix may stand for; the Go tools cap there as well.
MAX_BINARY = (1 << 63) - 1

_LONGEST = 128
_LARGEST_EXPONENT = 100
_DIGITS = "0123456789"
_NANO = 10**9
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_BINARY_NAMES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
# What the specification's text names; a sign, an exponent or a finer unit is the Go tools' addition.
_STRICT_SUFFIXES = ("m", "", "k", "K", "M", "G", "T", "P", "E", *_BINARY)

DECIMAL = "decimal"
BINARY = "binary"
EXPONENT = "exponent"


class Quantity:
    """An exact amount, kept in billionths of its base unit; finer amounts are rounded away from zero.

    Equality and order are by amount, whatever the notation. `str()` gives the canonical notation: the largest
    suffix of the same family that needs no fraction. `text` is what was written.
    """

    __slots__ = ("family", "nano", "text")

    nano: int
    family: str
    text: str

    def __init__(self, nano: int, family: str = DECIMAL, text: str = "") -> None:
        for name, value in (("nano", nano), ("family", family), ("text", text)):
            object.__setattr__(self, name, value)
        if not text:
            object.__setattr__(self, "text", str(self))

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> Quantity:
        """Read a quantity; `strict` admits only what the specification's text describes. Raises InvalidValue."""
        written = text if strict else text.strip()
        if not written or len(written) > _LONGEST:
            raise _bad(text, "an amount is missing" if not written else "it is too long")
        sign = written[0] if written[0] in "+-" else ""
        digits, suffix = _split(written[len(sign) :])
        whole, point, fraction = digits.partition(".")
        if not digits or "." in fraction or (strict and (sign or not whole or (point and not fraction))):
            raise _bad(text, "it should begin with a decimal number")
        exponent, family = _unit(text, suffix)
        if strict and suffix not in _STRICT_SUFFIXES:
            raise _bad(text, f"its unit {suffix!r} is not one of m k M G T P E Ki Mi Gi Ti Pi Ei")
        nano = _scaled(int((whole + fraction) or "0"), len(fraction), exponent, family)
        if family == BINARY and 0 < nano < _NANO:
            family = DECIMAL
        return cls(-nano if sign == "-" else nano, family, written)

    @classmethod
    def of(cls, amount: int) -> Quantity:
        """A whole amount of base units."""
        return cls(amount * _NANO)

    @property
    def value(self) -> int:
        """Base units (bytes, cores, operations), rounded away from zero."""
        return _divided(self.nano, _NANO)

    @property
    def milli(self) -> int:
        """Thousandths of the base unit, rounded away from zero."""
        return _divided(self.nano, 10**6)

    def as_json(self) -> str:
        """The form a quantity has in manifests: what was written."""
        return self.text

    def __str__(self) -> str:
        nano = self.nano
        if nano == 0:
            return "0"
        if self.family == BINARY and abs(nano) >= 1024 * _NANO and nano % _NANO == 0:
            amount, power = nano // _NANO, 0
            while amount % 1024 == 0 and power < 6:
                amount, power = amount // 1024, power + 1
            return f"{amount}{_BINARY_NAMES[power]}"
        exponent = -9
        while nano % 1000 == 0 and (exponent < 18 or self.family == EXPONENT):
            nano, exponent = nano // 1000, exponent + 3
        if self.family == EXPONENT:
            return f"{nano}e{exponent}" if exponent else str(nano)
        return f"{nano}{_DECIMAL_NAMES[exponent]}"

    def __repr__(self) -> str:
        return f"Quantity({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __le__(self, other: Quantity) -> bool:
        return self.nano <= other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Quantity does not change")


def _bad(text: str, reason: str) -> InvalidValue:
    plain = text[:80].encode("unicode_escape").decode()
    shown = plain if len(plain) <= 40 else plain[:37] + "..."
    return InvalidValue(f'"{shown}" is not a quantity: {reason}', hint="write it like 250m, 1.5Gi or 1000")


def _split(text: str) -> tuple[str, str]:
    end = 0
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    return text[:end], text[end:]


def _unit(text: str, suffix: str) -> tuple[int, str]:
    """The power (of ten, or of two for binary suffixes) and the family a suffix stands for."""
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], DECIMAL
    if suffix in _BINARY:
        return _BINARY[suffix], BINARY
    power = suffix[2:] if suffix[1:2] in ("+", "-") else suffix[1:]
    if suffix[0] not in "eE" or not power or power.strip(_DIGITS):
        raise _bad(text, f"its unit {suffix!r} is not one of n u m k M G T P E Ki Mi Gi Ti Pi Ei")
    exponent = int(suffix[1:])
    if abs(exponent) > _LARGEST_EXPONENT:
        raise _bad(text, f"its exponent is beyond {_LARGEST_EXPONENT}")
    return exponent, EXPONENT


def _scaled(digits: int, places: int, exponent: int, family: str) -> int:
    """The amount `digits` / 10^`places` × its unit in billionths."""
    if family == BINARY:
        return min(_divided((digits << exponent) * _NANO, 10**places), MAX_BINARY * _NANO)
    shift = 9 + exponent - places
    return digits * 10**shift if shift >= 0 else _divided(digits, 10**-shift)


def _divided(amount: int, by: int) -> int:
    """`amount` / `by`, rounded away from zero."""
    return -(-amount // by) if amount > 0 else amount // by
