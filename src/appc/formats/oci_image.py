"""What conversion knows of an OCI or docker image before its layers are read, and reading its small parts.

Blobs come from a `Blobs`, by their path in a layout or archive; nothing here opens anything else.
"""

from __future__ import annotations

from appc.errors import ArchiveError, InvalidValue, ManifestError
from appc.schema.oci_image import ImageConfig
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol, Self, TypeVar

    from appc.schema.oci_image import Descriptor
    from appc.schema.record import Record

    _R = TypeVar("_R", bound=Record)

    class Blob(Protocol):
        """A file of known size, read once from its beginning."""

        @property
        def size(self) -> int: ...
        def read(self, size: int, /) -> bytes: ...
        def __enter__(self) -> Self: ...
        def __exit__(self, *_: object) -> object: ...

    class Blobs(Protocol):
        """The files of one layout or archive. `where` names it in messages."""

        @property
        def where(self) -> str: ...
        def has(self, path: str) -> bool: ...
        def open(self, path: str) -> Blob:
            """Open the regular file `path` (relative, safe); ArchiveError when there is none."""
            ...


MAX_DOCUMENT = 4 << 20
_CHUNK = 1 << 20


class Layer:
    """One layer: where it lies and what it must be.

    `digest` and `size` are of the stored bytes, `diff_id` of the uncompressed ones; None and -1: nobody said.
    """

    __slots__ = ("diff_id", "digest", "path", "size")

    def __init__(self, path: str, digest: Digest | None, size: int, diff_id: Digest | None) -> None:
        self.path = path
        self.digest = digest
        self.size = size
        self.diff_id = diff_id


class SourceImage:
    """An image chosen from a layout or archive.

    `manifest_digest` is "" and `descriptor` None for docker archives, which have no manifest that could be named.
    `reference` is what the image is called there ("latest", "docker.io/library/busybox:1.36"), maybe nothing.
    """

    __slots__ = (
        "annotations",
        "blobs",
        "config",
        "config_bytes",
        "config_digest",
        "descriptor",
        "layers",
        "manifest_digest",
        "reference",
    )

    def __init__(
        self,
        blobs: Blobs,
        config_bytes: bytes,
        layers: tuple[Layer, ...],
        *,
        manifest_digest: str = "",
        annotations: Mapping[str, str] | None = None,
        reference: str = "",
        config: ImageConfig | None = None,
        descriptor: Descriptor | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.blobs = blobs
        self.config_bytes = config_bytes
        self.config = config or document(ImageConfig, config_bytes, f"{blobs.where}: configuration of the image")
        self.config_digest = str(Digest.of(config_bytes))
        self.layers = layers
        self.manifest_digest = manifest_digest
        self.annotations = dict(annotations or {})
        self.reference = reference


def blob_path(digest: Digest) -> str:
    """Where a layout keeps the blob of that digest (image-layout.md)."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def document(kind: type[_R], data: bytes, where: str) -> _R:
    """Read one JSON document. Raises ArchiveError with its first faults in one line."""
    try:
        return kind.parse(data)
    except ManifestError as error:
        listed = "; ".join(f"{path}: {what}" if path else what for path, what in error.faults[:3])
        raise ArchiveError(listed, where) from None


def read_blob(blobs: Blobs, digest: Digest, size: int, what: str) -> bytes:
    """A small blob, whole and verified; `what` says what it should be."""
    where = f"{blobs.where}: {what} {shown(digest)}"
    if size > MAX_DOCUMENT:
        raise ArchiveError(f"should have {size} bytes, more than the {MAX_DOCUMENT} allowed", where)
    with blobs.open(blob_path(digest)) as blob:
        if blob.size != size:
            raise ArchiveError(f"has {blob.size} bytes instead of {size}", where)
        data = read_all(blob, MAX_DOCUMENT, where)
    found = Digest.of(data, digest.algorithm)
    if found != digest:
        raise ArchiveError(f"has the digest {found}", where)
    return data


def read_document(blobs: Blobs, path: str) -> bytes:
    """A small file that nobody gave a digest of."""
    where = f"{blobs.where}: {path}"
    with blobs.open(path) as blob:
        return read_all(blob, MAX_DOCUMENT, where)


def read_all(blob: Blob, most: int, where: str) -> bytes:
    """The whole of a blob of at most `most` bytes."""
    if blob.size > most:
        raise ArchiveError(f"is {blob.size} bytes long, more than the {most} allowed", where)
    pieces = []
    left = most + 1
    while left and (data := blob.read(min(left, _CHUNK))):
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)


def shown(digest: str) -> str:
    """A digest as messages show it: the algorithm and twelve digits."""
    return digest[: digest.index(":") + 13]


def platform_of(os: str, architecture: str, variant: str) -> tuple[str, str] | None:
    """The labels os and arch of an OCI platform; None when there are none for it."""
    from appc.schema.platforms import from_go

    try:
        return from_go(os, architecture, variant)
    except InvalidValue:
        return None
