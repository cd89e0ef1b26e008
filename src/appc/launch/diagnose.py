"""Why a program would not start: the sentence behind ENOENT, EACCES and ENOEXEC.

"No such file or directory" can mean the program, its ELF interpreter or the target of its `#!`
line; the kernel does not say which. The image is still there, so we look.
"""

from __future__ import annotations

import errno
import os
import stat

from appc.errors import AppcError, LaunchError, NotExecutable, ProgramNotFound
from appc.images.view import TreeView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    ByteOrder = Literal["little", "big"]

# e_machine of the ELF header -> the image-label name of that architecture.
ELF_MACHINES = {
    0x03: "i386",
    0x15: "ppc64",
    0x16: "s390x",
    0x28: "arm",
    0x3E: "amd64",
    0xB7: "aarch64",
    0xF3: "riscv64",
    0x102: "loongarch64",
}
PT_INTERP = 3
HEAD = 4096
# Tools that change a program's interpreter put its name at the end of the file.
FARTHEST_INTERPRETER = 256 * 1024 * 1024
MAXIMUM_DEPTH = 4
CONTENTS = "`appc image extract IMAGE DIR` shows what the image holds"


class Program:
    """What was to be executed: the files tried in order, the word of `exec`, the working directory, and by whom.

    `identity` is (uid, gid, groups) of who may not go everywhere, None for root with its capabilities.
    """

    __slots__ = ("cwd", "files", "identity", "name")

    def __init__(
        self,
        files: tuple[str, ...],
        name: str,
        cwd: str = "/",
        identity: tuple[int, int, tuple[int, ...]] | None = None,
    ) -> None:
        self.files = tuple(f"{cwd.rstrip('/')}/{file}" if file[:1] != "/" else file for file in files)
        self.name = name
        self.cwd = cwd
        self.identity = identity


class RootView:
    """An app's root as the app sees it: its trees, and the host paths bound into it (by target).

    `mounted` says that the one tree is the root itself, of a process that runs.
    """

    def __init__(self, trees: tuple[str, ...], mounts: dict[str, str] | None = None, *, mounted: bool = False) -> None:
        self._tree = TreeView(trees)
        self._mounts = mounts or {}
        self._mounted = mounted

    def volume(self, path: str) -> str:
        """Return the target of the mount that `path` lies in, "" when it lies in the image."""
        return next((target for target in self._mounts if path == target or path.startswith(target + "/")), "")

    def _find(self, path: str) -> tuple[TreeView, str]:
        try:
            path = self._tree.lookup(path)[0]
        except OSError:
            pass  # perhaps in a volume
        target = self.volume(path)
        return (TreeView((self._mounts[target],)), path[len(target) :]) if target else (self._tree, path)

    def stat(self, path: str) -> os.stat_result:
        """As stat(2) in the root."""
        view, inside = self._find(path)
        return view.stat(inside)

    def read(self, path: str, count: int) -> bytes:
        """Return the first `count` bytes of a regular file."""
        view, inside = self._find(path)
        return view.read(inside, 1 << 62, count)

    def noexec(self, path: str) -> bool:
        """Tell whether `path` is on a file system, bound into the root, from which nothing may be executed."""
        view, inside = self._find(path)
        if view is self._tree and not self._mounted:
            # An overlay does not take this from the file systems below it.
            return False
        return bool(os.statvfs(view.lookup(inside)[1][0]).f_flag & os.ST_NOEXEC)

    def exists(self, path: str) -> bool:
        """Tell whether there is something at `path`."""
        try:
            self.stat(path)
        except OSError:
            return False
        return True


def explain_exec(view: RootView, program: Program, error: int, where: str) -> AppcError:
    """Return the error for an exec that failed with `error`, after a look at the files it tried."""
    try:
        present = [path for path in program.files if view.exists(path)]
        if present:
            return _explain_file(view, program, present[0], error, where)
    except OSError as problem:
        return LaunchError(os.strerror(problem.errno or 0), f"{where}: {program.name}")
    if "/" in program.name:
        volume = view.volume(program.files[0])
        if volume:
            return ProgramNotFound(f"{program.name}: no such file in the volume at {volume}", where)
        return ProgramNotFound(f"{program.name}: no such file in the image", where, CONTENTS)
    tried = ":".join(os.path.dirname(path) for path in program.files)
    return ProgramNotFound(f"{program.name}: not found in the app's PATH ({tried})", where, CONTENTS)


