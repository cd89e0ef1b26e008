"""What a reader of the source relies on: one style, types that hold, files of a size one can read."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LONGEST = 600  # lines

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not run from the source tree")


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def _sources() -> list[Path]:
    found = []
    for directory in ("src", "native", "tests", "tools", "demo", "bench"):
        found += [path for path in (ROOT / directory).rglob("*") if path.suffix in (".py", ".c", ".h")]
    return [path for path in found if "_native" not in path.parts]


def test_ruff_finds_nothing() -> None:
    result = _run("ruff", "check", ".")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_python_file_is_formatted() -> None:
    result = _run("ruff", "format", "--check", ".")
    assert result.returncode == 0, result.stdout + result.stderr


def test_types_hold() -> None:
    result = _run("mypy")
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_is_too_long_to_read() -> None:
    long = [f"{path}: {count}" for path in _sources() if (count := len(path.read_text().splitlines())) > LONGEST]
    assert not long, "\n".join(long)


def test_no_test_is_passed_over(pytestconfig: pytest.Config) -> None:
    """pytest looks for none in directories of certain names, of which `build` is one unless it is told others."""
    tests = ROOT / "tests"
    names = {name for path in tests.rglob("test_*.py") for name in path.relative_to(tests).parts[:-1]}
    passed_over = pytestconfig.getini("norecursedirs")
    assert {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in passed_over)} == set()


def test_nothing_is_left_to_do() -> None:
    """Unfinished work is an issue, not a comment."""
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X:")
    found = [f"{path}: {mark}" for path in _sources() for mark in marks if mark in path.read_text()]
    assert not found, "\n".join(found)
