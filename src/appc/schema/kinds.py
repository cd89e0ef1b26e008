"""What the fields of manifests may hold: small checkers that turn a JSON value into a typed one.

A kind is called with a JSON value and the faults found so far. A wrong scalar raises InvalidValue, which
the field, list or map holding it records with its path; a wrong list, map or object records the faults of
its parts itself and goes on. So one pass finds every fault.
"""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Kind(Protocol):
        """What a field may hold: returns the checked value or raises InvalidValue."""

        def __call__(self, value: Any, faults: Faults, /) -> Any: ...

    class Parser(Protocol):
        """The `parse` of a scalar in `appc.values`."""

        def __call__(self, text: str, strict: bool, /) -> Any: ...

    _List = list[tuple[str, str]]
else:
    _List = list  # what a base says of its parameters would be worked out at each start


# A read-only view of a dict, without importing `types`.
frozen_dict = type(type.__dict__)

# More faults than this are counted, not listed: a hostile manifest may have one in every byte.
MAX_LISTED = 100


class Faults(_List):
    """Faults found so far as (path, message), and whether the strict level applies."""

    __slots__ = ("strict",)

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict

    def add(self, message: str, path: str = "") -> None:
        """Record a fault at `path` below the value being checked."""
        self.append((path, message))

    def locate(self, start: int, step: str) -> None:
        """Put `step` (a key or `[index]`) before the paths of the faults from `start` on."""
        for index in range(start, len(self)):
            path, message = self[index]
            self[index] = (step + ("." if path and path[0] != "[" else "") + path, message)

    def check(self, where: str = "") -> None:
        """Raise ManifestError if there are faults. `where` names the manifest."""
        if self:
            listed: list[tuple[str, str]] = self[:MAX_LISTED]
            if len(self) > MAX_LISTED:
                listed.append(("", f"{len(self) - MAX_LISTED} more faults"))
            raise ManifestError(listed, where)


def type_name(value: Any) -> str:
    """How a message calls a JSON value of the wrong type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (int, float)):
        return "a number"
    return "an object" if isinstance(value, dict) else "a list"


def anything(value: Any, faults: Faults) -> Any:
    """Any JSON value."""
    return value


def string(value: Any, faults: Faults) -> str:
    """A string."""
    if not isinstance(value, str):
        raise InvalidValue(f"must be a string, not {type_name(value)}")
    return value


def boolean(value: Any, faults: Faults) -> bool:
    """true or false."""
    if value is not True and value is not False:
        raise InvalidValue(f"must be true or false, not {type_name(value)}")
    return value


def integer(low: int, high: int) -> Kind:
    """A whole number from `low` to `high`, written without fraction or exponent."""

    def check(value: Any, faults: Faults) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            shown = repr(value) if isinstance(value, float) else type_name(value)
            raise InvalidValue(f"must be a whole number, not {shown}")
        if not low <= value <= high:
            raise InvalidValue(f"must be from {low} to {high}, not {value}")
        return value

    return check


def parsed(parse: Parser) -> Kind:
    """A string that `parse` reads at the level in force."""

    def check(value: Any, faults: Faults) -> Any:
        if not isinstance(value, str):
            raise InvalidValue(f"must be a string, not {type_name(value)}")
        return parse(value, faults.strict)

    return check


def prefixed(prefix: str, names: str) -> tuple[str, ...]:
    """The words of `names`, each with `prefix` before it."""
    return tuple(prefix + name for name in names.split())


def choice(*words: str) -> Kind:
    """One of `words`."""
    listed = " or ".join(words)

    def check(value: Any, faults: Faults) -> str:
        if value not in words or not isinstance(value, str):
            shown = quoted(value) if isinstance(value, str) else type_name(value)
            raise InvalidValue(f"must be {listed}, not {shown}")
        return value

    return check


def list_of(kind: Kind, check: Callable[[tuple[Any, ...], Faults], Any] | None = None) -> Kind:
    """A list of `kind`, as a tuple. `check` sees the items, None for a faulty one, and may replace the result."""

    def decode(value: Any, faults: Faults) -> Any:
        if not isinstance(value, list):
            raise InvalidValue(f"must be a list, not {type_name(value)}")
        items: list[Any] = []
        for index, item in enumerate(value):
            before = len(faults)
            try:
                items.append(kind(item, faults))
            except InvalidValue as error:
                faults.append((f"[{index}]", error.what))
                items.append(None)
            else:
                if len(faults) != before:
                    faults.locate(before, f"[{index}]")
        return tuple(items) if check is None else check(tuple(items), faults)

    return decode


def map_of(kind: Kind) -> Kind:
    """An object whose keys are free and whose values are of `kind`, as a read-only dict."""

    def decode(value: Any, faults: Faults) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise InvalidValue(f"must be an object, not {type_name(value)}")
        items: dict[str, Any] = {}
        for key, item in value.items():
            before = len(faults)
            try:
                items[key] = kind(item, faults)
            except InvalidValue as error:
                faults.append((f"[{quoted(key)}]", error.what))
            else:
                if len(faults) != before:
                    faults.locate(before, f"[{quoted(key)}]")
        return frozen_dict(items)

    return decode


def unique(items: tuple[Any, ...], attribute: str, what: str, faults: Faults) -> None:
    """Record a fault for every item whose `attribute` an earlier item has; empty ones are not compared."""
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        key = getattr(item, attribute, None)
        if not key:
            continue
        if key in seen:
            faults.add(f"is the second {what} called {quoted(key)}; the first is [{seen[key]}]", f"[{index}]")
        else:
            seen[key] = index


class Struct:
    """An object with known keys, returned as it is: for formats whose middle form stays a plain dict.

    Keys are exact; unknown ones are accepted; null counts as absent. `check` sees the object once all its known
    values are sound, for what one value alone cannot show.
    """

    __slots__ = ("check", "kinds", "required")

    def __init__(
        self,
        kinds: dict[str, Kind],
        required: tuple[str, ...] = (),
        check: Callable[[dict[str, Any], Faults], None] | None = None,
    ) -> None:
        self.kinds = kinds
        self.required = required
        self.check = check

    def __call__(self, value: Any, faults: Faults) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise InvalidValue(f"must be an object, not {type_name(value)}")
        start = len(faults)
        kinds = self.kinds
        for key, item in value.items():
            kind = kinds.get(key)
            if kind is None or item is None:
                continue
            before = len(faults)
            try:
                kind(item, faults)
            except InvalidValue as error:
                faults.append((key, error.what))
            else:
                if len(faults) != before:
                    faults.locate(before, key)
        for key in self.required:
            if value.get(key) is None:
                faults.append((key, "is required"))
        if self.check is not None and len(faults) == start:
            self.check(value, faults)
        return value
