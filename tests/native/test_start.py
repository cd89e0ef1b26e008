"""The starter: which interpreter it runs, with which path, and what it leaves to Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = """
import sys
def main():
    print("{name}")
    for line in (sys.argv, sys.path[-1], sys.flags.no_site, sys.flags.isolated, sys.executable, sys.hastened):
        print(line)
    return 7
"""

VERSION = f"python3.{sys.version_info.minor}"


@pytest.fixture
def installed(release: Path, tmp_path: Path) -> Path:
    """An installation: bin/appc, lib/pythonX.Y/site-packages/appc."""
    prefix = tmp_path / "installed here"
    package = prefix / "lib" / VERSION / "site-packages" / "appc"
    for part in ("cli", "oci"):
        (package / part).mkdir(parents=True)
        (package / part / "__init__.py").touch()
        (package / part / "main.py").write_text(MAIN.format(name=part))
    (package / "__init__.py").touch()
    (package / "startup.py").write_text("import sys\ndef hasten(packages): sys.hastened = packages\n")
    (prefix / "bin").mkdir()
    shutil.copy(release / "appc-start", prefix / "bin/appc")
    return prefix


def run(program: Path, *arguments: str, path: str = os.defpath) -> tuple[int, list[str]]:
    environment = {"PATH": path, "PYTHONPATH": "/nowhere"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_python_starts_without_site_and_with_one_more_directory(installed: Path) -> None:
    status, lines = run(installed / "bin/appc", "run", "two words", "--", "-c")
    assert status == 7
    program = str(installed / "bin/appc")
    assert lines[0] == "cli"
    assert lines[1] == repr([program, "run", "two words", "--", "-c"])
    assert lines[2] == str(installed / "lib" / VERSION / "site-packages")
    assert lines[3:5] == ["1", "1"]
    assert lines[6] == lines[2], "what makes importing faster comes first"


def test_the_interpreter_beside_it_comes_first(installed: Path) -> None:
    own = installed / "bin" / VERSION
    own.symlink_to(sys.executable)
    assert run(installed / "bin/appc")[1][5] == str(own)


def test_a_virtual_environments_interpreter(installed: Path) -> None:
    (installed / "pyvenv.cfg").write_text(f"home = {os.path.dirname(os.path.realpath(sys.executable))}\n")
    own = installed / "bin/python3"
    own.symlink_to(sys.executable)
    assert run(installed / "bin/appc")[1][5] == str(own)


def test_distributions_own_directory(installed: Path) -> None:
    packages = installed / "lib/python3/dist-packages"
    packages.parent.mkdir()
    (installed / "lib" / VERSION / "site-packages").rename(packages)
    (installed / "lib" / VERSION).rmdir()
    status, lines = run(installed / "bin/appc")
    assert (status, lines[2]) == (7, str(packages))


def test_a_link_to_it_works_from_anywhere(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(installed / "bin/appc")
    status, lines = run(tmp_path / "elsewhere", "list")
    assert (status, lines[0]) == (7, "cli")


def test_its_other_name_is_another_program(installed: Path) -> None:
    (installed / "bin/appc-oci").symlink_to("appc")
    assert run(installed / "bin/appc-oci")[1][0] == "oci"


def test_an_unknown_layout_is_left_to_python(release: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(release / "appc-start", tmp_path / "bin/appc")
    fake = tmp_path / "bin/python3"
    fake.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    fake.chmod(0o755)
    assert run(tmp_path / "bin/appc", "list", "-q") == (3, ["-m appc list -q"])
    (tmp_path / "bin/appc-oci").symlink_to("appc")
    assert run(tmp_path / "bin/appc-oci", "list", "-q") == (3, ["-m appc.oci list -q"])


def test_no_interpreter_at_all(installed: Path) -> None:
    odd = installed / "lib/python3.999"
    (installed / "lib" / VERSION).rename(odd)
    status, lines = run(installed / "bin/appc", path="/nowhere")
    assert status == 125
    assert lines == ["appc: cannot run python3.999: No such file or directory"]
