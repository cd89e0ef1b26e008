"""The readers of foreign bytes stand a short fuzzing in every test run, and the fuzzer is worth its name.

`make fuzz` is the longer one.
"""

from __future__ import annotations

import pytest

from appc.formats import aci, tar, tarheader
from fuzz.python.engine import PATIENCE, Target, fuzz
from fuzz.python.targets import targets

SEED = 2


@pytest.mark.parametrize("name", targets())
def test_a_bounded_run_finds_nothing(name: str) -> None:
    report = fuzz(targets()[name], seconds=2, seed=SEED)
    assert report.findings == []
    assert report.executions > len(targets()[name].seeds)
    print(f"{name}: {report}")


def test_a_planted_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that trusts the length of an extended record never moves on when it is zero."""
    real = tarheader.pax_records

    def trusting(data: bytes) -> list[tuple[str, bytes]]:
        at = 0
        while at < len(data):
            digits = data[at:].partition(b" ")[0]
            if not digits.isdigit():
                break
            at += int(digits)
        return real(data)

    monkeypatch.setattr(tarheader, "pax_records", trusting)
    report = fuzz(_without_seeds("tar", b" path="), seconds=120, seed=SEED, stop_at_first=True)
    assert [problem for _, problem in report.findings] == [f"took more than {PATIENCE:.0f} s"]


def test_a_planted_escape_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of names that looks for ".." at the beginning only."""

    def forgetful(name: str, limits: object = None) -> str:
        if name.startswith(("/", "..")):
            raise tar.ArchiveError("name", name)
        return "/".join(part for part in name.split("/") if part not in ("", "."))

    monkeypatch.setattr(aci, "safe_name", forgetful)
    report = fuzz(_without_seeds("aci", b".."), seconds=120, seed=SEED, stop_at_first=True)
    assert [problem.partition(":")[0] for _, problem in report.findings] == ["AssertionError"]


def _without_seeds(name: str, telling: bytes) -> Target:
    """The target without the inputs that would give the bug away."""
    full = targets()[name]
    seeds = [seed for seed in full.seeds if telling not in seed]
    return Target(full.run, full.allowed, seeds, words=full.words, repair=full.repair, unit=full.unit)
