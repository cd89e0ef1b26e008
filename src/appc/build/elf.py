"""What the dynamic linker reads of an ELF file: its interpreter, the libraries it names, and where it looks for them.

Only the program headers are read, as the kernel and the linker do: section headers may be missing.
"""

from __future__ import annotations

import os
import struct

from appc.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _STRSZ, _RPATH, _RUNPATH, _FLAGS_1 = 1, 5, 10, 15, 29, 0x6FFFFFFB
_NO_DEFAULT_DIRECTORIES = 0x800
_MAX_SEGMENTS = 4096
_MAX_DYNAMIC = 1 << 20
_MAX_STRINGS = 64 << 20
_MAX_PATH = 4096


class Elf:
    """The dynamic linker's view of one file.

    `platform` is (bits, byte order, machine number): what a library must share with what needs it. `rpath` and
    `runpath` are lists of directories as they are written, `$ORIGIN` and all; as for the linker, `rpath` is empty
    when there is a `runpath`.
    """

    __slots__ = ("default_directories", "interpreter", "needed", "platform", "rpath", "runpath")

    def __init__(self, platform: tuple[int, str, int]) -> None:
        self.platform = platform
        self.interpreter = ""
        self.needed: tuple[str, ...] = ()
        self.rpath: tuple[str, ...] = ()
        self.runpath: tuple[str, ...] = ()
        self.default_directories = True


def read_elf(path: str) -> Elf | None:
    """Read the ELF file `path`; None when it is something else. Raises ArchiveError when it is damaged, OSError."""
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            return None
        try:
            return _read(file)
        except (struct.error, ValueError, OverflowError):
            raise ArchiveError("is a damaged ELF file", path) from None


def _read(file: BinaryIO) -> Elf:
    bits, order = file.read(2)
    if bits not in (1, 2) or order not in (1, 2):
        raise ValueError
    wide, ends = bits == 2, "<" if order == 1 else ">"
    file.seek(0)
    head = file.read(64)
    (machine,) = struct.unpack_from(ends + "H", head, 18)
    if wide:
        (table,) = struct.unpack_from(ends + "Q", head, 32)
        size, count = struct.unpack_from(ends + "HH", head, 54)
    else:
        (table,) = struct.unpack_from(ends + "I", head, 28)
        size, count = struct.unpack_from(ends + "HH", head, 42)
    if count > _MAX_SEGMENTS or (count and size < (56 if wide else 32)):
        raise ValueError
    elf = Elf((64 if wide else 32, "little" if order == 1 else "big", machine))
    segments = [_segment(_part(file, table + index * size, size), wide, ends) for index in range(count)]
    for kind, offset, _, length in segments:
        if kind == _INTERP:
            elf.interpreter = _text(_part(file, offset, min(length, _MAX_PATH)), 0)
    for kind, offset, _, length in segments:
        if kind == _DYNAMIC:
            _read_dynamic(file, elf, _part(file, offset, min(length, _MAX_DYNAMIC)), segments, wide, ends)
    return elf


def _segment(data: bytes, wide: bool, ends: str) -> tuple[int, int, int, int]:
    """The (kind, offset in the file, address, length in the file) of a program header."""
    if wide:
        kind, _, offset, address, _, length = struct.unpack_from(ends + "IIQQQQ", data)
    else:
        kind, offset, address, _, length = struct.unpack_from(ends + "IIIII", data)
    return kind, offset, address, length


def _read_dynamic(
    file: BinaryIO, elf: Elf, data: bytes, segments: list[tuple[int, int, int, int]], wide: bool, ends: str
) -> None:
    pair = struct.Struct(ends + ("qQ" if wide else "iI"))
    entries: list[tuple[int, int]] = []
    for tag, value in pair.iter_unpack(data[: len(data) // pair.size * pair.size]):
        if tag == 0:
            break
        entries.append((tag, value))
    first = dict(reversed(entries))
    elf.default_directories = not first.get(_FLAGS_1, 0) & _NO_DEFAULT_DIRECTORIES
    wanted = [(tag, value) for tag, value in entries if tag in (_NEEDED, _RPATH, _RUNPATH)]
    if not wanted:
        return
    address, length = first.get(_STRTAB, 0), first.get(_STRSZ, 0)
    if length > _MAX_STRINGS:
        raise ValueError
    strings = b""
    for kind, offset, start, size in segments:
        if kind == _LOAD and start <= address < start + size:
            strings = _part(file, offset + address - start, length)
    texts = [(tag, _text(strings, value)) for tag, value in wanted]
    elf.needed = tuple(text for tag, text in texts if tag == _NEEDED)
    elf.runpath = _directories(texts, _RUNPATH)
    elf.rpath = () if elf.runpath else _directories(texts, _RPATH)


def _directories(texts: list[tuple[int, str]], wanted: int) -> tuple[str, ...]:
    return tuple(part for tag, text in texts if tag == wanted for part in text.split(":") if part)


def _part(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset + length > os.fstat(file.fileno()).st_size:
        raise ValueError
    file.seek(offset)
    return file.read(length)


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if start >= len(data) or end < 0:
        raise ValueError
    return data[start:end].decode("utf-8", "surrogateescape")
