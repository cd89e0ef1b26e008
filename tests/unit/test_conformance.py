"""The checks of `appc conformance`: told by the page, and not met by an executor that does nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from appc.conformance import scenarios
from appc.conformance.checks import CHECKS
from appc.conformance.runner import Evidence, Executor, Runner
from appc.conformance.scenarios import Scenario, Wanted, answer

PROJECT = Path(__file__).parents[2]


def test_the_page_tells_of_every_check() -> None:
    sys.path.insert(0, str(PROJECT / "tools"))
    try:
        import conformance
    finally:
        sys.path.pop(0)
    text = (PROJECT / "docs/conformance.md").read_text()
    assert conformance.page(text) == text, "run tools/conformance.py"


def test_every_test_that_the_page_names_is_there() -> None:
    _, _, text = (PROJECT / "docs/conformance.md").read_text().partition("## What tests check")
    named = [row.split("|")[4].strip() for row in text.splitlines() if row.startswith("| ") and ".md" in row]
    assert len(named) > 30
    for one in named:
        path, _, function = one.partition("::")
        assert re.search(rf"def {function}\b", (PROJECT / "tests" / path).read_text()), one


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.demand)
def test_no_check_is_met_by_nothing(check: object, tmp_path: Path) -> None:
    """An executor that says all went well and runs no app meets no demand."""
    assert check.judge(Evidence(0, "", str(tmp_path)))  # type: ignore[attr-defined]


def test_each_demand_is_made_once() -> None:
    demands = [(check.page, check.demand) for check in CHECKS]
    assert len(set(demands)) == len(demands)


def test_an_executor_gets_the_words_of_rkt(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f'printf "%s\\n" "$@" >> {seen}; echo said'
    runner = Runner(Executor(("sh", "-c", script, "run"), ("sh", "-c", script, "fetch")), str(tmp_path))
    wanted = Wanted(["one.aci", "two.aci"], {"data": "kind=empty"}, fetched=("base.aci",))
    evidence = runner.evidence(Scenario("pod", lambda runner, place: wanted))
    assert (evidence.status, evidence.said, evidence.ran) == (0, "said\n", False)
    shared = f"shared,kind=host,source={tmp_path}/pod/shared"
    assert seen.read_text().split("\n") == [
        *("base.aci", "--volume", shared, "--volume", "data,kind=empty", "one.aci", "---", "two.aci", "")
    ]


def test_an_answer_is_read_whole() -> None:
    got = answer("GET /x\nHTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nthe body\n")
    assert (got.status, got.kind, got.body) == (200, "text/plain", "the body\n")
    assert answer("GET /x\nconnect: errno 111 (Connection refused)\n").status == 0
    assert answer("").status == 0


def test_foreign_errors_of_usage_are_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appc", "conformance", "--executor", "rkt run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--fetch" in done.stderr


def test_scenarios_have_names_of_their_own() -> None:
    found = [one.name for one in vars(scenarios).values() if isinstance(one, Scenario)]
    assert len(set(found)) == len(found)
