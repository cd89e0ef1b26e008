"""A small assembler of classic BPF for seccomp: decisions by architecture, call number and arguments."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# struct seccomp_data: s32 number, u32 architecture, u64 instruction pointer, u64 arguments[6]
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD = 0x20
_JUMP = 0x05
_IF_EQUAL, _IF_GREATER, _IF_GREATER_OR_EQUAL = 0x15, 0x25, 0x35
_AND = 0x54
_RETURN = 0x06
_LONGEST = 255  # what the conditional jumps' 8 bits reach

# One rule of a call: the conditions (argument index, operator, value, second value) and the action when all hold.
Condition = tuple[int, str, int, int]
Rule = tuple[tuple[Condition, ...], int]
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def assemble(
    architectures: Mapping[int, Mapping[tuple[int, int], Sequence[Rule]]], default: int, bad_architecture: int
) -> list[Instruction]:
    """Return the program: AUDIT_ARCH number → (first, last) call number → rules, the first that holds decides.

    The ranges of numbers do not overlap. A call of which no rule holds gets `default`, one of any other
    architecture `bad_architecture`.
    """
    program: list[Instruction] = [_return(bad_architecture)]
    for architecture, calls in reversed(list(architectures.items())):
        block = [(_LOAD, 0, 0, _NUMBER), *_search(_intervals(calls, default))]
        program = [*_unless_equal(architecture, len(block)), *block, *program]
    return [(_LOAD, 0, 0, _ARCHITECTURE), *program]


def encode(program: Sequence[Instruction]) -> bytes:
    """Return the program as an array of struct sock_filter."""
    order = sys.byteorder
    return b"".join(
        code.to_bytes(2, order) + bytes((if_true, if_false)) + constant.to_bytes(4, order)
        for code, if_true, if_false, constant in program
    )


def _return(action: int) -> Instruction:
    return _RETURN, 0, 0, action


def _unless_equal(value: int, distance: int) -> list[Instruction]:
    """Jump over `distance` instructions unless the accumulator equals `value`."""
    if distance <= _LONGEST:
        return [(_IF_EQUAL, 0, distance, value)]
    return [(_IF_EQUAL, 1, 0, value), (_JUMP, 0, 0, distance)]


def _intervals(calls: Mapping[tuple[int, int], Sequence[Rule]], default: int) -> list[tuple[int, list[Instruction]]]:
    """Cover all call numbers by as few intervals as decisions change: (first number, code), ascending from 0."""
    covering: list[tuple[int, list[Instruction]]] = []

    def add(first: int, code: list[Instruction]) -> None:
        if not covering or covering[-1][1] != code:
            covering.append((first, code))

    following = 0
    for first, last in sorted(calls):
        if first > following:
            add(following, [_return(default)])
        add(first, _rules(calls[first, last], default))
        following = last + 1
    add(following, [_return(default)])
    return covering


def _search(intervals: Sequence[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Find the interval of the call number by bisection."""
    if len(intervals) == 1:
        return intervals[0][1]
    middle = len(intervals) // 2
    lower, upper = _search(intervals[:middle]), _search(intervals[middle:])
    first = intervals[middle][0]
    if len(lower) <= _LONGEST:
        return [(_IF_GREATER_OR_EQUAL, len(lower), 0, first), *lower, *upper]
    return [(_IF_GREATER_OR_EQUAL, 0, 1, first), (_JUMP, 0, 0, len(lower)), *lower, *upper]


def _rules(rules: Sequence[Rule], default: int) -> list[Instruction]:
    code: list[Instruction] = []
    for conditions, action in rules:
        code += [*_conditions(conditions), _return(action)]
        if not conditions:
            return code
    return [*code, _return(default)]


# Where a comparison goes: on to the next condition, or away from the rule.
_HOLDS, _FAILS = -1, -2


def _conditions(conditions: Sequence[Condition]) -> list[Instruction]:
    """Compare, and jump over the rule's action (the instruction that follows) when a condition fails."""
    code: list[Instruction] = []
    for condition in reversed(conditions):
        comparison = _comparison(*condition)
        places = {_HOLDS: len(comparison), _FAILS: len(comparison) + len(code) + 1}
        placed = [
            (kind, _distance(if_true, at, places), _distance(if_false, at, places), constant)
            for at, (kind, if_true, if_false, constant) in enumerate(comparison)
        ]
        code = placed + code
    return code


def _distance(target: int, at: int, places: Mapping[int, int]) -> int:
    return places[target] - at - 1 if target in places else target


def _comparison(index: int, operator: str, value: int, second: int) -> list[Instruction]:
    """Compare a 64-bit argument in two halves; jumps lead to _HOLDS or _FAILS or over so many instructions."""
    high = _ARGUMENTS + 8 * index + (4 if sys.byteorder == "little" else 0)
    low = _ARGUMENTS + 8 * index + (0 if sys.byteorder == "little" else 4)
    top, bottom = value >> 32, value & 0xFFFFFFFF
    if operator == "SCMP_CMP_MASKED_EQ":
        wanted = second & value
        return [
            (_LOAD, 0, 0, high),
            (_AND, 0, 0, top),
            (_IF_EQUAL, 0, _FAILS, wanted >> 32),
            (_LOAD, 0, 0, low),
            (_AND, 0, 0, bottom),
            (_IF_EQUAL, _HOLDS, _FAILS, wanted & 0xFFFFFFFF),
        ]
    if operator in ("SCMP_CMP_EQ", "SCMP_CMP_NE"):
        equal, other = (_HOLDS, _FAILS) if operator == "SCMP_CMP_EQ" else (_FAILS, _HOLDS)
        return [
            (_LOAD, 0, 0, high),
            (_IF_EQUAL, 0, other, top),
            (_LOAD, 0, 0, low),
            (_IF_EQUAL, equal, other, bottom),
        ]
    # "Less" is "not greater or equal", "less or equal" is "not greater".
    greater, other = (_HOLDS, _FAILS) if operator in ("SCMP_CMP_GT", "SCMP_CMP_GE") else (_FAILS, _HOLDS)
    last = _IF_GREATER if operator in ("SCMP_CMP_GT", "SCMP_CMP_LE") else _IF_GREATER_OR_EQUAL
    return [
        (_LOAD, 0, 0, high),
        (_IF_GREATER, greater, 0, top),
        (_IF_EQUAL, 0, other, top),
        (_LOAD, 0, 0, low),
        (last, greater, other, bottom),
    ]
