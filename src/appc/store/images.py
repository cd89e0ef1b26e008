"""The image store as the rest of appc sees it.

Looking images up is on the way of every launch and is done here; importing, exporting, checking and collecting
live in modules of their own that are imported when called.
"""

from __future__ import annotations

import os

from appc.errors import ImageNotFound, InvalidValue
from appc.store import locks, names
from appc.store.image import StoredImage
from appc.store.layout import ID_LENGTH, ID_PREFIX, store_path
from appc.values import ImageID, version_rank

__all__ = ["ImageStore", "StoredImage"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Protocol

    from appc.formats.compress import Sink, Source
    from appc.formats.limits import Limits
    from appc.schema.image import ImageManifest
    from appc.store.collect import Removed
    from appc.store.locks import Hold
    from appc.values import ImageReference, Labels

    class Plain(Protocol):
        """The bytes of one image file, decrypted if they were `encrypted`; leaving it lets go of what it uses."""

        @property
        def encrypted(self) -> bool: ...
        def __enter__(self) -> Plain: ...
        def __exit__(self, *_: object) -> None: ...
        def read(self, size: int, /) -> bytes: ...

    # Refuses an image by what its manifest says, and by its sizes once they are known.
    Admit = Callable[[ImageManifest, tuple[int, ...]], None]

    # From the bytes of an image file to those of the image.
    Unlock = Callable[[Source], Plain]

    class File(Protocol):
        """An open file or pipe."""

        def fileno(self) -> int: ...
        def read(self, size: int, /) -> bytes: ...

    class Verifier(Protocol):
        """Checks a detached signature over the bytes of one file, as they are read."""

        @property
        def signature(self) -> bytes:
            """The signature, as it came."""

        def feed(self, data: bytes) -> None:
            """Take the next bytes of the file."""

        def admit(self, name: str) -> None:
            """Raise SignatureError when the key may not sign an image called `name`, whatever the signature is."""

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
            image = self.lookup(ImageID.parse(id_or_prefix))
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

    def lookup(self, image_id: ImageID) -> StoredImage | None:
        """Return the image of that ID, None when it is not in the store."""
        path = store_path(self.root, "images", image_id)
        return StoredImage(path, image_id) if os.path.isdir(path) else None

    def find(self, name: str, labels: Labels | None = None, prefer: Labels | None = None) -> StoredImage:
        """Return the image called `name` that has all of `labels`, the `best` of several.

        Raises ImageNotFound, which names the versions there are.
        """
        found = self.best(self.matching(name, labels), prefer)
        if found is None:
            raise self._not_found(name, labels)
        return found

    def matching(self, name: str, labels: Labels | None = None) -> Sequence[StoredImage]:
        """All images called `name` that have all of `labels`, in no particular order."""
        images = [self.lookup(ImageID.parse(entry)) for entry in names.ids(self.root, name)]
        return [image for image in images if image is not None and (not labels or labels.matches(image.labels))]

    def best(self, images: Iterable[StoredImage], prefer: Labels | None = None) -> StoredImage | None:
        """Return the image to take of several that match, None of none.

        An image whose labels contradict `prefer` (the host's os and arch) comes last. An image with a verified
        signature goes before one without, which may call itself what it likes. Then the one counts that agrees best
        with `prefer` (having the same value is better than having none), then the one with the latest version (see
        `version_rank`), then the one first imported last, then the one with the greatest ID.
        """
        return max(images, key=lambda image: _rank(image, prefer), default=None)

    def recall(self, fd: int) -> StoredImage | None:
        """Return the image that the file open as `fd` was imported as, if the file has not changed since."""
        from appc.store import sources

        image_id = sources.recall(self.root, os.fstat(fd))
        return None if image_id is None else self.lookup(ImageID.parse(image_id))

    def hold(self, image: StoredImage) -> Hold:
        """Keep `image` from being removed as long as what is returned exists and is not closed.

        Raises ImageNotFound when it was removed meanwhile.
        """
        held = locks.hold(image.path)
        if held is None:
            raise ImageNotFound("has just been removed", f"image {image.id.short}")
        return held

    def touch(self, image: StoredImage) -> None:
        """Note that `image` is used now; `gc` counts from here. A read-only store is left as it is."""
        try:
            os.utime(f"{image.path}/used")
        except OSError:
            pass

    # Changing ---------------------------------------------------------------------------------

    def import_file(
        self,
        stream: File,
        *,
        where: str,
        verifier: Callable[[], Verifier] | None = None,
        accept: Callable[[StoredImage], bool] = lambda image: True,
        expected_id: str = "",
        keep: str = "signed",
        limits: Limits | None = None,
        progress: Callable[[int], None] | None = None,
        unlock: Unlock | None = None,
    ) -> StoredImage:
        """Read an ACI from `stream` in one pass, verify it, and make it an image of the store.

        `where` names the file in messages. With a `verifier` nothing becomes visible unless the signature holds
        for the image's name; without one the image is stored unverified. When the file is unchanged since it was
        imported and `accept` says yes to that image, nothing is read. `expected_id`, when given, has to be the image's
        ID. `keep` says when the file itself is kept: signed, never or always. `progress` is called, from another
        thread, with the number of bytes just read. `unlock` decrypts what is read; signatures cover the file
        as it comes. An image that is already there gains what was learnt (a signer).
        Raises ArchiveError, ManifestError, SignatureError, StoreError, HostError; a
        refusal leaves nothing behind.
        """
        from appc.store.importer import How, import_file

        how = How(expected_id=expected_id, keep=keep, limits=limits, progress=progress, unlock=unlock)
        return import_file(self, stream, where, verifier, accept, how)

    def import_stream(
        self,
        stream: Source,
        *,
        where: str,
        verifier: Callable[[], Verifier] | None = None,
        admit: Admit | None = None,
        expected_id: str = "",
        keep: str = "signed",
        copy: str = "",
        progress: Callable[[int], None] | None = None,
        unlock: Unlock | None = None,
    ) -> StoredImage:
        """Read an image from a stream that is no file of this host, as `import_file` does with one.

        `admit` is called with the manifest and the sizes of the archive and of the file (none of them before all is
        read), and refuses the image by raising. `copy` is the path of a file on the store's own file system that holds
        what was read once it was read; if the file is to be kept, that one becomes a part of the image.
        """
        from appc.store.importer import How, import_stream

        how = How(expected_id=expected_id, keep=keep, progress=progress, unlock=unlock, admit=admit, copy=copy)
        return import_stream(self, stream, where, verifier, how)

    def export(self, image: StoredImage, stream: Sink, compress: str = "") -> bytes:
        """Write the image's archive, which has the same ID again, to `stream`; return the signature that goes with it.

        Without `compress` that is the file as it was imported if it was kept, else the archive compressed as the file
        was. Signatures cover the compressed file, so there is none (b"") unless the original could be given.
        """
        from appc.store.exporter import export

        return export(image, stream, compress)

    def remove(self, image: StoredImage, in_use: Callable[[], Mapping[str, str]] = dict, force: bool = False) -> None:
        """Remove one image.

        `in_use` is called when nobody can begin to use the image any more, and returns who needs which image ID;
        AppcError when that is said of this one, unless `force`, or when another process works with it.
        """
        from appc.store.collect import remove

        remove(self, image, in_use, force)

    def gc(
        self,
        in_use: Callable[[], Mapping[str, str]] = dict,
        grace: float | None = None,
        dry_run: bool = False,
        *,
        pinned: Sequence[ImageReference] = (),
        budget: int | None = None,
    ) -> Sequence[Removed]:
        """Remove what nobody needs and return it (on `dry_run` only return it).

        Staging of dead processes, index entries without image and rendered trees whose images are gone go always;
        images and rendered trees go when they were not used for `grace` seconds (None: never) and are neither
        `in_use` nor dependencies of an image that stays. When what is left takes more than `budget` bytes, more of them
        go, those first that were not used for the longest time. Images that are called as `pinned` says stay.
        """
        from appc.store.collect import collect

        kept = [image for one in pinned for image in self.matching(one.name, one.labels)]
        removed = collect(self, in_use, grace, dry_run, kept)
        if budget is not None:
            from appc.store import budget as budgets

            gone = {entry.name for entry in removed}
            removed += budgets.collect(self, in_use, kept, budget, gone, dry_run)
        return removed

    def check(self, image: StoredImage) -> Sequence[tuple[str, str]]:
        """Compare every file of the image with the records made at import; return the faults as (path, reason)."""
        from appc.store.check import check

        return check(image)

    def verify(self, image: StoredImage) -> Sequence[tuple[str, str]]:
        """Do what `check` does but for the last step, which makes the whole archive again to compare its ID.

        Contents are compared in parallel. The records themselves are believed.
        """
        from appc.store.check import verify

        return verify(image)

    def repair(
        self,
        image: StoredImage,
        in_use: Callable[[], Mapping[str, str]] = dict,
        unlock: Unlock | None = None,
    ) -> None:
        """Make the tree again from the file kept at import, which `unlock` decrypts.

        AppcError when the image is in use, StoreError when no file was kept or that is damaged too.
        """
        from appc.store.check import repair

        repair(self, image, in_use, unlock)

    def list(self) -> builtins.list[StoredImage]:
        """All images, ordered by ID."""
        return [
            StoredImage(store_path(self.root, "images", entry), ImageID.parse(entry)) for entry in sorted(self._ids())
        ]

    # ------------------------------------------------------------------------------------------

    def _ids(self) -> Sequence[str]:
        try:
            entries = os.listdir(store_path(self.root, "images"))
        except FileNotFoundError:
            return ()
        return [entry for entry in entries if len(entry) == ID_LENGTH and entry.startswith(ID_PREFIX)]

    def _not_found(self, name: str, labels: Labels | None) -> ImageNotFound:
        wanted = f"{name},{labels}" if labels else name
        others = sorted({image.labels.get("version") or "(none)" for image in self.matching(name)})
        if others:
            return ImageNotFound(
                "no image in the store has these labels", wanted, f"there are the versions {', '.join(others)}"
            )
        return ImageNotFound(
            "is not in the store",
            f"image {wanted}",
            "`appc fetch FILE` imports one, `appc image list` shows what is there",
        )


def _rank(image: StoredImage, prefer: Labels | None) -> tuple[object, ...]:
    wanted = [(image.labels.get(name), value) for name, value in prefer or ()]
    fits = all(own in (None, value) for own, value in wanted)
    agreement = sum(2 if own == value else own is None for own, value in wanted)
    return fits, image.signer != "", agreement, version_rank(image.labels.get("version")), image.imported, image.id
