"""Reading one layer of an image: decompressed, checked against its digests, entry by entry."""

from __future__ import annotations

import hashlib

from appc.errors import ArchiveError
from appc.formats import compress
from appc.formats.limits import DEFAULT, Limits
from appc.formats.oci_image import shown
from appc.formats.pipeline import ReadAhead
from appc.formats.tar import Reader
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from appc.formats.compress import Sink
    from appc.formats.oci_image import Blob, Blobs, Layer

_CHUNK = 1 << 20


class LayerReader:
    """A layer being read: iterate over `entries`, then call `finish`, which refuses a layer that is another one.

    To be used in a `with` statement. `kind` says how the layer is compressed. A layer that turns out to be broken is
    checked against its digest before that is said, because a wrong file explains every other fault.
    """

    def __init__(
        self, blobs: Blobs, layer: Layer, number: int, limits: Limits = DEFAULT, copy: Sink | None = None
    ) -> None:
        """Open the layer, the `number`th from below (1 is the lowest); `copy` gets the bytes as they are stored."""
        self.where = f"{blobs.where}: layer {number}"
        self._layer = layer
        self._blob = blobs.open(layer.path)
        self._stored = _Stored(self._blob, layer, self.where, copy)
        self._hash = hashlib.new(layer.diff_id.algorithm if layer.diff_id else "sha256")
        stream = compress.reader(self._stored, limits, self.where)
        self.kind = "none" if stream.kind == "tar" else stream.kind
        self._ahead = ReadAhead(stream, self._hash)
        self.entries = Reader(self._ahead, limits, self.where)

    def __enter__(self) -> LayerReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead.close()
        with self._blob:
            if isinstance(error, ArchiveError) and self._layer.digest is not None:
                self._stored.finish()

    def raw(self) -> bytes:
        """The next bytes of the uncompressed layer, b"" at its end; instead of reading entries."""
        return self._ahead.read()

    def finish(self) -> str:
        """Read to the end and return the layer's diff ID. Raises ArchiveError when a digest is not the expected."""
        while self._ahead.read():
            pass
        self._stored.finish()
        diff_id = f"{self._hash.name}:{self._hash.hexdigest()}"
        expected = self._layer.diff_id
        if expected is not None and diff_id != expected:
            raise ArchiveError(f"holds {shown(diff_id)}…, but the configuration names {shown(expected)}…", self.where)
        return diff_id


class _Stored:
    """The layer's bytes as they are stored, hashed where the digest is known."""

    def __init__(self, blob: Blob, layer: Layer, where: str, copy: Sink | None) -> None:
        self._blob = blob
        self._copy = copy
        self._where = where
        self._expected = layer.digest
        self._hash = None if layer.digest is None else hashlib.new(layer.digest.algorithm)
        if layer.size not in (-1, blob.size):
            raise ArchiveError(f"has {blob.size} bytes instead of {layer.size}", where)

    def read(self, size: int, /) -> bytes:
        data = self._blob.read(size)
        if self._hash is not None:
            self._hash.update(data)
        if self._copy is not None:
            self._copy.write(data)
        return data

    def finish(self) -> None:
        """Read what the decompressor did not need, and check the digest."""
        while self.read(_CHUNK):
            pass
        if self._hash is not None and self._expected is not None and self._hash.hexdigest() != self._expected.hex:
            found = Digest(f"{self._expected.algorithm}:{self._hash.hexdigest()}")
            raise ArchiveError(f"has the digest {shown(found)}… instead of {shown(self._expected)}…", self._where)
