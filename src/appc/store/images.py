"""The image store as the rest of appc sees it.

Looking images up is on the way of every launch and is done here; importing, exporting, checking and collecting
live in modules of their own that are imported when called.
"""

from __future__ import annotations

import os

from appc.errors import ImageNotFound, InvalidValue, StoreError
from appc.store.image import StoredImage
from appc.store.layout import ID_LENGTH, ID_PREFIX, name_directory, store_path
from appc.values import ImageID

__all__ = ["ImageStore", "StoredImage"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, BinaryIO, Protocol

    from appc.values import Labels

    class Verifier(Protocol):
        """Checks a detached signature over the bytes of one file, as they are read."""

        @property
        def signature(self) -> bytes:
            """The signature, as it came."""

        def feed(self, data: bytes) -> None:
            """Take the next bytes of the file."""

        def finish(self, name: str) -> str:
            """Return the fingerprint of the key that signed an image called `name`; SignatureError if none may."""

        def close(self) -> None:
            """Give up; allowed at any time, also after `finish`."""


class ImageStore:
    """The images below one data directory. Making one touches nothing; a store that is not there is empty."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    # Looking up -------------------------------------------------------------------------------

    def get(self, id_or_prefix: str) -> StoredImage:
        """Return the image whose ID is, or alone begins with, `id_or_prefix` (`sha512-` and at least two digits).

        Raises ImageNotFound when there is none or more than one, InvalidValue when the text cannot be an ID.
        """
        if len(id_or_prefix) == ID_LENGTH:
            image = self._open(ImageID.parse(id_or_prefix))
            if image is None:
                raise ImageNotFound("is not in the store", f"image {id_or_prefix}")
            return image
        digits = id_or_prefix.removeprefix(ID_PREFIX)
        if digits == id_or_prefix or len(digits) < 2 or digits.strip("0123456789abcdef"):
            raise InvalidValue(f"an image ID is {ID_PREFIX} and at least two hexadecimal digits", id_or_prefix)
        found = [entry for entry in self._ids() if entry.startswith(id_or_prefix)]
        if not found:
            raise ImageNotFound("is not in the store", f"image {id_or_prefix}")
        if len(found) > 1:
            raise ImageNotFound(
                f"{len(found)} images in the store begin like that",
                f"image {id_or_prefix}",
                "give more digits of the ID",
            )
        return self.get(found[0])

    def find(self, name: str, labels: Labels | None = None, prefer: Labels | None = None) -> StoredImage:
        """Return the image called `name` that has all of `labels`.

        Of several, the one that agrees best with the labels in `prefer` (the host's os and arch: having the same
        value is best, having none comes next), then the one imported last, then the one with the greatest ID.
        Raises ImageNotFound, which names the versions there are.
        """
        found = self.matching(name, labels)
        if not found:
            raise self._not_found(name, labels)
        return max(found, key=lambda image: (_agreement(image, prefer), image.imported, image.id))

    def matching(self, name: str, labels: Labels | None = None) -> list[StoredImage]:
        """All images called `name` that have all of `labels`, in no particular order."""
        try:
            ids = os.listdir(store_path(self.root, "names", name_directory(name)))
        except FileNotFoundError:
            return []
        # The index may name an image that an interrupted import or removal left out.
        images = [image for entry in ids if (image := self._open(ImageID.parse(entry))) is not None]
        return [image for image in images if labels is None or labels.matches(image.labels)]

    def list(self) -> list[StoredImage]:
        """All images, ordered by ID."""
        return [
            StoredImage(store_path(self.root, "images", entry), ImageID.parse(entry)) for entry in sorted(self._ids())
        ]

    def recall(self, fd: int) -> StoredImage | None:
        """Return the image that the file open as `fd` was imported as, if the file has not changed since."""
        from appc.store.sources import recall

        image_id = recall(self.root, os.fstat(fd))
        return None if image_id is None else self._open(ImageID.parse(image_id))

    def hold(self, image: StoredImage) -> int:
        """Keep `image` from being removed until the descriptor returned is closed (here and in all who inherit it).

        Raises ImageNotFound when it was removed meanwhile.
        """
        from appc.store.locks import hold_directory

        fd = hold_directory(image.path)
        if fd < 0:
            raise ImageNotFound("has just been removed", f"image {image.id.short}")
        return fd

    def touch(self, image: StoredImage) -> None:
        """Note that `image` is used now; `gc` counts from here. A read-only store is left as it is."""
        try:
            os.utime(f"{image.path}/used")
        except OSError:
            pass

    # Changing ---------------------------------------------------------------------------------

    def import_file(
        self,
        stream: BinaryIO,
        *,
        where: str,
        verifier: Verifier | None = None,
        expected_id: str = "",
        keep: str = "signed",
        limits: Any = None,
    ) -> StoredImage:
        """Read an ACI from `stream` in one pass, verify it, and make it an image of the store.

        `where` names the file in messages. With a `verifier` nothing becomes visible unless the signature holds
        for the image's name; without one the image is stored unverified. `expected_id`, when given, has to be the
        image's ID. `keep` says when the file itself is kept: signed, never or always. `limits` bounds sizes and counts.
        An image that is already there gains what was learnt (a signer). Raises ArchiveError, ManifestError,
        SignatureError, StoreError; a refusal leaves nothing behind.
        """
        from appc.store.importer import import_file

        return import_file(self, stream, where, verifier, expected_id, keep, limits)

    def remove(
        self, image: StoredImage, in_use: Callable[[], Collection[str]] = frozenset, force: bool = False
    ) -> None:
        """Remove one image.

        `in_use` is called when nobody can begin to use the image any more and returns the IDs that pods need;
        StoreError when the image is among them, unless `force`.
        """
        from appc.store.collect import remove

        remove(self, image, in_use, force)

    def gc(
        self,
        in_use: Callable[[], Collection[str]] = frozenset,
        grace: float | None = None,
        dry_run: bool = False,
    ) -> list[tuple[str, str, int]]:
        """Remove what nobody needs; return (kind, name, bytes) of each thing removed (or, on `dry_run`, removable).

        Staging of dead processes, index entries without image, rendered trees that no image in the store asks for
        go always; images go when they are unused for `grace` seconds (None: never) and not needed by `in_use`.
        """
        from appc.store.collect import collect

        return collect(self, in_use, grace, dry_run)

    def export(self, image: StoredImage, stream: BinaryIO, compress: str = "none") -> None:
        """Write the image's archive, whose ID is the same again, to `stream`, compressed as asked."""
        from appc.store.exporter import export

        export(image, stream, compress)

    def check(self, image: StoredImage) -> list[tuple[str, str]]:
        """Compare every file of the image with the records made at import; return the faults as (path, reason)."""
        from appc.store.check import check

        return check(image)

    def repair(self, image: StoredImage) -> None:
        """Make the tree again from the file kept at import; StoreError when none was kept or it is damaged too."""
        from appc.store.check import repair

        repair(self, image)

    # ------------------------------------------------------------------------------------------

    def _ids(self) -> list[str]:
        try:
            return [entry for entry in os.listdir(store_path(self.root, "images")) if entry.startswith(ID_PREFIX)]
        except FileNotFoundError:
            return []

    def _open(self, image_id: ImageID) -> StoredImage | None:
        path = store_path(self.root, "images", image_id)
        return StoredImage(path, image_id) if os.path.isdir(path) else None

    def _not_found(self, name: str, labels: Labels | None) -> ImageNotFound:
        wanted = f"{name},{labels}" if labels else name
        others = sorted({str(image.labels.get("version") or "(no version)") for image in self.matching(name)})
        if others:
            return ImageNotFound(
                "no image in the store has these labels", wanted, f"there are the versions {', '.join(others)}"
            )
        return ImageNotFound(
            "is not in the store",
            f"image {wanted}",
            "`appc fetch FILE` imports one, `appc image list` shows what is there",
        )


def _agreement(image: StoredImage, prefer: Labels | None) -> int:
    points = 0
    for name, value in prefer.items() if prefer else ():
        own = image.labels.get(name)
        points += 2 if own == value else 1 if own is None else 0
    return points
