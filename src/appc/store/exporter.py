"""Giving an image back: the file as it was imported where it was kept, else the same archive made again."""

from __future__ import annotations

from appc.errors import ArchiveError, StoreError
from appc.formats import compress as compression
from appc.formats.tarlog import replay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from appc.formats.compress import Sink
    from appc.store.image import StoredImage

_CHUNK = 1 << 20


def export(image: StoredImage, stream: Sink, compress: str) -> bytes:
    """See `ImageStore.export`."""
    if not compress and (original := _open(f"{image.path}/original")) is not None:
        with original:
            while data := original.read(_CHUNK):
                stream.write(data)
        signature = _open(f"{image.path}/original.asc")
        if signature is None:
            return b""
        with signature:
            return signature.read()
    writer = compression.writer(stream, compress or writable_kind(image))
    try:
        for data in archive(image):
            writer.write(data)
    except BaseException:
        writer.abort()
        raise
    writer.close()
    return b""


def writable_kind(image: StoredImage) -> str:
    """How the image's file was compressed, or what comes nearest to it that can be written."""
    kind = str(image.meta["compression"])
    if kind in compression.LEVELS:
        return kind
    return "none" if kind in ("tar", "none") else "gzip"


def archive(image: StoredImage) -> Iterator[bytes]:
    """Yield the uncompressed archive, whose SHA-512 is the image's ID.

    Raises StoreError, after all of it, when the files in the store are not those of the image any more.
    """

    def content(path: str) -> BinaryIO:
        try:
            return open(f"{image.path}/{path}".encode("utf-8", "surrogateescape"), "rb")
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", path) from None

    try:
        with open(f"{image.path}/tar", "rb") as log:
            yield from replay(log, content)
    except (ArchiveError, OSError) as error:
        reason = str(error) if isinstance(error, ArchiveError) else f"tar: {error.strerror}"
        raise StoreError(
            reason, f"image {image.id.short}", f"`appc image check {image.id.short}` shows what is damaged"
        ) from None


class ArchiveStream:
    """What `archive` yields, as something to read from."""

    def __init__(self, image: StoredImage) -> None:
        self._chunks = archive(image)

    def read(self, size: int, /) -> bytes:
        """The next chunk, whatever its size; b"" at the end."""
        return next((chunk for chunk in self._chunks if chunk), b"")


def _open(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None
