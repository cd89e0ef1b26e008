"""How much an archive from a stranger may ask of this machine before it is refused."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30


class Limits:
    """Bounds on one archive; every size is in bytes.

    `size` bounds the uncompressed stream and, separately, the files' lengths together (sparse files are
    short in the stream). `ratio` bounds uncompressed : compressed once `ratio_floor` bytes came out, so that
    small, very regular archives pass. `pax` bounds one extended header and one sparse map, `trailing` what
    is not zero behind the end of an archive.
    """

    __slots__ = (
        "component",
        "depth",
        "entries",
        "extents",
        "manifest",
        "memory",
        "name",
        "pax",
        "ratio",
        "ratio_floor",
        "size",
        "trailing",
    )

    def __init__(
        self,
        *,
        entries: int = 1_000_000,
        name: int = 4096,
        component: int = 255,
        depth: int = 256,
        pax: int = 2 * MIB,
        extents: int = 100_000,
        size: int = 256 * GIB,
        ratio: int = 250,
        ratio_floor: int = GIB,
        trailing: int = MIB,
        manifest: int = 4 * MIB,
        memory: int = 96 * MIB,
    ) -> None:
        self.entries = entries
        self.name = name
        self.component = component
        self.depth = depth
        self.pax = pax
        self.extents = extents
        self.size = size
        self.ratio = ratio
        self.ratio_floor = ratio_floor
        self.trailing = trailing
        self.manifest = manifest
        self.memory = memory


DEFAULT = Limits()
