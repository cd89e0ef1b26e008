"""Device rules as the BPF program of a cgroup of v2."""

from __future__ import annotations

import os
import sys

from appc.errors import HostError
from appc.host.devices import ALL, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# linux/bpf.h
_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_TYPE_CGROUP_DEVICE = 15
_BPF_CGROUP_DEVICE = 6
_BPF_F_ALLOW_MULTI = 2
_TYPE_NUMBERS = {"b": 1, "c": 2}

# One instruction: u8 code, u8 registers (source in the high half), s16 offset, s32 immediate.
_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_AND_NUMBER = 0x54  # 32 bits
_SHIFT_RIGHT_NUMBER = 0x74  # 32 bits
_MOVE_NUMBER = 0xB4  # 32 bits
_MOVE_REGISTER = 0xBC  # 32 bits
_JUMP_EQUAL_NUMBER = 0x15
_JUMP_UNEQUAL_NUMBER = 0x55
_EXIT = 0x95
_CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _RESULT = 1, 2, 3, 4, 5, 0


def program(rules: Sequence[Mapping[str, Any]]) -> bytes:
    """Assemble the BPF program that decides by `rules`: it returns 1 to allow, 0 to deny.

    The rules are tried from the last to the first. A register holds the accesses still undecided; an allowing
    rule takes its own away (none left: allow), a denying rule that names one left denies.
    """
    code: list[bytes] = [
        instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        instruction(_MOVE_REGISTER, _ACCESS, _TYPE),
        instruction(_AND_NUMBER, _TYPE, number=0xFFFF),
        instruction(_SHIFT_RIGHT_NUMBER, _ACCESS, number=16),
        instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in reversed([Rule(rule) for rule in rules]):
        if rule.everything:
            return b"".join((*code, *_verdict(rule.allow)))
        code += _decide(rule)
    return b"".join((*code, *_verdict(False)))


def _decide(rule: Rule) -> list[bytes]:
    if rule.allow:
        action = [instruction(_AND_NUMBER, _ACCESS, number=ALL & ~rule.access)] if rule.access != ALL else []
        if action:
            action.append(instruction(_JUMP_UNEQUAL_NUMBER, _ACCESS, number=0, offset=2))
        action += _verdict(True)
    else:
        action = [
            instruction(_MOVE_REGISTER, _CONTEXT, _ACCESS),
            instruction(_AND_NUMBER, _CONTEXT, number=rule.access),
            instruction(_JUMP_EQUAL_NUMBER, _CONTEXT, number=0, offset=2),
            *_verdict(False),
        ]
    conditions = [
        (register, value)
        for register, value in (
            (_TYPE, None if rule.kind is None else _TYPE_NUMBERS[rule.kind]),
            (_MAJOR, rule.major),
            (_MINOR, rule.minor),
        )
        if value is not None
    ]
    if any(value > 0x7FFFFFFF for _, value in conditions):
        return []  # no device has such a number
    # Each condition jumps over the conditions after it and the action.
    jumps = [
        instruction(_JUMP_UNEQUAL_NUMBER, register, number=value, offset=len(conditions) - 1 - index + len(action))
        for index, (register, value) in enumerate(conditions)
    ]
    return jumps + action


def _verdict(allow: bool) -> list[bytes]:
    return [instruction(_MOVE_NUMBER, _RESULT, number=int(allow)), instruction(_EXIT)]


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    """Return one instruction of eBPF, as this machine has it (linux/bpf.h, struct bpf_insn)."""
    order = sys.byteorder
    registers = target | source << 4 if order == "little" else target << 4 | source
    return bytes((code, registers)) + offset.to_bytes(2, order, signed=True) + (number & 0xFFFFFFFF).to_bytes(4, order)


def attach(directory: str, code: bytes) -> None:
    """Load `program()`'s code and attach it to the cgroup2 directory, in addition to what applies there.

    Groups below inherit it; the kernel drops it with the directory. HostError when the kernel refuses.
    """
    from appc.host import libc

    group = -1
    loaded = -1
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        loaded = load(_BPF_PROG_TYPE_CGROUP_DEVICE, code)
        libc.bpf(_BPF_PROG_ATTACH, _u32(group) + _u32(loaded) + _u32(_BPF_CGROUP_DEVICE) + _u32(_BPF_F_ALLOW_MULTI))
    except OSError as error:
        raise HostError(f"the device filter was refused: {error.strerror}", directory) from error
    finally:
        for fd in (group, loaded):
            if fd >= 0:
                os.close(fd)


def load(kind: int, code: bytes, attachment: int = 0) -> int:
    """Have the kernel take an eBPF program of a kind (BPF_PROG_TYPE_*); return its descriptor. Raises OSError.

    `attachment` is where it is to be attached, for kinds with several places (BPF_CGROUP_*).
    """
    from appc.host import libc

    instructions = libc.buffer_of(code)
    licence = libc.buffer_of(b"Apache-2.0\0")
    attributes = (
        _u32(kind)
        + _u32(len(code) // 8)
        + _u64(libc.address_of(instructions))
        + _u64(libc.address_of(licence))
        + bytes(44)
        + _u32(attachment)
    )
    return libc.bpf(_BPF_PROG_LOAD, attributes)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def _u64(value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder)
