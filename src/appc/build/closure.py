"""Which shared libraries a program needs, found where its dynamic linker would find them (ld.so(8)).

Nothing is executed. The cache of ld.so is not read: it says no more than the directories it was made from, and the
image has none; a library found only through ld.so.conf gets a link in a directory that is searched without it.
"""

from __future__ import annotations

import glob
import os

from appc.build.elf import read_elf
from appc.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.build.elf import Elf
    from appc.build.tree import Tree

# ELF machine number and word size: Debian's multiarch name, the processor's name in $PLATFORM
_MACHINES = {
    (62, 64): ("x86_64-linux-gnu", "x86_64"),
    (3, 32): ("i386-linux-gnu", "i686"),
    (183, 64): ("aarch64-linux-gnu", "aarch64"),
    (40, 32): ("arm-linux-gnueabihf", "v7l"),
    (21, 64): ("powerpc64le-linux-gnu", "ppc64le"),
    (22, 64): ("s390x-linux-gnu", "s390x"),
    (243, 64): ("riscv64-linux-gnu", "riscv64"),
}
_MAX_INCLUDES = 64


class _Object:
    """One loaded file: where it is in the image and on the host, what it says, and who loaded it."""

    __slots__ = ("elf", "host", "loader", "place")

    def __init__(self, place: str, host: str, elf: Elf, loader: _Object | None) -> None:
        self.place = place
        self.host = host
        self.elf = elf
        self.loader = loader


class Closure:
    """Brings shared libraries into a tree, each once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._done: set[str] = set()
        self._configured: dict[str, tuple[str, ...]] = {}

    def add(self, host: str, place: str) -> bool:
        """Add what the file `host`, which is at `place` in the image, needs; False when it is no ELF file.

        Raises ArchiveError for a library that is not found, with the place of what needs it.
        """
        elf = read_elf(host)
        if elf is None:
            return False
        first = _Object(place, host, elf, None)
        if elf.interpreter:
            self._bring(elf.interpreter, host)
        waiting = [first]
        found: dict[str, str] = {}
        while waiting:
            here = waiting.pop(0)
            for name in here.elf.needed:
                if name in found:
                    continue
                library = self._find(name, here, first)
                found[name] = library.place
                waiting.append(library)
        return True

    def _bring(self, path: str, needed_by: str) -> str:
        try:
            return self._tree.add(path)
        except ArchiveError as error:
            raise ArchiveError(f"needs {path}: {error.what}", needed_by) from None

    def _find(self, name: str, user: _Object, program: _Object) -> _Object:
        """The library `name` that `user` needs, brought into the tree."""
        if "/" in name:
            # An absolute name is loaded as it is; a relative one would depend on the working directory.
            found = self._candidate(name, name, user) if name.startswith("/") else None
            if found is not None:
                return found
            raise self._missing(name, user, ())
        tried: list[str] = []
        builtin = _default(user.elf, program.elf)
        for directory, source in (*_own_directories(user), *((path, path) for path in builtin)):
            tried.append(source)
            found = self._candidate(f"{directory}/{name}", f"{source}/{name}", user)
            if found is not None:
                return found
        for directory in self._from_configuration(program.elf) if builtin else ():
            tried.append(directory)
            found = self._candidate(f"{directory}/{name}", f"{directory}/{name}", user)
            if found is not None:
                # Without a cache the linker in the image looks only in its built-in directories.
                self._tree.link(f"{builtin[0]}/{name}", found.place)
                return found
        raise self._missing(name, user, tried)

    def _candidate(self, path: str, source: str, user: _Object) -> _Object | None:
        """The library `source` if it is one for the same machine, brought into the tree as `path`."""
        place, source = os.path.normpath(path), os.path.normpath(source)
        real = self._tree.resolve(source)
        if not real:
            return None
        host = self._tree.host(real)
        try:
            elf = read_elf(host)
        except (ArchiveError, OSError):
            return None
        if elf is None or elf.platform != user.elf.platform:
            return None
        if place not in self._done:
            self._done.add(place)
            if place == source:
                self._bring(place, user.place)
            else:
                self._tree.copy(host, place)
        return _Object(place, source, elf, user)

    def _from_configuration(self, program: Elf) -> tuple[str, ...]:
        """The directories of the host's ld.so.conf, or of musl's path file."""
        if program.interpreter not in self._configured:
            if "ld-musl" in program.interpreter:
                found = list(self._musl_directories(program.interpreter))
            else:
                found = list(self._read_configuration("/etc/ld.so.conf", [0]))
            self._configured[program.interpreter] = tuple(found)
        return self._configured[program.interpreter]

    def _read_configuration(self, path: str, count: list[int]) -> Iterator[str]:
        count[0] += 1
        for source in self._tree.sources if count[0] <= _MAX_INCLUDES else ():
            for file in sorted(glob.glob(f"{source.rstrip('/')}{path}")):
                for line in _lines(file):
                    word, _, rest = line.partition(" ")
                    if word == "include" and rest:
                        directory = os.path.dirname(path)
                        yield from self._read_configuration(os.path.join(directory, rest.strip()), count)
                    elif line.startswith("/"):
                        yield line

    def _musl_directories(self, interpreter: str) -> Iterator[str]:
        arch = os.path.basename(interpreter).removeprefix("ld-musl-").partition(".")[0]
        for line in _lines(f"/etc/ld-musl-{arch}.path"):
            yield from (part for part in line.split(":") if part.startswith("/"))

    def _missing(self, name: str, user: _Object, tried: tuple[str, ...] | list[str]) -> ArchiveError:
        chain = [user.place]
        while user.loader is not None:
            user = user.loader
            chain.append(user.place)
        by = f" (which {chain[-1]} needs)" if len(chain) > 1 else ""
        hint = f"looked in {', '.join(dict.fromkeys(tried))}" if tried else ""
        return ArchiveError(f"the shared library {name} is not found", chain[0] + by, hint)


def _own_directories(user: _Object) -> Iterator[tuple[str, str]]:
    """What an object's RPATH, its loaders' and its RUNPATH say: directories of the image, and where they are here."""
    above: _Object | None = user
    while above is not None and not user.elf.runpath:
        for path in above.elf.rpath:
            yield _expanded(path, above.place, above.elf), _expanded(path, above.host, above.elf)
        above = above.loader
    for path in user.elf.runpath:
        yield _expanded(path, user.place, user.elf), _expanded(path, user.host, user.elf)


def _default(elf: Elf, program: Elf) -> tuple[str, ...]:
    """The directories that are built into the linker."""
    if not elf.default_directories:
        return ()
    if "ld-musl" in program.interpreter:
        return ("/lib", "/usr/local/lib", "/usr/lib")
    name, _ = _machine(elf)
    wide = ("/lib64", "/usr/lib64") if elf.platform[0] == 64 else ()
    multiarch = (f"/lib/{name}", f"/usr/lib/{name}") if name else ()
    return (*multiarch, *wide, "/lib", "/usr/lib")


def _expanded(directory: str, owner: str, elf: Elf) -> str:
    name, processor = _machine(elf)
    values = {"ORIGIN": os.path.dirname(owner), "LIB": f"lib/{name}" if name else "lib", "PLATFORM": processor}
    for word, value in values.items():
        directory = directory.replace(f"${{{word}}}", value).replace(f"${word}", value)
    return directory


def _machine(elf: Elf) -> tuple[str, str]:
    bits, _, machine = elf.platform
    return _MACHINES.get((machine, bits), ("", ""))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return [text for line in file if (text := line.partition("#")[0].strip())]
    except OSError:
        return []
