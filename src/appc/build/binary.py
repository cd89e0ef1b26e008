"""An image of one program: it, the shared libraries it needs, its ELF interpreter, and what else is asked for."""

from __future__ import annotations

import os
import stat

from appc.build.closure import Closure
from appc.build.elf import read_elf
from appc.build.manifest import manifest, name_from
from appc.build.tree import Tree
from appc.errors import ArchiveError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SYSTEM = ("/bin/", "/sbin/", "/lib/", "/lib64/", "/usr/", "/opt/")
_MAX_SHEBANG = 256
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def make_binary(
    tree: Tree,
    program: str,
    *,
    target: str = "",
    assets: Sequence[tuple[str, str]] = (),
    libraries: Sequence[str] = (),
    arguments: Sequence[str] = (),
) -> bytes:
    """Put `program` with its closure into `tree` and return the manifest of an image that executes it.

    A program that is installed keeps its path, another goes to /usr/bin; `target` says otherwise. `assets` are
    (host path, path in the image) of files and directories, whose programs and libraries get their closure too.
    `libraries` are further shared libraries, by path, such as a program loads while it runs. `arguments` follow the
    program in the app's command. Raises ArchiveError when something is no program or lacks a library, UsageError.
    """
    source = os.path.abspath(program)
    closure = Closure(tree)
    if not target:
        target = source if source.startswith(_SYSTEM) else f"/usr/bin/{os.path.basename(source)}"
    add_program(tree, closure, source, target, program)
    for path in libraries:
        add_program(tree, closure, os.path.abspath(path), os.path.abspath(path), path)
    for asset, place in assets:
        add_asset(tree, closure, asset, place)
    return manifest(name_from(os.path.basename(source)), (target, *arguments))


def add_program(tree: Tree, closure: Closure, source: str, target: str, where: str) -> None:
    """Put a program or library, known to the user as `where`, into the tree with all it needs to be loaded."""
    if not target.startswith("/"):
        raise UsageError("a path in the image must be absolute", target)
    real = tree.resolve(source)
    if not real:
        raise ArchiveError("no such file", where)
    host = tree.host(real)
    if not stat.S_ISREG(os.stat(host).st_mode):
        raise ArchiveError("is not a regular file", where)
    try:
        known = closure.add(host, target) or _add_interpreter(tree, closure, host, where)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where) from None
    if not known:
        raise ArchiveError("is neither an ELF program nor a script that begins with #!", where)
    if source == target:
        tree.add(target)
    else:
        tree.copy(host, target)


def add_asset(tree: Tree, closure: Closure, source: str, place: str) -> None:
    """Put a file or directory of the host at `place`, with the shared libraries its programs need."""
    if not place.startswith("/"):
        raise UsageError("a path in the image must be absolute", place)
    if not os.path.exists(source):
        raise ArchiveError("no such file", source)
    real = os.path.realpath(source)
    if os.path.isdir(real) and (tree.root + "/").startswith(real.rstrip("/") + "/"):
        raise UsageError("holds the directory the image is made in", source, "--root DIR makes it elsewhere")
    for path in tree.copy_tree(real, place.rstrip("/") or "/"):
        inside = f"{real}{path[len(place.rstrip('/')) :]}" if os.path.isdir(real) else real
        closure.add(inside, path)


def _add_interpreter(tree: Tree, closure: Closure, script: str, where: str) -> bool:
    """Add what a script's first line names; False when it has no such line."""
    with open(script, "rb") as file:
        line = file.readline(_MAX_SHEBANG)
    if not line.startswith(b"#!"):
        return False
    words = os.fsdecode(line[2:]).split()
    if not words or not words[0].startswith("/"):
        raise ArchiveError("names no interpreter in its first line", where)
    programs = [words[0]]
    if os.path.basename(words[0]) == "env" and len(words) > 1:
        found = next((f"{path}/{words[-1]}" for path in _PATH if tree.resolve(f"{path}/{words[-1]}")), "")
        if not found:
            raise ArchiveError(f"its interpreter {words[-1]} is not found", where)
        programs.append(found)
    for path in programs:
        real = tree.resolve(path)
        if not real or read_elf(tree.host(real)) is None:
            raise ArchiveError(f"its interpreter {path} is not an ELF program", where)
        add_program(tree, closure, path, path, path)
    return True
