"""From an ACI to a layer and back, byte for byte.

A layer holds what is below `rootfs` in the ACI, in the same order, written by our own `tarwrite`. An ACI whose headers
are those that `tarwrite` would have written (every one made here) follows from its layer and manifest alone; of
any other a log of its headers (`tarlog`) is kept beside the layer. Either way what comes out is checked against the
image ID.
"""

from __future__ import annotations

import io
from typing import cast

from appc.errors import ArchiveError
from appc.formats.aci import MANIFEST, ROOTFS, read_aci
from appc.formats.extract import Record
from appc.formats.layerhash import Hashed
from appc.formats.layertree import WHITEOUT
from appc.formats.limits import DEFAULT, Limits
from appc.formats.tar import FILE, HARDLINK, Entry, printable, safe_name
from appc.formats.tarlog import TarLog, replay
from appc.formats.tarwrite import Writer, header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from appc.formats.compress import Sink, Source
    from appc.values import ImageID

_BLOCK = 512
_END = bytes(2 * _BLOCK)
# A header, its extended header and padding come to less; more than that is not what we would have written.
_MOST_HEADER = 4 << 20


class WrittenLayer:
    """What writing the layer of an ACI gave.

    `plain` says that the ACI follows from the layer and the manifest, whose time was `manifest_time` (nanoseconds).
    """

    __slots__ = ("diff_id", "image_id", "manifest", "manifest_time", "plain", "warnings")

    def __init__(
        self,
        image_id: ImageID,
        manifest: bytes,
        diff_id: str,
        plain: bool,
        manifest_time: int,
        warnings: list[str],
    ) -> None:
        self.image_id = image_id
        self.manifest = manifest
        self.diff_id = diff_id
        self.plain = plain
        self.manifest_time = manifest_time
        self.warnings = warnings


def write_layer(source: Source, out: Sink, log: BinaryIO, limits: Limits = DEFAULT, *, where: str = "") -> WrittenLayer:
    """Read an ACI from `source` and write it as an uncompressed layer to `out`, the log of its headers to `log`.

    Raises ArchiveError for an ACI that is not sound, or has names that mean a whiteout in a layer.
    """
    hashed = Hashed(out, "sha256")
    sink = _LayerSink(hashed, _Comparing(log), where)
    found = read_aci(source, sink, limits, where=where, log=sink.log, on_manifest=sink.manifest)
    sink.close()
    return WrittenLayer(
        found.image_id,
        found.manifest_bytes,
        f"sha256:{hashed.hexdigest()}",
        sink.log.plain,
        sink.manifest_time,
        found.warnings,
    )


class _LayerSink:
    """Writes the entries of an ACI's rootfs as those of a layer."""

    def __init__(self, out: Sink, log: _Comparing, where: str) -> None:
        self._writer = Writer(out)
        self._where = where
        self.log = log
        self.manifest_time = 0

    def manifest(self, data: bytes) -> None:
        """The manifest was met."""
        self.manifest_time = self.log.first_time()
        record = Record(MANIFEST, FILE, mode=0o644, uid=0, gid=0, size=len(data), mtime_ns=self.manifest_time)
        self.log.expect(MANIFEST, record, first=True)

    def entry(self, entry: Entry) -> None:
        """Write the next entry."""
        record = Record.of(entry, entry.path)
        if entry.type == HARDLINK:
            record.linkname = entry.link_path
        self.log.expect(entry.path, record)
        path = _outside(entry.path)
        if any(part.startswith(WHITEOUT) for part in path.split("/")):
            what = f'has a name that begins with "{WHITEOUT}", which in a layer means that something is deleted'
            raise ArchiveError(what, f"{self._where}: {printable(entry.path)}")
        if entry.type == HARDLINK:
            record.linkname = _outside(entry.link_path)
        self._writer.add(path or "./", record, entry.chunks())

    def close(self) -> None:
        """All entries have come."""
        self.log.expect_end()
        self._writer.close()


