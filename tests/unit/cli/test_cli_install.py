"""What pip installed: a wheel for any Python of this architecture, whose `appc` starts Python without `site`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from appc.version import VERSION
from capabilities import need


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file the distribution installed."""
    try:
        found = metadata.files("appc")
    except metadata.PackageNotFoundError:
        found = None
    if found is None:
        reason = "appc is not installed here as a distribution (make test installs it)"
        pytest.fail(reason) if os.environ.get("APPC_MUST") == "1" else pytest.skip(reason)
    return [Path(str(path.locate())) for path in found]


@pytest.fixture(scope="module")
def starter(files: list[Path]) -> Path:
    """The command that is on PATH in this environment."""
    (program,) = [path for path in files if path.name == "appc" and path.parent.name == "bin"]
    return program.resolve()


def test_nothing_runs_at_the_start_of_every_python(files: list[Path]) -> None:
    assert not [path for path in files if path.suffix == ".pth"]


def test_the_programs_are_static_and_executable(files: list[Path], starter: Path) -> None:
    programs = [path for path in files if path.parent.name == "_native"]
    assert {path.name for path in programs} == {"appc-init", "appc-keep", "appc-probe"}
    for program in (*programs, starter):
        assert stat.S_IMODE(program.stat().st_mode) & 0o555 == 0o555
        image = program.read_bytes()
        assert image[:4] == b"\x7fELF"
        assert b"/ld-" not in image, "has an interpreter, so it is not static"


def test_one_wheel_serves_every_python(files: list[Path]) -> None:
    assert files
    wheel = metadata.distribution("appc").read_text("WHEEL")
    assert wheel is not None
    assert "Tag: py3-none-linux_" in wheel
    assert "Root-Is-Purelib: false" in wheel


def test_manual_pages_and_completions_are_installed(files: list[Path]) -> None:
    names = {path.name for path in files}
    assert {"appc.1", "appc-run.1", "_appc", "appc.fish"} <= names


def test_the_command_works_without_an_environment(starter: Path) -> None:
    result = subprocess.run([starter, "version"], env={}, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"appc={VERSION}\n" in result.stdout
    assert f"python={sys.version.split()[0]}\n" in result.stdout, "it is the Python it was installed for"


def test_python_is_started_isolated_and_without_site(starter: Path, tmp_path: Path) -> None:
    need("strace")
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-e", "trace=execve", "-o", trace, starter, "version"], check=True, capture_output=True
    )
    started = [line for line in trace.read_text().splitlines() if "execve(" in line and line.rstrip().endswith("= 0")]
    assert len(started) == 2, "the starter, then Python"
    assert '"-I", "-S"' in started[1]


def test_a_module_in_the_working_directory_is_not_imported(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "appc.py").write_text("raise SystemExit('imported from the working directory')")
    (tmp_path / "textwrap.py").write_text("raise SystemExit('imported from the working directory')")
    result = subprocess.run(
        [starter, "help"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
