"""What entries of archives may be, and what they may be called."""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats.limits import DEFAULT, Limits

FILE = "file"
DIRECTORY = "dir"
SYMLINK = "symlink"
HARDLINK = "hardlink"
CHAR = "char"
BLOCK_DEVICE = "block"
FIFO = "fifo"


def printable(name: str) -> str:
    """A name as it may appear in a one-line message."""
    if len(name) > 200:
        name = name[:200] + "…"
    return name if name.isprintable() else name.encode("unicode_escape", "surrogatepass").decode("ascii")


def safe_name(name: str, limits: Limits = DEFAULT) -> str:
    """The relative path a name in an archive stands for: no leading "./", no trailing or doubled "/".

    "" is the archive's own root. Raises ArchiveError for absolute names, "..", and names that no file could have.
    """
    if name.startswith("/"):
        raise ArchiveError("name is absolute", printable(name))
    if "\0" in name:
        raise ArchiveError("name contains a NUL byte", printable(name))
    parts = [part for part in name.split("/") if part and part != "."]
    if ".." in parts:
        raise ArchiveError('name contains ".."', printable(name))
    if len(parts) > limits.depth:
        raise ArchiveError(f"name is more than {limits.depth} directories deep", printable(name))
    for part in parts:
        if len(part) > limits.component // 4 and len(part.encode("utf-8", "surrogateescape")) > limits.component:
            raise ArchiveError(f"name has a component longer than {limits.component} bytes", printable(name))
    return "/".join(parts)
