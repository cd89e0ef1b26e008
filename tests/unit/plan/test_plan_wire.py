"""The wire format of launch plans: a strict, bounded round trip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appc.errors import LaunchError
from appc.plan.ops import OPCODES, TABLE, Op, Plan, Track
from appc.plan.wire import MAX_TRACKS, TABLE_HASH, encode
from appc.plan.wire_read import decode

texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20) | st.sampled_from(
    ["/caf\udce9", "", "a" * 300]
)
BY_KIND = {
    "n": st.integers(0, 2**64 - 1),
    "s": texts,
    "l": st.lists(texts, max_size=4).map(tuple),
    "b": st.binary(max_size=40),
}


@st.composite
def ops(draw: st.DrawFn) -> Op:
    name, signature, _ = draw(st.sampled_from(TABLE))
    args = [draw(BY_KIND[kind]) for _, kind in signature]
    tolerate = tuple(draw(st.lists(st.integers(0, 2**32 - 1), max_size=3)))
    return Op(name, *args, tolerate=tolerate, source=draw(texts))


plans = st.builds(
    Plan,
    st.lists(st.builds(Track, texts, st.lists(ops(), max_size=5)), max_size=4),
    st.dictionaries(texts, texts, max_size=4),
)


def small_plan() -> Plan:
    return Plan(
        [
            Track("keeper", [Op("app", "web", "app web", "null", "log", "log", "logs/web.log", "", source="apps[0]")]),
            Track("app web", [Op("exec", ("/bin/x",), ("x", "-v"), ("A=b",), source="process.args")]),
        ],
        {"cgroup": "v2"},
    )


def as_tuple(plan: Plan) -> object:
    return (list(plan.facts.items()), [(track.name, track.ops) for track in plan.tracks])


def test_the_hash_in_the_header_is_that_of_the_table() -> None:
    value = 0x811C9DC5
    for name, signature, performer in TABLE:
        for byte in f"{name}:{''.join(kind for _, kind in signature)}:{performer}\n".encode():
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    assert hex(TABLE_HASH) == hex(value)


@settings(deadline=None)
@given(plans)
def test_decode_is_the_inverse_of_encode(plan: Plan) -> None:
    assert as_tuple(decode(encode(plan))) == as_tuple(plan)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(LaunchError):
        decode(data)


def test_every_truncation_and_every_trailing_byte_is_refused() -> None:
    data = encode(small_plan())
    for length in range(len(data)):
        with pytest.raises(LaunchError):
            decode(data[:length])
    with pytest.raises(LaunchError):
        decode(data + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_is_refused_or_gives_another_plan_but_no_other_error(data: st.DataObject) -> None:
    wire = bytearray(encode(small_plan()))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        plan = decode(bytes(wire))
    except LaunchError:
        return
    assert encode(plan) == bytes(wire)


def test_a_huge_count_is_refused_before_anything_is_made_of_it() -> None:
    head = encode(Plan([]))
    wire = bytearray(head[:-4] + (2**32 - 1).to_bytes(4, "little"))
    with pytest.raises(LaunchError, match="tracks"):
        decode(bytes(wire))


@pytest.mark.parametrize(
    "op",
    [
        Op("no-such-op"),
        Op("mask"),
        Op("mask", 1),
        Op("mask", "a\0b"),
        Op("umask", -1),
        Op("umask", 2**64),
        Op("mask", "/x", tolerate=(2**32,)),
        Op("mask", "\ud800"),
    ],
    ids=["name", "arity", "kind", "nul", "negative", "too big", "errno", "lone surrogate"],
)
def test_what_has_no_wire_form_is_refused_and_named(op: Op) -> None:
    with pytest.raises(LaunchError) as caught:
        encode(Plan([Track("app web", [op])]))
    assert caught.value.where.startswith("app web[0]")


def test_limits_hold_when_writing() -> None:
    with pytest.raises(LaunchError, match="tracks"):
        encode(Plan([Track(str(number), []) for number in range(MAX_TRACKS + 1)]))


def test_opcodes_are_positions_in_the_table() -> None:
    assert [TABLE[opcode][0] for opcode in OPCODES.values()] == list(OPCODES)
