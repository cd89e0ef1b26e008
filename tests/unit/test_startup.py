"""The faster importer of command lines: it runs what Python would run, and never anything older."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

import appc.startup

# Which loader a module had, what it says of itself, and what it did.
REPORT = """
import sys
sys.path.append(sys.argv[1])
if sys.argv[2] == "import":
    from appc.startup import hasten
    hasten(sys.argv[1])
if sys.argv[2] == "path":
    from _frozen_importlib_external import SourceFileLoader
    names = {"__name__": "appc.startup"}
    exec(SourceFileLoader("appc.startup", sys.argv[1] + "/appc/startup.py").get_code("appc.startup"), names)
    names["hasten"](sys.argv[1])
import appc.one, appc.room, appc.room.two
for name in ("appc", "appc.one", "appc.room", "appc.room.two"):
    module = sys.modules[name]
    spec = module.__spec__
    print(name, module.VALUE, type(module.__loader__).__name__)
    print(module.__file__, module.__cached__, module.__package__, getattr(module, "__path__", None))
    print(spec.name, spec.origin, spec.parent, spec.has_location, spec.submodule_search_locations)
print(appc.room.two.inside.__code__.co_filename, appc.room.two.__loader__.get_source("appc.room.two"))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package `appc` with the real module under test, compiled as pip compiles."""
    root = tmp_path / "appc"
    (root / "room").mkdir(parents=True)
    (root / "__init__.py").write_text("VALUE = 0\n")
    (root / "startup.py").write_text(Path(appc.startup.__file__).read_text())
    (root / "one.py").write_text("VALUE = 1\n")
    (root / "room/__init__.py").write_text("VALUE = 10\n")
    (root / "room/two.py").write_text("VALUE = 100\ndef inside(): pass\n")
    for source in root.rglob("*.py"):
        py_compile.compile(str(source))
    return root


def compiled(source: Path) -> Path:
    """The compiled file of a source."""
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


def report(package: Path, how: str = "path", *flags: str) -> list[str]:
    """Import the package in a Python of its own, after startup.py was run by path (as by the starter) or imported."""
    command = [sys.executable, "-I", "-S", *flags, "-c", REPORT, str(package.parent), how]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def loaded(package: Path, *flags: str) -> dict[str, tuple[str, str]]:
    """Module -> (its VALUE, the loader's class)."""
    lines = report(package, "path", *flags)[:12:3]
    return {name: (value, loader) for name, value, loader in (line.split() for line in lines)}


def test_modules_are_what_pythons_own_importer_makes_of_them(package: Path) -> None:
    fast, slow = report(package, "path"), report(package, "no")
    assert [line.replace("SourceFileLoader", "Loader") for line in slow] == fast
    assert [line.split()[-1] for line in fast[:12:3]] == ["Loader"] * 4, "all came the fast way"
    imported = report(package, "import")
    assert imported[0] != fast[0], "the package itself was there before"
    assert imported[1:] == fast[1:]


def test_a_changed_source_is_run(package: Path) -> None:
    """Its size differs, or, like that of any file that is written anew, its time."""
    (package / "one.py").write_text("VALUE = 2222\n")
    assert loaded(package)["appc.one"] == ("2222", "SourceFileLoader")
    two = package / "room/two.py"
    two.write_text("VALUE = 300\ndef inside(): pass\n")
    os.utime(two, (1, 1))
    assert loaded(package)["appc.room.two"] == ("300", "SourceFileLoader")
    assert loaded(package)["appc.room.two"] == ("300", "Loader"), "Python has compiled it again"


def test_a_source_that_was_removed_is_not_run(package: Path) -> None:
    (package / "one.py").unlink()
    with pytest.raises(AssertionError, match=r"No module named 'appc\.one'"):
        report(package)


@pytest.mark.parametrize("length", [0, 5, 16, 17, 60])
def test_a_damaged_compiled_file_costs_time_only(package: Path, length: int) -> None:
    for name in ("__init__.py", "one.py", "room/__init__.py"):
        file = compiled(package / name)
        file.write_bytes(file.read_bytes()[:length])
    values = {name: value for name, (value, _) in loaded(package).items()}
    assert values == {"appc": "0", "appc.one": "1", "appc.room": "10", "appc.room.two": "100"}


def test_a_compiled_file_of_another_python_is_not_run(package: Path) -> None:
    file = compiled(package / "one.py")
    file.write_bytes(b"\x00\x00\r\n" + file.read_bytes()[4:])
    assert loaded(package)["appc.one"] == ("1", "SourceFileLoader")


def test_a_compiled_file_named_by_hash_is_pythons_business(package: Path) -> None:
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    py_compile.compile(str(package / "one.py"), invalidation_mode=mode)
    assert loaded(package)["appc.one"] == ("1", "SourceFileLoader")


@pytest.mark.parametrize("flags", [("-O",), ("-X", "pycache_prefix=/nonexistent")], ids=" ".join)
def test_where_python_looks_elsewhere_so_does_it(package: Path, flags: tuple[str, ...]) -> None:
    assert {loader for _, loader in loaded(package, *flags).values()} == {"SourceFileLoader"}


def test_importing_appc_changes_nothing_in_a_program(package: Path) -> None:
    lines = report(package, "no")
    assert [line.split()[-1] for line in lines[:12:3]] == ["SourceFileLoader"] * 4
