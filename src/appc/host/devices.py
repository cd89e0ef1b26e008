"""Device rules (OCI `linux.resources.devices`) as cgroup v1 writes and as a cgroup v2 BPF program.

The list is an allow list: what no rule names is denied, the rules apply in order, and of the rules that
name a device and an access the last decides. `rwm` is meant where a rule gives no access.
"""

from __future__ import annotations

import os
import sys

from appc.errors import HostError

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
_ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
_TYPE_NUMBERS = {"b": 1, "c": 2}
_ALL = 7

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


class _Rule:
    """A rule in the kernel's terms; None stands for "any"."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, rule: Mapping[str, Any]) -> None:
        kind = rule.get("type") or "a"
        self.allow = bool(rule.get("allow"))
        self.kind = None if kind == "a" else "c" if kind == "u" else kind
        self.major = _number(rule.get("major"))
        self.minor = _number(rule.get("minor"))
        self.access = sum(_ACCESS_BITS.get(letter, 0) for letter in set(rule.get("access") or "rwm"))

    @property
    def everything(self) -> bool:
        return self.kind is None and self.major is None and self.minor is None and self.access == _ALL

    def covers(self, other: _Rule) -> bool:
        """Tell whether some device and access is named by both rules."""
        same_kind = self.kind is None or other.kind is None or self.kind == other.kind
        same_major = self.major is None or other.major is None or self.major == other.major
        same_minor = self.minor is None or other.minor is None or self.minor == other.minor
        return same_kind and same_major and same_minor and bool(self.access & other.access)

    def is_same_device(self, other: _Rule) -> bool:
        return (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)


def _number(value: int | None) -> int | None:
    """OCI leaves major and minor out for "any"; engines also write -1."""
    return None if value is None or value < 0 else value


def v1_writes(rules: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], str]:
    """Return the (file, text) writes for a devices cgroup of v1, and what they cannot express ("" if nothing).

    v1 keeps "deny all" or "allow all" and one list of exceptions to it; a rule of the other kind only takes
    back an exception for exactly the same device.
    """
    writes = [("devices.deny", "a *:* rwm")]
    default = False
    exceptions: list[_Rule] = []
    lost = ""
    for rule in map(_Rule, rules):
        file = "devices.allow" if rule.allow else "devices.deny"
        if rule.everything:
            writes = [(file, "a *:* rwm")]
            default = rule.allow
            exceptions = []
            continue
        if rule.allow != default:
            exceptions.append(rule)
        elif any(other.covers(rule) and not other.is_same_device(rule) for other in exceptions):
            verb = "allow" if rule.allow else "deny"
            lost = f"cgroup v1 cannot {verb} {_v1_device(rule)} as an exception to an earlier rule"
        for kind in (rule.kind,) if rule.kind else ("b", "c"):
            writes.append((file, f"{kind} {_v1_device(rule)}"))
    return writes, lost


def _v1_device(rule: _Rule) -> str:
    major = "*" if rule.major is None else rule.major
    minor = "*" if rule.minor is None else rule.minor
    return f"{major}:{minor} " + "".join(letter for letter in "rwm" if rule.access & _ACCESS_BITS[letter])


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
    for rule in reversed([_Rule(rule) for rule in rules]):
        if rule.everything:
            return b"".join((*code, *_verdict(rule.allow)))
        code += _decide(rule)
    return b"".join((*code, *_verdict(False)))


def _decide(rule: _Rule) -> list[bytes]:
    if rule.allow:
        action = [instruction(_AND_NUMBER, _ACCESS, number=_ALL & ~rule.access)] if rule.access != _ALL else []
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
