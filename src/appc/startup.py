"""What a Python that belongs to a command line does first, so that a user waits less for it.

Most of the time of a short command goes into importing. Python's own way looks for each module with a dozen system
calls and as many functions written in Python; here it is a few of both. What is run is the same: the compiled files
where Python and pip put them, as long as they are those of the present sources, by Python's own rule. Everything else
– a compiled file that is missing, stale, damaged or of another kind – is left to Python's own importer.

Programs that import appc as a library keep their own ways: nothing here happens unless `hasten` is called. The starter
runs this file by its path, so that not even the package has to be searched for.
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys

# Python's importers, of which `importlib` is the public name; importing that reads files and takes milliseconds.
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

PACKAGE = "appc"
# Allocations between two searches for cycles. A command makes few cycles and ends before it is worth finding them.
GC_THRESHOLD = 50_000

# A compiled file begins with the magic number, flags (0: it names its source by time and size) and these two.
_HEADER = 16
_NOTHING = memoryview(b"")
_TIMESTAMPED = MAGIC_NUMBER + bytes(4)


def hasten(packages: str) -> None:
    """Import the modules of appc faster from now on, and let the search for cycles wait. Changes the whole process.

    `packages` is the directory that holds the package, as it is, or will be, on sys.path.
    """
    gc.set_threshold(GC_THRESHOLD)
    if sys.pycache_prefix is None and not sys.flags.optimize and sys.implementation.cache_tag:
        sys.meta_path.insert(0, Finder(packages, sys.implementation.cache_tag))


class Finder:
    """A meta path finder (PEP 451) for the modules of PACKAGE that have a compiled file which holds."""

    def __init__(self, packages: str, tag: str) -> None:
        self._packages = packages
        self._suffix = f".{tag}.pyc"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module, with its code, or None for a module that is left to the next finder."""
        package, _, name = fullname.rpartition(".")
        if fullname == PACKAGE:
            directory = self._packages
        elif path and package.partition(".")[0] == PACKAGE:
            directory = path[0]
        else:
            return None
        spec = self._spec(fullname, directory, name)
        if spec is None:
            spec = self._spec(fullname, f"{directory}/{name}", "__init__")
            if spec is not None:
                spec.submodule_search_locations = [f"{directory}/{name}"]
        return spec

    def _spec(self, fullname: str, directory: str, name: str) -> ModuleSpec | None:
        source, compiled = f"{directory}/{name}.py", f"{directory}/__pycache__/{name}{self._suffix}"
        try:
            data = _read(source, compiled)
        except OSError:
            return None
        if data is None:
            return None
        spec = ModuleSpec(fullname, Loader(fullname, source, data), origin=source)
        spec.has_location = True
        spec.cached = compiled
        return spec


class Loader(SourceFileLoader):
    """Loads a module whose compiled code was read already; all else it does as Python's own does."""

    def __init__(self, fullname: str, path: str, data: memoryview) -> None:
        # Not by super(): that would be one call more for each module.
        self.name, self.path = fullname, path
        self._data = data

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        try:
            code = marshal.loads(self._data)
        except (EOFError, ValueError, TypeError):
            code = self.source_to_code(self.get_data(self.path), self.path)
        # The module keeps its loader; the code, which is as large as all else of it, is needed once.
        self._data = _NOTHING
        exec(code, module.__dict__)


def _read(source: str, compiled: str) -> memoryview | None:
    """Return what is in the file `compiled` when it was made from `source` as that is now, else None."""
    status = posix.stat(source)
    fd = posix.open(compiled, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = posix.read(fd, posix.fstat(fd).st_size)
    finally:
        posix.close(fd)
    stamp = (int(status.st_mtime) & 0xFFFFFFFF) | (status.st_size & 0xFFFFFFFF) << 32
    if data[:_HEADER] != _TIMESTAMPED + stamp.to_bytes(8, "little"):
        return None
    return memoryview(data)[_HEADER:]
