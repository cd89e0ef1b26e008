"""The law of the house: imports go strictly downwards, and the lower floors touch nothing (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import appc

PACKAGE = Path(appc.__file__).parent

# Modules and packages of appc, from the ground up. Those in one row never import each other, and a row imports
# only from rows before it. A floor of docs/architecture.md is one row or a few.
ROWS = (
    ("errors", "abi", "version"),
    ("oserrors", "quantity"),
    ("values",),
    ("schema",),
    ("formats", "plan"),
    ("host",),
    ("net", "trust", "store", "config", "startup"),
    ("images", "network"),
    ("pods",),
    ("launch",),
    ("oci", "build", "metadata"),
    ("executor", "serve", "conformance"),
    ("cli", "__init__"),
    ("__main__",),
)
ROW = {name: number for number, names in enumerate(ROWS) for name in names}
LAST_PURE_ROW = ROW["plan"]

# What pure thought does not import.
WORLDLY = {
    "_posixsubprocess",
    "_socket",
    "_ssl",
    "asyncio",
    "ctypes",
    "http",
    "multiprocessing",
    "socket",
    "ssl",
    "subprocess",
    "urllib",
}


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _room(path: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file names in an import, wherever in the file, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            yield node.lineno, module
            if module == "appc":
                for alias in node.names:
                    yield node.lineno, f"appc.{alias.name}"


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_imports_go_strictly_downwards(path: Path) -> None:
    room = _room(path)
    assert room in ROW, f"{room} has no place: give it one here and in docs/architecture.md"
    faults = []
    for line, module in _imports(path):
        parts = module.split(".")
        if parts[0] != "appc" or len(parts) == 1 or parts[1] == room:
            continue
        if ROW.get(parts[1], len(ROWS)) >= ROW[room]:
            faults.append(f"{path}:{line}: {room} imports {module}, which is not below it")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", [path for path in _modules() if ROW.get(_room(path), 99) <= LAST_PURE_ROW], ids=_name)
def test_lower_floors_touch_nothing_but_the_streams_they_are_given(path: Path) -> None:
    faults = [f"{path}:{line}: imports {name}" for line, name in _imports(path) if name.split(".")[0] in WORLDLY]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            faults.append(f"{path}:{node.lineno}: opens a file by itself")
    assert not faults, "\n".join(faults)


def test_only_the_host_calls_the_c_library() -> None:
    """`host` has the only ctypes; the report of `doctor` and the search for libseccomp load a library to see it."""
    users = {_name(path) for path in _modules() for _, name in _imports(path) if name.split(".")[0] == "ctypes"}
    assert {name for name in users if not name.startswith("host.")} <= {"cli.doctor"}


def test_oci_is_given_a_bundle_and_fetches_nothing() -> None:
    for path in _modules():
        if _room(path) == "oci":
            rooms = {name.split(".")[1] for _, name in _imports(path) if name.startswith("appc.")}
            assert not rooms & {"net", "trust", "store", "images"}, path


@pytest.mark.parametrize("path", [path for path in _modules() if path.name == "__init__.py"], ids=_name)
def test_packages_hold_nothing_but_a_docstring(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert ast.get_docstring(ast.Module(body, [])), f"{path} has no docstring"
    if path.parent != PACKAGE:
        assert len(body) == 1, f"{path} holds code"


def test_importing_appc_imports_nothing_else() -> None:
    """The public names are looked up when used: PEP 562."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert isinstance(node, ast.ImportFrom)
            assert node.module == "__future__"
