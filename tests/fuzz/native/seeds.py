"""Write good plans, by the real encoder, into a corpus directory: where a fuzzer starts from."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from appc.plan.ops import TABLE, Op, Plan, Track
from appc.plan.wire import encode

SAMPLES: dict[str, int | str | bytes | tuple[str, ...]] = {
    "n": 7,
    "s": "/a",
    "l": ("one", "two"),
    "b": b"\x06\0\0\0\0\0\xff\x7f",
}


def plans() -> dict[str, Plan]:
    """Name → plan: empty, one op of each kind, all of them."""
    ops = {
        name: Op(name, *(SAMPLES[kind] for _, kind in signature), tolerate=(2,), source="x")
        for name, signature, _ in TABLE
    }
    found = {f"op-{name}": Plan([Track("t", [op])]) for name, op in ops.items()}
    found["empty"] = Plan([])
    found["all"] = Plan([Track("t", list(ops.values())), Track("u", [])], {"fact": "value"})
    return found


if __name__ == "__main__":
    corpus = Path(sys.argv[1])
    for name, plan in plans().items():
        (corpus / name).write_bytes(encode(plan))
