"""The two tables of ops, and the hash that ties a plan to them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from appc.plan import ops, wire


def test_the_c_table_equals_the_python_table(binaries: Path) -> None:
    printed = subprocess.run([binaries / "appc-init", "--ops"], capture_output=True, text=True, check=True).stdout
    rows = [f"{name}:{''.join(kind for _, kind in signature)}:{side}" for name, signature, side in ops.TABLE]
    assert printed.splitlines() == rows


def test_the_hash_in_a_plan_is_that_of_the_table(binaries: Path) -> None:
    printed = subprocess.run([binaries / "appc-init", "--ops"], capture_output=True, check=True).stdout
    value = 2166136261
    for byte in printed:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    assert value == wire.TABLE_HASH


def test_the_programs_are_static(release: Path) -> None:
    for name in ("appc-init", "appc-keep", "appc-start", "appc-probe"):
        assert b"ld-linux" not in (release / name).read_bytes()
        assert b"ld-musl" not in (release / name).read_bytes()