def _explain_file(
    view: RootView, program: Program, path: str, error: int, where: str, script: str = "", depth: int = 0
) -> AppcError:
    """Explain why `path`, the interpreter of `script` or else the program itself, cannot be executed."""
    where = f"{where}: {script}" if script else where
    mode = view.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return NotExecutable(f"{path}: is a directory", where)
    if not stat.S_ISREG(mode):
        return NotExecutable(f"{path}: is not a regular file", where)
    if not mode & 0o111:
        hint = "set its x bits and build the image again"
        return NotExecutable(f"{path}: is not executable (mode {stat.S_IMODE(mode):04o})", where, hint)
    if error == errno.EACCES:
        closed = _closed(view, program, path)
        if closed:
            return NotExecutable(f"{path}: {closed}", where)
        if view.noexec(path):
            return NotExecutable(f"{path}: its file system is mounted noexec", where, "keep programs in the image")
    head = view.read(path, HEAD)
    if head.startswith(b"#!"):
        return _explain_script(view, program, path, head, error, where, depth)
    if head.startswith(b"\x7fELF"):
        return _explain_elf(view, path, head, error, where)
    if error == errno.ENOEXEC:
        what = "is neither an ELF program nor a script with a #! line" if head else "is empty"
        return NotExecutable(f"{path}: {what}", where)
    return NotExecutable(f"{path}: {_words(error)}", where)


def _explain_script(
    view: RootView, program: Program, path: str, head: bytes, error: int, where: str, depth: int
) -> AppcError:
    line = head[2:].split(b"\n", 1)[0]
    interpreter = os.fsdecode(line.strip(b" \t").split(b" ")[0].split(b"\t")[0])
    if not interpreter.strip("\r"):
        return NotExecutable(f"{path}: its #! line names no interpreter", where)
    absolute = interpreter if interpreter.startswith("/") else f"{program.cwd.rstrip('/')}/{interpreter}"
    if view.exists(absolute):
        if depth < MAXIMUM_DEPTH:
            return _explain_file(view, program, absolute, error, where, path, depth + 1)
        return NotExecutable(f"{path}: its #! lines lead from script to script", where)
    if line.endswith(b"\r"):
        hint = "convert the script's line ends: sed -i 's/\\r$//'"
        return NotExecutable(f"{path}: its #! line ends in CR LF", where, hint)
    return ProgramNotFound(f"{path}: its interpreter {interpreter} (from the #! line) is not in the image", where)


def _explain_elf(view: RootView, path: str, head: bytes, error: int, where: str) -> AppcError:
    machine, host = _machine(head), _machine(_own_head())
    if error == errno.ENOEXEC and machine != host:
        return NotExecutable(f"{path}: is built for {_named(machine)}, this host is {_named(host)}", where)
    if error == errno.ENOEXEC:
        return NotExecutable(f"{path}: is a damaged ELF program", where)
    interpreter = elf_interpreter(lambda count: view.read(path, count))
    if interpreter and not view.exists(interpreter):
        return ProgramNotFound(
            f"{path}: its ELF interpreter {interpreter} is not in the image",
            where,
            "add the C library it is linked with, or link it statically",
        )
    return NotExecutable(f"{path}: {_words(error)}", where)


def elf_interpreter(read: Callable[[int], bytes]) -> str:
    """Return the path in PT_INTERP of an ELF file, of which `read(n)` gives the first n bytes; "" if it has none."""
    head = read(HEAD)
    order = _order(head)
    wide = head[4:5] == b"\x02"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(head[offset : offset + size], order)

    if wide:
        table, size, count = number(32, 8), number(54, 2), number(56, 2)
    else:
        table, size, count = number(28, 4), number(42, 2), number(44, 2)
    for entry in range(table, min(table + count * size, HEAD), size or HEAD):
        if number(entry, 4) == PT_INTERP:
            start, length = (
                (number(entry + 8, 8), number(entry + 32, 8)) if wide else (number(entry + 4, 4), number(entry + 16, 4))
            )
            if start + length > FARTHEST_INTERPRETER:
                return ""
            return os.fsdecode(read(start + length)[start:].split(b"\0")[0])
    return ""


def _order(head: bytes) -> ByteOrder:
    return "little" if head[5:6] == b"\x01" else "big"


def _machine(head: bytes) -> int:
    return int.from_bytes(head[18:20], _order(head))


def _own_head() -> bytes:
    with open("/proc/self/exe", "rb") as program:
        return program.read(20)


def _named(machine: int) -> str:
    return ELF_MACHINES.get(machine, f"an unknown machine (ELF number {machine})")


def _closed(view: RootView, program: Program, path: str) -> str:
    """Say what on the way to `path` is closed to the program's user, "" when nothing is."""
    if program.identity is None:
        return ""
    uid, gid, groups = program.identity
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        place = "/".join(parts[:count]) or "/"
        found = view.stat(place)
        shift = 6 if found.st_uid == uid else 3 if found.st_gid in (gid, *groups) else 0
        if not found.st_mode >> shift & 1:
            what = "it" if count == len(parts) else f"the directory {place}"
            owner = f"{found.st_uid}:{found.st_gid}"
            return f"{what} (mode {stat.S_IMODE(found.st_mode):04o}, owner {owner}) is closed to user {uid}"
    return ""


def _words(error: int) -> str:
    text = os.strerror(error)
    return text[:1].lower() + text[1:]
