"""Launch plans out of bytes, which may be anything: `wire` says what they look like."""

from __future__ import annotations

from appc.errors import LaunchError
from appc.plan.ops import TABLE, Op, Plan, Track
from appc.plan.wire import (
    KINDS,
    MAGIC,
    MAX_BYTES,
    MAX_FACTS,
    MAX_OPS,
    MAX_TOLERATED,
    MAX_TRACKS,
    TABLE_HASH,
    VERSION,
    limit,
)


def decode(data: bytes) -> Plan:
    """Return the plan that `data` holds; the inverse of `wire.encode`, to the last byte.

    Raises LaunchError for anything else: truncated, trailing or foreign bytes, another version or
    table of ops, an unknown opcode, a limit passed.
    """
    if len(data) > MAX_BYTES:
        raise LaunchError(f"has {len(data)} bytes, more than {MAX_BYTES}", "plan")
    reader = _Reader(data)
    if reader.take(len(MAGIC)) != MAGIC:
        raise LaunchError("is not a launch plan", "plan")
    version = reader.number(4)
    if version != VERSION:
        raise LaunchError(f"has version {version}, this appc reads version {VERSION}", "plan")
    if reader.number(4) != TABLE_HASH:
        raise LaunchError("was written for another table of ops (by another version of appc)", "plan")
    if reader.number(4) != len(data):
        raise LaunchError("does not have the length its header says", "plan")
    facts = {}
    for _ in range(reader.count(MAX_FACTS, 10, "facts")):
        key = reader.text()
        if key in facts:
            raise LaunchError(f"has the fact {key} twice", "plan")
        facts[key] = reader.text()
    tracks = []
    for _ in range(reader.count(MAX_TRACKS, 9, "tracks")):
        name = reader.text()
        tracks.append(Track(name, [_decode_op(reader) for _ in range(reader.count(MAX_OPS, 9, "ops"))]))
    if reader.offset != len(data):
        raise LaunchError("has bytes after its last track", "plan")
    return Plan(tracks, facts)


def _decode_op(reader: _Reader) -> Op:
    opcode = reader.number(2)
    if opcode >= len(TABLE):
        raise LaunchError(f"has the unknown opcode {opcode}", "plan")
    tolerated = reader.number(2)
    if tolerated > MAX_TOLERATED:
        raise LaunchError(f"has {tolerated} tolerated errnos in one op, more than {MAX_TOLERATED}", "plan")
    tolerate = tuple([reader.number(4) for _ in range(tolerated)])
    source = reader.text()
    args: list[int | str | bytes | tuple[str, ...]] = []
    for kind in KINDS[opcode]:
        if kind == "n":
            args.append(reader.number(8))
        elif kind == "s":
            args.append(reader.text())
        elif kind == "l":
            args.append(tuple([reader.text() for _ in range(reader.count(MAX_BYTES, 5, "strings"))]))
        else:
            args.append(reader.take(reader.number(4)))
    return Op(TABLE[opcode][0], *args, tolerate=tolerate, source=source)


class _Reader:
    """A cursor over untrusted bytes; every step is checked against what is left."""

    __slots__ = ("_data", "offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if end > len(self._data):
            raise LaunchError(f"is cut off after byte {len(self._data)}", "plan")
        chunk = self._data[self.offset : end]
        self.offset = end
        return chunk

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def count(self, most: int, smallest: int, what: str) -> int:
        """Return a count of elements that take at least `smallest` bytes each."""
        count = self.number(4)
        limit(count, most, what)
        if count * smallest > len(self._data) - self.offset:
            raise LaunchError(f"is cut off: {count} {what} cannot follow byte {self.offset}", "plan")
        return count

    def text(self) -> str:
        raw = self.take(self.number(4))
        if self.take(1) != b"\0" or b"\0" in raw:
            raise LaunchError(f"has a text with a NUL out of place before byte {self.offset}", "plan")
        return raw.decode("utf-8", "surrogateescape")
