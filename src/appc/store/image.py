"""One image in the store, read lazily: what a launch does not ask for is not opened."""

from __future__ import annotations

import os

from appc.errors import ManifestError, StoreError
from appc.schema.json import loads
from appc.store.layout import META_VERSION
from appc.values import ACIdentifier, ImageID, Labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.schema.image import ImageManifest


class StoredImage:
    """An image whose tree is on disk. Everything but the ID and the paths is read when first asked for."""

    __slots__ = ("_manifest", "_manifest_bytes", "_meta", "id", "path")

    def __init__(self, path: str, image_id: ImageID) -> None:
        self.path = path
        self.id = image_id
        self._meta: dict[str, Any] | None = None
        self._manifest_bytes: bytes | None = None
        self._manifest: ImageManifest | None = None

    def __repr__(self) -> str:
        return f"StoredImage({self.id.short})"

    @property
    def tree(self) -> str:
        """The directory that holds the image's rootfs, without its dependencies."""
        return f"{self.path}/rootfs"

    @property
    def manifest_bytes(self) -> bytes:
        """The image manifest as it stands in the archive."""
        if self._manifest_bytes is None:
            self._manifest_bytes = self._read("manifest")
        return self._manifest_bytes

    @property
    def manifest(self) -> ImageManifest:
        """The parsed image manifest."""
        if self._manifest is None:
            from appc.schema.image import ImageManifest

            self._manifest = ImageManifest.parse(self.manifest_bytes)
        return self._manifest

    @property
    def meta(self) -> dict[str, Any]:
        """The record made at import; see importer.py for its fields."""
        if self._meta is None:
            try:
                meta = loads(self._read("meta"))
            except ManifestError as error:
                raise self._damaged(f"its record is damaged ({error})") from None
            if not isinstance(meta, dict) or meta.get("version") != META_VERSION:
                raise self._damaged("its record is of a version this appc does not know")
            self._meta = meta
        return self._meta

    @property
    def name(self) -> ACIdentifier:
        """The image's name."""
        return ACIdentifier(self.meta["name"])

    @property
    def labels(self) -> Labels:
        """The image's labels."""
        return Labels.of(self.meta["labels"])

    @property
    def size(self) -> int:
        """Bytes of the uncompressed archive."""
        return int(self.meta["size"])

    @property
    def imported(self) -> int:
        """When the image was first imported, in nanoseconds since the epoch."""
        return int(self.meta["imported"])

    @property
    def used(self) -> int:
        """When the image was last used, in nanoseconds since the epoch."""
        try:
            return os.stat(f"{self.path}/used").st_mtime_ns
        except FileNotFoundError:
            return self.imported

    @property
    def signer(self) -> str:
        """The fingerprint of the trusted key that signed the image, or "" when nobody checked a signature."""
        return str(self.meta.get("signer", ""))

    def _read(self, name: str) -> bytes:
        try:
            with open(f"{self.path}/{name}", "rb") as stream:
                return stream.read()
        except OSError as error:
            raise self._damaged(f"cannot read its {name}: {error.strerror}") from None

    def _damaged(self, what: str) -> StoreError:
        hint = f"appc image rm {self.id.short}, then fetch it again"
        return StoreError(what, f"image {self.id.short}", hint)
