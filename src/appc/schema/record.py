"""Manifests as immutable records, each made from one table of fields.

A record class lists its fields once; reading, checking, writing and changing all follow from the list:

    class MountPoint(Record):
        name: str = field("name", AC_NAME)
        read_only: bool = field("readOnly", boolean, default=False)

Every record keeps the JSON object it was read from. Writing gives that object back, so unknown fields,
their order and the spelling of keys survive; `replace` changes only the keys of the fields it is given.
Keys are compared without regard to case, as the Go tools do and as the specification's own example needs.
"""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.schema.json import dumps, loads
from appc.schema.kinds import Faults, frozen_dict, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Self, dataclass_transform

    from appc.schema.kinds import Kind
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


class _Required:
    """Stands in for a field that was not given and has no default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


class Field:
    """A row of a record's table; see `field`."""

    __slots__ = ("absent", "attribute", "default", "demanded", "key", "kind", "put")

    attribute: str
    put: Callable[[Record, Any], None]

    def __init__(self, key: str, kind: Kind, default: Any, absent: Any, demanded: bool) -> None:
        self.key = key
        self.kind = kind
        self.default = default
        self.absent = absent
        self.demanded = demanded


def field(key: str, kind: Kind, *, default: Any = REQUIRED, absent: Any = None, demanded: bool = False) -> Any:
    """Declare a field by its JSON key and kind. Without a `default` it is required.

    `absent` is what reading yields where the key is missing, if that is not the default: REQUIRED for a field
    that code may leave out but JSON may not. `demanded`: the strict level requires the key.
    """
    return Field(key, kind, default, default if absent is None else absent, demanded)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class RecordType(type):
    """Turns the fields of a class body into slots and tables."""

    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> RecordType:
        """Make the class. Fields of a base class come first."""
        own = {attribute: row for attribute, row in body.items() if isinstance(row, Field)}
        for attribute in own:
            del body[attribute]
        body["__slots__"] = tuple(own) if bases else ("_raw",)
        cls = super().__new__(mcls, name, bases, body)
        inherited: tuple[Field, ...] = getattr(bases[0], "_table", ()) if bases else ()
        for attribute, row in own.items():
            row.attribute = attribute
            row.put = getattr(cls, attribute).__set__
        table = (*inherited, *own.values())
        lookup = {row.key.casefold(): row for row in table}
        lookup.update((row.key, row) for row in table)
        for attribute, value in (
            ("_table", table),
            ("_lookup", lookup),
            ("_defaults", tuple((row.put, row.absent) for row in table)),
            ("_checked", tuple(row for row in table if row.absent is REQUIRED or row.demanded)),
        ):
            type.__setattr__(cls, attribute, value)
        return cls


