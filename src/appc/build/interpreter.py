"""A Python interpreter of the host, with its standard library and the shared libraries of both, in a tree."""

from __future__ import annotations

import os
import subprocess

from appc.errors import ArchiveError, HostError
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.build.closure import Closure
    from appc.build.tree import Tree

# What a program without a terminal's user, a compiler or a test suite does not need.
_NOT_NEEDED = {
    *("__pycache__", "test", "tests", "idle_test", "idlelib", "tkinter", "turtledemo", "turtle.py", "lib2to3"),
    *("ensurepip", "pydoc_data", "dist-packages", "site-packages", "sitecustomize.py", "LICENSE.txt"),
}
_ASK = """
import json, os, site, sys, sysconfig
print(json.dumps({
    "executable": getattr(sys, "_base_executable", sys.executable),
    "version": list(sys.version_info[:3]),
    "libraries": sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}),
    "packages": site.getsitepackages([sys.base_prefix])[0],
}))
"""


class Interpreter:
    """An interpreter of the host: `executable`, `version`, its standard `libraries`, and where `packages` go."""

    __slots__ = ("executable", "libraries", "packages", "version")

    def __init__(self, command: str) -> None:
        done = _run([command, "-I", "-c", _ASK])
        if done.returncode or not done.stdout.startswith("{"):
            raise ArchiveError("is no Python interpreter that works", command)
        found = loads(done.stdout)
        self.executable: str = found["executable"]
        self.version: tuple[int, ...] = tuple(found["version"])
        self.libraries: tuple[str, ...] = tuple(found["libraries"])
        self.packages: str = found["packages"]
        if self.version < (3, 7):
            raise ArchiveError("is older than Python 3.7", command)

    def add_to(self, tree: Tree, closure: Closure) -> None:
        """Put the interpreter and its standard library into the tree, at their paths on the host."""
        host = tree.add(self.executable)
        closure.add(host, self.executable)
        for library in self.libraries:
            for place in tree.copy_tree(library, library, _left_out):
                add_libraries(tree, closure, place)

    def compile(self, tree: Tree, places: Sequence[str]) -> None:
        """Compile what is below `places` to bytecode that neither depends on times nor is ever checked.

        The same sources give the same bytecode: strings hash alike, and one process compiles all in one order.
        """
        options = ("-q", "-q", "--invalidation-mode", "unchecked-hash", "-s", tree.root, "-p", "/")
        directories = [tree.root + place for place in places if os.path.isdir(tree.root + place)]
        # Some packages carry templates that are no Python; compileall then goes on and ends with status 1.
        _run([self.executable, "-S", "-m", "compileall", *options, *directories], {"PYTHONHASHSEED": "0"})


def add_libraries(tree: Tree, closure: Closure, place: str) -> None:
    """Bring in what an extension module in the tree needs; one that cannot be loaded here either is taken out."""
    if not place.endswith(".so") and ".so." not in place:
        return
    try:
        closure.add(tree.root + place, place)
    except ArchiveError as error:
        os.unlink(tree.root + place)
        tree.warnings.append(f"{place} was left out: {error.what}")


def _left_out(path: str) -> bool:
    name = os.path.basename(path)
    return name in _NOT_NEEDED or name.startswith(("config-", "_tkinter.", "_test", "xxlimited"))


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except FileNotFoundError:
        raise HostError("there is no such program", command[0], "--python names another interpreter") from None
    except OSError as error:
        raise HostError(f"cannot be executed: {error.strerror}", command[0]) from None