class _Comparing(TarLog):
    """A log that also finds out whether the archive is just what `tarwrite` would have written."""

    def __init__(self, out: BinaryIO) -> None:
        # It may have to fit into a label.
        super().__init__(out, level=9)
        self.plain = True
        self._seen = bytearray()
        self._padding = 0
        self._count = 0

    def raw(self, data: bytes) -> None:
        super().raw(data)
        self.plain = self.plain and len(self._seen) + len(data) < _MOST_HEADER
        if self.plain:
            self._seen += data

    def first_time(self) -> int:
        """The modification time in the header that came last, in nanoseconds; 0 when it is not a plain one."""
        digits = bytes(self._seen[-_BLOCK:][136:147])
        return int(digits, 8) * 1_000_000_000 if digits.isdigit() and not digits.strip(b"01234567") else 0

    def expect(self, name: str, record: Record, first: bool = False) -> None:
        """Compare the header that just came with the one `tarwrite` makes."""
        expected = bytes(self._padding) + header(name, record)
        self.plain = self.plain and self._seen == expected and first == (self._count == 0)
        self._seen.clear()
        self._count += 1
        self._padding = -record.size % _BLOCK if record.type == FILE else 0

    def expect_end(self) -> None:
        """The archive has ended."""
        self.plain = self.plain and self._seen == bytes(self._padding) + _END


def rebuild_plain(entries: Iterable[Entry], manifest: bytes, manifest_time: int) -> Iterator[bytes]:
    """The uncompressed ACI that a layer was made from, given its entries and the manifest.

    Whether it is that image its SHA-512 shows, which is for the caller to compare.
    """
    record = Record(MANIFEST, FILE, mode=0o644, uid=0, gid=0, size=len(manifest), mtime_ns=manifest_time)
    yield header(MANIFEST, record) + manifest + bytes(-len(manifest) % _BLOCK)
    for entry in entries:
        record = Record.of(entry, "")
        if entry.type == HARDLINK:
            record.linkname = _inside(_path(entry.linkname))
        yield header(_inside(_path(entry.name)), record)
        if entry.type == FILE:
            yield from entry.chunks()
            yield bytes(-entry.size % _BLOCK)
    yield _END


def rebuild_logged(entries: Iterable[Entry], manifest: bytes, log: BinaryIO) -> Iterator[bytes]:
    """The same with the log of the ACI's headers; contents are taken from the layer as they come by.

    Raises ArchiveError when log and layer do not belong together.
    """
    return replay(log, _InOrder(entries, manifest).open)


class _InOrder:
    """Gives `replay` the files it asks for, which it does in the order in which they lie in the layer."""

    def __init__(self, entries: Iterable[Entry], manifest: bytes) -> None:
        self._entries = iter(entries)
        self._manifest = manifest
        self._path = ""
        self._file: _Forward | None = None

    def open(self, path: str) -> BinaryIO:
        """The file of that path in the ACI, to be read forwards only."""
        if path == MANIFEST:
            return io.BytesIO(self._manifest)
        if self._file is None or path != self._path:
            self._path = path
            self._file = _Forward(self._find(path))
        return cast("BinaryIO", self._file)

    def _find(self, path: str) -> Iterator[bytes]:
        for entry in self._entries:
            if entry.type == FILE and _inside(_path(entry.name)) == path:
                return entry.chunks()
        raise ArchiveError("is not where the image had it", printable(path))


class _Forward:
    """The part of a file's interface that `replay` needs, over content that passes only once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._at = 0

    def __enter__(self) -> _Forward:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seek(self, offset: int) -> int:
        """Go on to `offset`; what has passed cannot be had again."""
        if offset < self._at:
            raise ArchiveError("record of tar headers goes backwards in a file")
        while self._at < offset and self.read(offset - self._at):
            pass
        return self._at

    def read(self, size: int) -> bytes:
        """Up to `size` of the next bytes."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        data = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        self._at += len(data)
        return data


def _path(name: str) -> str:
    return safe_name(name.lstrip("/"))


def _inside(path: str) -> str:
    return f"{ROOTFS}/{path}" if path else ROOTFS


def _outside(path: str) -> str:
    return path[len(ROOTFS) + 1 :]
