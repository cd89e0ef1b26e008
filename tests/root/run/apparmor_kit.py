"""Compiled AppArmor policy, as the kernel's loader reads it, for hosts that have no apparmor_parser."""

from __future__ import annotations

from struct import pack

_U32, _NAME, _STRING, _BLOB, _STRUCT, _STRUCTEND = 2, 4, 5, 6, 7, 8
_VERSION = 5  # of the interface
# Read, write, append, execute (going on under the same profile), link, lock and map, for owner and others.
_EVERYTHING = 0x27F | 0x27F << 14


def profile(name: str, capabilities: int) -> bytes:
    """A profile that lets a program do everything to files, but of the capabilities only what the mask has."""
    head = _tagged("version", _u32(_VERSION))
    body = _tagged("profile", bytes([_STRUCT])) + _string(name)
    body += _tagged("flags", bytes([_STRUCT])) + _u32(0) * 3 + bytes([_STRUCTEND])
    # Allowed, audited, not logged, and what nothing reads any more; then the upper halves.
    body += _u32(capabilities & 0xFFFFFFFF) + _u32(0) * 3
    body += _tagged("caps64", bytes([_STRUCT])) + _u32(capabilities >> 32) + _u32(0) * 3 + bytes([_STRUCTEND])
    files = _automaton()
    tag = _tagged("aadfa", bytes([_BLOB]))
    # The automaton begins at a multiple of eight, counted from the beginning of the policy and in the loader's way.
    begin = len(head) + len(body) + len(tag) + 4
    for padding in range(8):
        counted = begin - (begin + padding + len(files) & 7)
        if -counted % 8 == padding:
            break
    else:
        raise AssertionError("no padding fits")
    body += tag + pack("<I", padding + len(files)) + bytes(padding) + files
    return head + body + bytes([_STRUCTEND])


def _automaton() -> bytes:
    """One that stays in its first state, in which everything is allowed."""
    states, transitions = 2, 256
    header = pack(">IIIH", 0x1B5E783D, 24, 0, 0) + b"test".ljust(10, b"\0")
    tables = (
        _table(1, "I", [0, _EVERYTHING]),
        _table(7, "I", [0] * states),
        _table(2, "I", [0] * states),
        _table(4, "H", [0, 1]),
        _table(8, "H", [0] * transitions),
        _table(3, "H", [0] * transitions),
    )
    return header + b"".join(tables)


def _table(number: int, kind: str, values: list[int]) -> bytes:
    size = {"H": 2, "I": 4}[kind]
    data = pack(">HHII", number, size, 0, len(values)) + pack(f">{len(values)}{kind}", *values)
    return data + bytes(-len(data) % 8)


def _u32(value: int) -> bytes:
    return pack("<BI", _U32, value)


def _string(text: str) -> bytes:
    return pack("<BH", _STRING, len(text) + 1) + text.encode() + b"\0"


def _tagged(name: str, rest: bytes) -> bytes:
    return pack("<BH", _NAME, len(name) + 1) + name.encode() + b"\0" + rest
