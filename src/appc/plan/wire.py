"""Launch plans as bytes: what appc-keep and appc-init read, and what lies in a pod's directory.

Little endian, no padding:

    "appcplan" · u32 version · u32 hash of the table of ops · u32 total length in bytes
    u32 number of facts, each: str key, str value
    u32 number of tracks, each: str name, u32 number of ops, each:
        u16 opcode · u16 number of tolerated errnos, each u32 · str source · the arguments by signature

n = u64; s = u32 length, bytes, NUL (none inside); l = u32 count, that many s; b = u32 length, bytes.
Text is UTF-8 with surrogate escapes, so any path the host has goes through unchanged. `wire_read` is the way back.
"""

from __future__ import annotations

from appc.errors import LaunchError
from appc.plan.ops import OPCODES, TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.plan.ops import Op, Plan

    _Dict = dict[str, bytes]
else:
    _Dict = dict  # what a base says of its parameters would be worked out at each start

MAGIC = b"appcplan"
VERSION = 1
# FNV-1a (32 bit) over the lines "name:kinds:performer\n" of the table. A number, because computing
# it would cost every launch more than encoding a small plan; the tests hold it to the table.
TABLE_HASH = 0x8113B11E

MAX_BYTES = 16 << 20
MAX_FACTS = 256
MAX_TRACKS = 256
MAX_OPS = 4096
MAX_TOLERATED = 16

KINDS = tuple("".join(kind for _, kind in signature) for _, signature, _ in TABLE)
_HEADER = len(MAGIC) + 12


def encode(plan: Plan) -> bytes:
    """Return `plan` as wire bytes.

    Raises LaunchError when it does not fit the format: an op the table does not know or with other
    arguments than its signature, a NUL in a text, a number over 64 bits, or a limit passed.
    """
    texts = _Texts()
    parts: list[bytes] = []
    try:
        limit(len(plan.facts), MAX_FACTS, "facts")
        parts.append(_u32(len(plan.facts)))
        for key, value in plan.facts.items():
            parts += (texts[key], texts[value])
        limit(len(plan.tracks), MAX_TRACKS, "tracks")
        parts.append(_u32(len(plan.tracks)))
        names = [texts[track.name] for track in plan.tracks]
    except ValueError as error:
        raise LaunchError(str(error), "plan") from None
    for name, track in zip(names, plan.tracks, strict=True):
        limit(len(track.ops), MAX_OPS, f"ops in track {track.name}")
        parts += (name, _u32(len(track.ops)))
        for index, op in enumerate(track.ops):
            try:
                _encode_op(op, parts, texts)
            except (ValueError, OverflowError, TypeError, AttributeError) as error:
                raise LaunchError(str(error), f"{track.name}[{index}] {op.name}") from None
    payload = b"".join(parts)
    total = _HEADER + len(payload)
    limit(total, MAX_BYTES, "bytes")
    return b"".join((MAGIC, _u32(VERSION), _u32(TABLE_HASH), _u32(total), payload))


def _encode_op(op: Op, parts: list[bytes], texts: _Texts) -> None:
    """Append `op` to `parts`. A launch waits for this, so arguments show their kind by what they can do: ValueError,
    OverflowError, TypeError or AttributeError for what has no form."""
    opcode = OPCODES.get(op.name)
    if opcode is None:
        raise ValueError("no such op")
    kinds = KINDS[opcode]
    if len(kinds) != len(op.args):
        raise ValueError(f"takes {len(kinds)} arguments, got {len(op.args)}")
    if len(op.tolerate) > MAX_TOLERATED:
        raise ValueError(f"tolerates {len(op.tolerate)} errnos, more than {MAX_TOLERATED}")
    parts.append(_u32(opcode | len(op.tolerate) << 16))
    for errno in op.tolerate:
        parts.append(_u32(errno))
    parts.append(texts[op.source])
    given: tuple[Any, ...] = op.args
    for kind, arg in zip(kinds, given, strict=True):
        if kind == "n":
            parts.append(arg.to_bytes(8, "little"))
        elif kind == "s":
            parts.append(texts[arg])
        elif kind == "l" and isinstance(arg, tuple):
            parts.append(_u32(len(arg)))
            parts += [texts[item] for item in arg]
        elif kind == "b" and isinstance(arg, bytes):
            parts += (_u32(len(arg)), arg)
        else:
            raise TypeError(f"an argument of kind {kind} cannot be {arg!r}")


class _Texts(_Dict):
    """Texts as written; they recur (sources, paths), so each is made once. ValueError for what has no form."""

    def __missing__(self, text: str) -> bytes:
        raw = text.encode("utf-8", "surrogateescape")
        if b"\0" in raw:
            raise ValueError(f"the text {text!r} has a NUL inside")
        encoded = self[text] = _u32(len(raw)) + raw + b"\0"
        return encoded


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def limit(count: int, most: int, what: str) -> None:
    """LaunchError when there are more than may be."""
    if count > most:
        raise LaunchError(f"has {count} {what}, more than {most}", "plan")