class Record(metaclass=RecordType):
    """Base of all manifests and their parts."""

    if TYPE_CHECKING:
        _raw: ClassVar[dict[str, Any]]
        _table: ClassVar[tuple[Field, ...]]
        _lookup: ClassVar[dict[str, Field]]
        _defaults: ClassVar[tuple[tuple[Callable[[Record, Any], None], Any], ...]]
        _checked: ClassVar[tuple[Field, ...]]

    def __init__(self, **fields: object) -> None:
        """Make a record in code. Values are checked at the compatible level; raises ManifestError."""
        table = {row.attribute: row for row in self._table}
        for name in fields:
            if name not in table:
                raise TypeError(f"{type(self).__name__} has no field {name}")
        raw: dict[str, Any] = {}
        for row in self._table:
            value = fields.get(row.attribute, row.default)
            if value is not None and value is not REQUIRED and value != row.absent:
                raw[row.key] = encoded(value)
        faults = Faults()
        self._read(raw, faults)
        faults.check()

    @classmethod
    def parse(cls, data: bytes | str | dict[str, Any], strict: bool = False, where: str = "") -> Self:
        """Read a manifest from JSON text or from the object it holds.

        Raises ManifestError with all faults. `where` names the manifest in its message.
        """
        faults = Faults(strict)
        try:
            raw = encoded(data) if isinstance(data, dict) else loads(data)
            record = cls.decode(raw, faults)
        except InvalidValue as error:
            raise ManifestError([("", f"{cls.__name__} {error.what}")], where) from None
        except ManifestError as error:
            raise ManifestError(list(error.faults), where) from None
        faults.check(where)
        return record

    @classmethod
    def decode(cls, value: Any, faults: Faults) -> Self:
        """The kind of this record: used in the tables of others. The record is not to be used if there were faults."""
        if not isinstance(value, dict):
            raise InvalidValue(f"must be an object, not {type_name(value)}")
        record = cls.__new__(cls)
        record._read(value, faults)
        return record

    def _read(self, raw: dict[str, Any], faults: Faults) -> None:
        for put, default in self._defaults:
            put(self, default)
        _put_raw(self, raw)
        lookup = self._lookup
        for key, value in raw.items():
            row = lookup.get(key)
            if row is None:
                row = lookup.get(key.casefold())
                if row is None:
                    continue
            if key != row.key and _spellings(raw, row.key) > 1:
                faults.add("is given twice, in different spellings", row.key)
            if value is None:
                if faults.strict:
                    faults.add("must not be null", row.key)
                    row.put(self, _fallback(row))
                continue
            before = len(faults)
            try:
                row.put(self, row.kind(value, faults))
            except InvalidValue as error:
                faults.append((row.key, error.what))
                row.put(self, _fallback(row))
            else:
                if len(faults) != before:
                    faults.locate(before, row.key)
        for row in self._checked:
            if row.absent is REQUIRED:
                if getattr(self, row.attribute) is REQUIRED:
                    faults.add("is required", row.key)
                    row.put(self, None)
            elif faults.strict and not _spellings(raw, row.key):
                faults.add("is required", row.key)
        self._check(faults)

    def _check(self, faults: Faults) -> None:
        """Check what one field alone cannot show. A faulty field holds its default, or None if it has none."""

    def given(self, key: str) -> bool:
        """Whether the field of JSON key `key` was given, be it with its default."""
        return any(value is not None and _same(own, key) for own, value in self._raw.items())

    @property
    def extra(self) -> dict[str, Any]:
        """The fields this version of the schema does not know, copied."""
        return {key: encoded(value) for key, value in self._raw.items() if key.casefold() not in self._lookup}

    def replace(self, **changes: object) -> Self:
        """A copy with some fields changed; None or what an absent field means removes it. Raises ManifestError."""
        raw = dict(self._raw)
        table = {row.attribute: row for row in self._table}
        for name, value in changes.items():
            row = table.get(name)
            if row is None:
                raise TypeError(f"{type(self).__name__} has no field {name}")
            key = next((own for own in raw if _same(own, row.key)), row.key)
            if value is None or value == row.absent:
                raw.pop(key, None)
            else:
                raw[key] = encoded(value)
        faults = Faults()
        changed = self.decode(raw, faults)
        faults.check()
        return changed

    def to_dict(self) -> dict[str, Any]:
        """The record as a JSON object, a copy: what was read, with what was changed since."""
        copied: dict[str, Any] = encoded(self._raw)
        return copied

    def to_json(self, indent: int | None = None) -> bytes:
        """The record as UTF-8 JSON, compact or indented."""
        return dumps(self._raw, indent).encode()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change; use replace({name}=…)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or type(self) is not type(other):
            return NotImplemented
        same = all(getattr(self, row.attribute) == getattr(other, row.attribute) for row in self._table)
        return same and self.extra == other.extra

    def __repr__(self) -> str:
        shown = [(row.attribute, getattr(self, row.attribute), row.default) for row in self._table]
        return (
            f"{type(self).__name__}({', '.join(f'{n}={value!r}' for n, value, default in shown if value != default)})"
        )


_put_raw: Callable[[Record, dict[str, Any]], None] = Record.__dict__["_raw"].__set__


def encoded(value: Any) -> Any:
    """A JSON value as a copy, with records, tuples and scalars of `appc.values` turned into what JSON can say."""
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Record):
        return encoded(value._raw)
    if isinstance(value, (dict, frozen_dict)):
        return {key: encoded(item) for key, item in value.items()}
    as_json = getattr(value, "as_json", None)
    if as_json is not None:
        return as_json()
    if isinstance(value, (list, tuple)):
        return [encoded(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _fallback(row: Field) -> Any:
    return None if row.absent is REQUIRED else row.absent


def _same(own: str, key: str) -> bool:
    return own == key or own.casefold() == key.casefold()


def _spellings(raw: dict[str, Any], key: str) -> int:
    return sum(1 for own in raw if _same(own, key))
