"""An image with another manifest, made in one pass: everything but the manifest goes through byte for byte.

Headers are copied as the blocks they are, contents as they are stored, padding and what follows the end of the archive
included. Of the manifest's own header only what must change does: its size and checksum. Its owner, mode and time stay.
"""

from __future__ import annotations

import hashlib

from appc.errors import ArchiveError
from appc.formats import aci, compress
from appc.formats.limits import DEFAULT, MIB, Limits
from appc.formats.peek import Peeked
from appc.formats.tarheader import BLOCK, RawHeader, pax_records
from appc.formats.tarwrite import extended
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.formats.tar import Entry

_NAMES = (b"manifest", b"./manifest")

# Limits bound the headers of one entry to less than this.
_LONGEST_HEADERS = 16 * MIB


class Patched:
    """What patching an image gave: the IDs before and after, the new uncompressed size in bytes, and the manifest."""

    __slots__ = ("image_id", "manifest", "old_id", "size", "warnings")

    def __init__(self, old_id: ImageID, image_id: ImageID, size: int, manifest: bytes, warnings: list[str]) -> None:
        self.old_id = old_id
        self.image_id = image_id
        self.size = size
        self.manifest = manifest
        self.warnings = warnings


def patch_aci(
    source: compress.Source,
    out: compress.Sink,
    edit: Callable[[bytes], bytes],
    *,
    compression: str = "",
    level: int | None = None,
    limits: Limits = DEFAULT,
    where: str = "",
) -> Patched:
    """Copy the image `source` to `out` with the manifest that `edit` makes of the one it has.

    `compression` is a kind that `compress.writer` knows; without it the new image is compressed as the old one is.
    What `edit` raises ends the copying, and so does all that `aci.read_aci` refuses; what `out` then holds is of no
    use.
    """
    peeked = Peeked(source)
    kind = compression or compress.detect(peeked.head)
    packed = compress.writer(out, kind if kind in compress.LEVELS else "none", level)
    copy = _Copy(packed, edit, limits, where)
    try:
        read = aci.read_aci(peeked, copy, limits, where=where, log=copy, on_manifest=copy.manifest)
        packed.close()
    except BaseException:
        packed.abort()
        raise
    new_id = ImageID.parse("sha512-" + copy.digest.hexdigest())
    return Patched(read.image_id, new_id, copy.size, copy.edited, read.warnings)


class _Copy:
    """Sees the archive as sink and as log of its reader: entries' contents as the one, all other bytes as the other.

    Headers are held back until it is known whether they are the manifest's.
    """

    def __init__(self, out: compress.Sink, edit: Callable[[bytes], bytes], limits: Limits, where: str) -> None:
        self._out = out
        self._edit = edit
        self._limits = limits
        self._where = where
        self._held = bytearray()
        self._drop_padding = False
        self.digest = hashlib.sha512()
        self.size = 0
        self.edited = b""

    def raw(self, data: bytes) -> None:
        """Bytes that are no content came by."""
        drop, self._drop_padding = self._drop_padding, False
        if self._held or len(data) >= BLOCK:
            self._held += data
        elif not drop:
            self._write(data)
        if len(self._held) > _LONGEST_HEADERS:
            self._flush()

    def entry(self, entry: Entry) -> None:
        """Copy the content of an entry below rootfs."""
        self._flush()
        for _, data in entry.extents():
            self._write(data)

    def manifest(self, data: bytes) -> None:
        """Put the edited manifest in the place of the one that came by."""
        self.edited = self._edit(data)
        if self.edited == data:
            self._flush()
            self._write(data)
            return
        if len(self.edited) > self._limits.manifest:
            what = f"would be longer than the {self._limits.manifest} bytes a manifest may have"
            raise ArchiveError(what, f"{self._where}: manifest" if self._where else "manifest")
        self._held[:] = _headers(bytes(self._held), len(self.edited))
        self._flush()
        self._write(self.edited + bytes(-len(self.edited) % BLOCK))
        self._drop_padding = True

    def content(self, entry: Entry) -> None:
        """The entry is over; what comes next is its padding, if it has any."""
        if entry.path != aci.MANIFEST:
            self._flush()

    def close(self, size: int, sha512: bytes) -> None:
        """The archive is over."""
        self._flush()

    def _flush(self) -> None:
        if self._held:
            self._write(bytes(self._held))
            self._held.clear()

    def _write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        self._out.write(data)


def _headers(blocks: bytes, size: int) -> bytes:
    """The headers of a regular file "manifest" of `size` bytes, with all that `blocks`, the old ones, say besides."""
    kept = b""
    renamed = False
    at = 0
    while (header := RawHeader(blocks[at : at + BLOCK])).typeflag in b"xXgLK":
        start, at = at, at + BLOCK + header.size + -header.size % BLOCK
        if header.typeflag == b"g":
            kept += blocks[start:at]
        elif header.typeflag in b"xX":
            records = pax_records(blocks[start + BLOCK : start + BLOCK + header.size])
            left = [(key, value) for key, value in records if not _about_name_or_size(key)]
            renamed = renamed or any(key.startswith("GNU.sparse.") or key == "path" for key, _ in records)
            if left == records:
                kept += blocks[start:at]
            elif left:
                kept += extended({key.encode("utf-8", "surrogateescape"): value for key, value in left})
        else:
            renamed = True
    block = bytearray(blocks[at : at + BLOCK])
    if renamed or header.name not in _NAMES:
        block[:100] = b"manifest".ljust(100, b"\0")
        block[345:500] = bytes(155)
    block[124:136] = b"%011o\0" % size
    if header.typeflag == b"S":
        block[156:157] = b"0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return kept + bytes(block)


def _about_name_or_size(key: str) -> bool:
    return key in ("path", "linkpath", "size") or key.startswith("GNU.sparse.")
