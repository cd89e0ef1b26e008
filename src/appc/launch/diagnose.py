"""Why a program would not start: the sentence behind ENOENT, EACCES and ENOEXEC.

"No such file or directory" can mean the program, its ELF interpreter or the target of its `#!`
line; the kernel does not say which. The image is still there, so we look.
"""

from __future__ import annotations

import errno
import os
import stat

from appc.errors import AppcError, LaunchError, NotExecutable, ProgramNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    ByteOrder = Literal["little", "big"]

    from appc.images.view import TreeView

# e_machine of the ELF header -> the image-label names of that architecture.
ELF_MACHINES = {
    0x03: "i386",
    0x3E: "amd64",
    0x28: "arm",
    0xB7: "aarch64",
    0x15: "ppc64",
    0x16: "s390x",
    0xF3: "riscv64",
}
MACHINE_NAMES = {"x86_64": "amd64", "aarch64": "aarch64", "i686": "i386", "armv7l": "arm", "ppc64le": "ppc64"}
PT_INTERP = 3
HEAD = 4096
MAXIMUM_DEPTH = 4


def explain_exec(view: TreeView, files: tuple[str, ...], name: str, error: int, where: str) -> AppcError:
    """Return the error for an exec that failed with `error`, after a look at the files it tried.

    `files` are the candidates in order (one for a name with a slash), `name` the word of `exec`.
    """
    present = [path for path in files if _exists(view, path)]
    if not present:
        if "/" in name:
            return ProgramNotFound(
                f"{name}: no such file in the image", where, "`appc enter` or `appc image extract` show what it holds"
            )
        tried = ", ".join(os.path.dirname(path) or "." for path in files)
        return ProgramNotFound(f"{name}: not found in the app's PATH ({tried})", where)
    return _explain_file(view, present[0], error, where, 0)


def _explain_file(view: TreeView, path: str, error: int, where: str, depth: int) -> AppcError:
    mode = view.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return NotExecutable(f"{path}: is a directory", where)
    if not stat.S_ISREG(mode):
        return NotExecutable(f"{path}: is not a regular file", where)
    if not mode & 0o111:
        return NotExecutable(
            f"{path}: is not executable (mode {stat.S_IMODE(mode):04o})",
            where,
            "set its x bits and build the image again",
        )
    try:
        head = view.read(path, 1 << 40, HEAD)
    except OSError as problem:
        return LaunchError(os.strerror(problem.errno or 0), f"{where}: {path}")
    if head.startswith(b"#!"):
        return _explain_script(view, path, head, error, where, depth)
    if head.startswith(b"\x7fELF"):
        return _explain_elf(view, path, head, error, where)
    if error == errno.ENOEXEC:
        return NotExecutable(f"{path}: is neither an ELF program nor a script with a #! line", where)
    return _plain(path, error, where)


def _explain_script(view: TreeView, path: str, head: bytes, error: int, where: str, depth: int) -> AppcError:
    line = head[2:].split(b"\n", 1)[0]
    interpreter = line.strip(b" \t").split(b" ")[0].split(b"\t")[0].decode("utf-8", "replace")
    if line.endswith(b"\r") and not _exists(view, interpreter):
        return NotExecutable(
            f"{path}: its #! line ends in CR LF", where, "convert the script's line ends: sed -i 's/\\r$//'"
        )
    if not interpreter:
        return NotExecutable(f"{path}: its #! line names no interpreter", where)
    if not _exists(view, interpreter):
        return ProgramNotFound(f"{path}: its interpreter {interpreter} (from the #! line) is not in the image", where)
    if depth < MAXIMUM_DEPTH:
        return _explain_file(view, interpreter, error, f"{where}: {path}", depth + 1)
    return NotExecutable(f"{path}: its #! lines lead from script to script", where)


def _explain_elf(view: TreeView, path: str, head: bytes, error: int, where: str) -> AppcError:
    order: ByteOrder = "little" if head[5:6] == b"\x01" else "big"
    machine = ELF_MACHINES.get(int.from_bytes(head[18:20], order), "an unknown architecture")
    host = MACHINE_NAMES.get(os.uname().machine, os.uname().machine)
    if machine != host and not (host == "amd64" and machine == "i386"):
        return NotExecutable(f"{path}: is built for {machine}, this host is {host}", where)
    interpreter = elf_interpreter(head)
    if interpreter and not _exists(view, interpreter):
        return ProgramNotFound(
            f"{path}: its ELF interpreter {interpreter} is not in the image",
            where,
            "add the C library it is linked with, or link it statically",
        )
    return _plain(path, error, where)


def elf_interpreter(head: bytes) -> str:
    """Return the path of PT_INTERP in the first bytes of an ELF file; "" for a static one."""
    order: ByteOrder = "little" if head[5:6] == b"\x01" else "big"
    wide = head[4:5] == b"\x02"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(head[offset : offset + size], order)

    table, size, count = (
        (number(32, 8), number(54, 2), number(56, 2)) if wide else (number(28, 4), number(42, 2), number(44, 2))
    )
    for index in range(min(count, 64)):
        entry = table + index * size
        if number(entry, 4) == PT_INTERP:
            start, length = (
                (number(entry + 8, 8), number(entry + 32, 8)) if wide else (number(entry + 4, 4), number(entry + 16, 4))
            )
            return head[start : start + length].rstrip(b"\0").decode("utf-8", "replace")
    return ""


def _plain(path: str, error: int, where: str) -> AppcError:
    if error == errno.EACCES:
        return NotExecutable(
            f"{path}: permission denied",
            where,
            "its file system may be mounted noexec, or a directory on the way closed to the app's user",
        )
    return NotExecutable(f"{path}: {os.strerror(error)}", where)


def _exists(view: TreeView, path: str) -> bool:
    try:
        view.stat(path)
    except OSError:
        return False
    return True
