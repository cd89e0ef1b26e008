"""The fuzzers of what native programs read: each finds nothing in a short run, and a planted bug at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from capabilities import need

# So many inputs, whatever the machine does besides; a planted bug takes some ten thousand.
RUNS = 150_000
NATIVE = Path(__file__).parents[2] / "native"
FUZZ = Path(__file__).parents[1] / "fuzz" / "native"


# Fuzzer → what writes its seeds
SEEDS = {"fuzz-wire": "seeds.py", "fuzz-front": "seeds_front.py"}


def _fuzzer(directory: Path, name: str, *flags: str) -> Path:
    need("clang")
    program = directory / name
    command = ["make", "-C", str(NATIVE), f"BUILD={directory}", f"FUZZ_FLAGS={' '.join(flags)}", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "fuzzer" in done.stderr:
        pytest.skip("clang has no libFuzzer here")
    assert done.returncode == 0, done.stderr
    (directory / "corpus").mkdir()
    subprocess.run([sys.executable, FUZZ / SEEDS[name], directory / "corpus"], check=True)
    return program


def _run(program: Path) -> subprocess.CompletedProcess[str]:
    # Without reloading its own findings from the disk by the clock a run depends on the seed alone.
    command = [str(program), "-seed=7", "-reload=0", "-max_len=4096", f"-runs={RUNS}", "corpus"]
    return subprocess.run(command, cwd=program.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SEEDS)
def test_a_short_run_finds_nothing(name: str, tmp_path: Path) -> None:
    done = _run(_fuzzer(tmp_path, name))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", SEEDS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    done = _run(_fuzzer(tmp_path, name, "-DPLANTED_BUG"))
    assert done.returncode != 0, done.stderr[-2000:]
    assert "SUMMARY: " in done.stderr, done.stderr[-2000:]
