"""The reader of plans: what it refuses, it refuses before anything is done."""

from __future__ import annotations

import errno
import random
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from planlib import FAIL, NO_OP, private_root, run_init, run_probe

from appc.errors import LaunchError
from appc.plan.ops import TABLE, Op, Plan, Track
from appc.plan.wire import encode
from appc.plan.wire_read import decode
from capabilities import need

FUZZ = Path(__file__).parents[1] / "fuzz" / "native"
NATIVE = Path(__file__).parents[2] / "native"

SAMPLES: dict[str, int | str | bytes | tuple[str, ...]] = {
    "n": 2**64 - 1,
    "s": "text ü",
    "l": ("one", "", "three"),
    "b": b"\0bytes\xff",
}


def every_op() -> Plan:
    """A plan with each op of the table, facts, several tracks and tolerated errnos."""
    ops = [
        Op(name, *(SAMPLES[kind] for _, kind in signature), tolerate=(2, 17), source="field")
        for name, signature, _ in TABLE
    ]
    return Plan([Track("t", ops), Track("other track", []), Track("third", ops[:3])], {"key": "value", "k": ""})


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that reads plans (u32 length, bytes) and prints the reader's errno for each."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        need("gcc")
    program = tmp_path_factory.mktemp("judge") / "judge"
    sources = [FUZZ / "judge_wire.c", NATIVE / "wire.c"]
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{NATIVE}"]
    subprocess.run([str(compiler), *flags, "-o", program, *sources], check=True)
    return program


def judged(judge: Path, plans: Sequence[bytes]) -> list[int]:
    """The reader's errno for each plan, 0 for a good one."""
    data = b"".join(struct.pack("<I", len(plan)) + plan for plan in plans)
    done = subprocess.run([judge], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [int(line) for line in done.stdout.split()]


def with_length(plan: bytes) -> bytes:
    """The plan with the length its header should say."""
    return plan[:16] + struct.pack("<I", len(plan)) + plan[20:]


def test_good_plans_are_read(judge: Path) -> None:
    plans = [encode(every_op()), encode(Plan([])), encode(Plan([Track("", [Op("umask", 1)])]))]
    assert judged(judge, plans) == [0, 0, 0]


def test_every_truncation_is_refused(judge: Path) -> None:
    plan = encode(every_op())
    cuts = [plan[:length] for length in range(len(plan))]
    assert 0 not in judged(judge, cuts)
    assert 0 not in judged(judge, [with_length(cut) for cut in cuts if len(cut) >= 20])


def test_trailing_bytes_are_refused(judge: Path) -> None:
    plan = encode(every_op())
    assert judged(judge, [plan + b"\0", with_length(plan + b"\0")]) == [errno.EBADMSG] * 2


def test_other_versions_and_tables_are_told_apart(judge: Path) -> None:
    plan = encode(every_op())
    other = [plan[:8] + b"\2" + plan[9:], plan[:12] + b"\0\0\0\0" + plan[16:], b"Appcplan" + plan[8:]]
    assert judged(judge, other) == [errno.EPROTO, errno.EPROTO, errno.EBADMSG]


def test_two_tracks_of_one_name_are_refused(judge: Path) -> None:
    assert judged(judge, [encode(Plan([Track("a", []), Track("a", [])]))]) == [errno.EBADMSG]


def test_limits(judge: Path) -> None:
    header = encode(Plan([]))[:20]

    def plan(*parts: bytes) -> bytes:
        return with_length(header + b"".join(parts))

    def count(number: int) -> bytes:
        return struct.pack("<I", number)

    none = b"\0\0\0\0\0"
    tracks = [
        plan(count(0), count(number), *[count(4) + b"%04d\0" % n + count(0) for n in range(number)])
        for number in (256, 257)
    ]
    umask = struct.pack("<HH", [row[0] for row in TABLE].index("umask"), 0) + none + bytes(8)
    ops = [plan(count(0), count(1), none, count(number), umask * number) for number in (4096, 4097)]
    facts = [plan(count(number), none * 2 * number, count(0)) for number in (256, 257)]
    huge = plan(count(0), count(1), none, count(0)) + bytes(16 << 20)
    assert judged(judge, [*tracks, *ops, *facts, huge]) == [0, errno.E2BIG] * 3 + [errno.E2BIG]


def mutations(plan: bytes, seed: int, count: int) -> Iterable[bytes]:
    """Plans like `plan`, with bytes changed, removed, repeated, or numbers set to their extremes."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(plan)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            match chance.randrange(5):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at] ^= 1 << chance.randrange(8)
                case 2:
                    del data[at : at + chance.randint(1, 8)]
                case 3:
                    data[at:at] = data[at : at + chance.randint(1, 8)]
                case _:
                    number = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data)))
                    data[at : at + 4] = struct.pack("<I", number)
        yield bytes(data) if chance.randrange(4) == 0 else with_length(bytes(data)) if len(data) > 20 else bytes(data)


def test_both_readers_agree_on_mutated_plans(judge: Path) -> None:
    plans = list(mutations(encode(every_op()), 20240229, 4000))
    disagreements = []
    for plan, verdict in zip(plans, judged(judge, plans), strict=True):
        try:
            tracks = [track.name for track in decode(plan).tracks]
            good = len(set(tracks)) == len(tracks)
        except LaunchError:
            good = False
        if good != (verdict == 0):
            disagreements.append((good, verdict, plan))
    # Facts are for people: the C side does not mind one that is there twice.
    assert [entry for entry in disagreements if entry[0] or b"key" not in entry[2]] == []


@pytest.mark.root
def test_a_refused_plan_has_no_effect(binaries: Path, tree: Path) -> None:
    track = [*private_root(tree), Op("file", "/made", 0o644, b""), Op("pivot"), run_probe("exit", "0")]
    plan = encode(Plan([Track("t", track)]))
    step = 7 if "release" in str(binaries) else 61
    for length in range(0, len(plan), step):
        result = run_init(binaries / "appc-init", plan[:length])
        assert [(kind, index) for kind, index, _ in result.reports] == [(FAIL, NO_OP)], length
        assert not (tree / "made").exists()
    assert run_init(binaries / "appc-init", plan).exit_status == 0
    assert (tree / "made").exists()


@pytest.mark.root
def test_an_unknown_track_is_refused(binaries: Path) -> None:
    plan = encode(Plan([Track("other", [])]))
    assert run_init(binaries / "appc-init", plan).reports == [(FAIL, NO_OP, errno.EBADMSG)]
