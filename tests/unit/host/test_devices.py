"""Device rules mean the same to a reader of OCI, to the BPF program and to cgroup v1's list of exceptions."""

from __future__ import annotations

import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.host.device_program import program
from appc.host.devices import v1_writes

BITS = {"m": 1, "r": 2, "w": 4}
NUMBERS = {"b": 1, "c": 2}
DEFAULTS = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
]

rules = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from(["a", "b", "c", "u"]),
            "major": st.integers(-1, 3),
            "minor": st.integers(-1, 3),
            "access": st.text("rwm", max_size=3),
        },
    ),
    max_size=8,
)
requests = st.tuples(st.sampled_from("bc"), st.integers(0, 4), st.integers(0, 4), st.integers(1, 7))


def run(code: bytes, kind: str, major: int, minor: int, access: int) -> int:
    """Interpret the few eBPF instructions that are used, on one request; forward jumps only, as the kernel wants."""
    registers: list[int | None] = [None] * 11
    memory = {0: access << 16 | NUMBERS[kind], 4: major, 8: minor}
    assert len(code) % 8 == 0
    position = 0
    order = "<" if sys.byteorder == "little" else ">"
    context_intact = True
    while True:
        opcode, pair, offset, number = struct.unpack_from(f"{order}BBhi", code, position * 8)
        target, source = (pair & 15, pair >> 4) if sys.byteorder == "little" else (pair >> 4, pair & 15)
        position += 1
        value = registers[target]
        if opcode == 0x61:
            assert source == 1
            assert context_intact
            registers[target] = memory[offset]
        elif opcode == 0x54:
            assert value is not None
            registers[target] = value & number & 0xFFFFFFFF
        elif opcode == 0x74:
            assert value is not None
            registers[target] = value >> number
        elif opcode == 0xB4:
            registers[target] = number & 0xFFFFFFFF
        elif opcode == 0xBC:
            registers[target] = registers[source]
            context_intact = context_intact and target != 1
        elif opcode in (0x15, 0x55):
            assert value is not None
            assert offset >= 0
            if (value == number) == (opcode == 0x15):
                position += offset
        elif opcode == 0x95:
            assert registers[0] in (0, 1)
            return registers[0] or 0
        else:
            raise AssertionError(f"opcode {opcode:#x}")


def expected(listed: list[dict[str, Any]], kind: str, major: int, minor: int, access: int) -> bool:
    """The meaning, bit by bit: the last rule that names the device and the access decides, none denies."""
    for letter, bit in BITS.items():
        if access & bit:
            verdict = False
            for rule in listed:
                rule_kind = {"a": kind, "u": "c"}.get(rule.get("type") or "a", rule.get("type"))
                names = (
                    rule_kind == kind
                    and rule.get("major", -1) in (-1, major)
                    and rule.get("minor", -1) in (-1, minor)
                    and letter in (rule.get("access") or "rwm")
                )
                verdict = rule["allow"] if names else verdict
            if not verdict:
                return False
    return True


@given(rules, requests)
def test_the_program_decides_as_the_rules_say(listed: list[dict[str, Any]], request: tuple[str, int, int, int]) -> None:
    assert run(program(listed), *request) == expected(listed, *request)


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (("c", 1, 3, 6), True),
        (("c", 1, 5, 2), False),
        (("c", 1, 5, 1), True),
        (("c", 1, 5, 3), False),
        (("c", 136, 77, 6), True),
        (("b", 8, 0, 1), True),
        (("b", 8, 0, 2), False),
    ],
)
def test_the_usual_list(request_: tuple[str, int, int, int], allowed: bool) -> None:
    """/dev/null and terminals work, other nodes can be made but not opened."""
    assert run(program(DEFAULTS), *request_) == allowed


def test_a_number_no_device_can_have_matches_nothing() -> None:
    """A minor beyond 31 bits must not match by sign extension, nor stop the assembling."""
    listed = [{"allow": True, "type": "c", "major": 1, "minor": 0xFFFFFFFF, "access": "rwm"}]
    assert run(program(listed), "c", 1, 0xFFFFFFFF, 2) == 0


def test_v1_gets_one_write_for_each_rule() -> None:
    writes, lost = v1_writes(DEFAULTS)
    assert lost == ""
    assert writes == [
        ("devices.deny", "a *:* rwm"),
        ("devices.allow", "c *:* m"),
        ("devices.allow", "b *:* m"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "c 136:* rwm"),
    ]


def test_v1_splits_a_rule_for_all_types() -> None:
    """v1 takes `a` to mean everything at once, so a rule for all types that names a major is two rules there."""
    writes, lost = v1_writes([{"allow": True, "major": 7, "access": "r"}])
    assert writes == [("devices.deny", "a *:* rwm"), ("devices.allow", "b 7:* r"), ("devices.allow", "c 7:* r")]
    assert lost == ""


@pytest.mark.parametrize(
    ("listed", "lost"),
    [
        ([{"allow": True, "type": "c"}, {"allow": False, "type": "c", "major": 1, "minor": 9}], "cannot deny 1:9 rwm"),
        (
            [{"allow": True}, {"allow": False, "type": "c"}, {"allow": True, "type": "c", "major": 1}],
            "cannot allow 1:*",
        ),
        ([{"allow": True, "type": "c", "major": 1}, {"allow": False, "type": "c", "major": 1}], ""),
        ([{"allow": True, "type": "c", "major": 1}, {"allow": False, "type": "b"}], ""),
        ([{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 9}], ""),
    ],
)
def test_what_v1_cannot_say_is_told(listed: list[dict[str, Any]], lost: str) -> None:
    """v1 has one list of exceptions: an exception to an exception cannot be written."""
    reason = v1_writes(listed)[1]
    assert lost in reason
    assert bool(reason) == bool(lost)


def v1_allows(writes: list[tuple[str, str]], kind: str, major: int, minor: int, access: int) -> bool:
    """A model of the kernel's v1 list (security/device_cgroup.c): a default and exact-match exceptions."""
    default = True
    exceptions: dict[tuple[str, str], set[str]] = {}
    for file, text in writes:
        device_kind, device, letters = text.split()
        allow = file == "devices.allow"
        if device_kind == "a":
            default, exceptions = allow, {}
        elif allow != default:
            exceptions.setdefault((device_kind, device), set()).update(letters)
        else:
            exceptions.get((device_kind, device), set()).difference_update(letters)
    wanted = {letter for letter, bit in BITS.items() if access & bit}
    matching = [
        letters
        for (device_kind, device), letters in exceptions.items()
        if device_kind == kind
        and all(a in ("*", str(b)) for a, b in zip(device.split(":"), (major, minor), strict=True))
    ]
    if default:
        return not any(letters & wanted for letters in matching)
    return any(wanted <= letters for letters in matching)


@given(rules, requests)
def test_v1_allows_nothing_more_unless_it_says_so(
    listed: list[dict[str, Any]], request: tuple[str, int, int, int]
) -> None:
    """One access at a time v1 decides alike; asked for several at once it wants one exception to cover them all."""
    writes, lost = v1_writes(listed)
    kind, major, minor, access = request
    if not lost:
        for bit in BITS.values():
            assert v1_allows(writes, kind, major, minor, bit) == expected(listed, kind, major, minor, bit)
        if v1_allows(writes, kind, major, minor, access):
            assert expected(listed, kind, major, minor, access)
