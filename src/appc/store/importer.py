"""Importing an ACI: one pass over its bytes, and nothing visible before all of it is read, verified and on disk.

The file is read once. While it is, its bytes go to the signature's verifier and, when it is kept, to a copy; what they
decompress to is hashed, parsed, recorded and extracted into a staging directory. Then the manifest is parsed, the
signer is checked against the name in it, everything is flushed, and one rename makes it an image.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import nullcontext

from appc.errors import ArchiveError, ManifestError, StoreError
from appc.formats import aci
from appc.formats.extract import Extractor
from appc.formats.limits import DEFAULT
from appc.formats.tarlog import TarLog
from appc.schema.image import ImageManifest
from appc.schema.json import dumps
from appc.store import locks, names, sources
from appc.store.durable import flush_directory, flush_tree, write_back, write_file
from appc.store.image import StoredImage
from appc.store.intake import CHANGED, Sink, Space, Tee
from appc.store.layout import ID_LENGTH, META_VERSION, gives_owners, make_directory, store_path
from appc.store.records import RecordWriter
from appc.store.staging import Staging
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.formats.compress import Source
    from appc.formats.limits import Limits
    from appc.store.images import Admit, File, ImageStore, Unlock, Verifier


class How:
    """What `ImageStore.import_file` and `import_stream` were told about the way.

    `admit` is called with the manifest as soon as it was read, and again, with the sizes of the archive and of the
    file, when all was read; what it raises refuses the image. `copy` is the path of a file on the store's own file
    system that will hold what was read: then the import need not write another.
    """

    __slots__ = ("admit", "copy", "expected_id", "keep", "limits", "progress", "unlock")

    def __init__(
        self,
        expected_id: str = "",
        keep: str = "signed",
        limits: Limits | None = None,
        progress: Callable[[int], None] | None = None,
        unlock: Unlock | None = None,
        admit: Admit | None = None,
        copy: str = "",
    ) -> None:
        self.admit = admit
        self.copy = copy
        self.expected_id = expected_id
        self.unlock = unlock
        self.keep = keep
        self.limits = limits or DEFAULT
        self.progress = progress


def import_file(
    store: ImageStore,
    stream: File,
    where: str,
    verifier: Callable[[], Verifier] | None,
    accept: Callable[[StoredImage], bool],
    how: How,
) -> StoredImage:
    """See `ImageStore.import_file`."""
    fd = stream.fileno()
    status = os.fstat(fd)
    work = Import(store.root, where, how)
    try:
        if not stat.S_ISREG(status.st_mode):
            return work.run(stream, status, verifier)
        with locks.lock_source(store.root, status):
            # Somebody may have imported it while we waited.
            known = store.recall(fd)
            if known is not None and accept(known) and how.expected_id in ("", known.id):
                return known
            image = work.run(stream, status, verifier)
            sources.remember(store.root, fd, status, image.id)
            return image
    except OSError as error:
        hint = f"the store is {store_path(store.root)}"
        raise StoreError(f"cannot be stored: {error.strerror}", where, hint) from error


def import_stream(
    store: ImageStore, stream: Source, where: str, verifier: Callable[[], Verifier] | None, how: How
) -> StoredImage:
    """See `ImageStore.import_stream`."""
    try:
        with Staging(store.root) as staging:
            path = f"{staging.path}/image"
            meta = Import(store.root, where, how).stage(stream, None, path, verifier)
            flush_tree(staging.path)
            return commit(store.root, path, meta)
    except OSError as error:
        hint = f"the store is {store_path(store.root)}"
        raise StoreError(f"cannot be stored: {error.strerror}", where, hint) from error


def read_again(store: ImageStore, image: StoredImage, staging: Staging, unlock: Unlock | None) -> str:
    """Read the kept file of `image` into `staging`; return the directory where its parts now lie, flushed.

    Raises ArchiveError when that is no longer the image.
    """
    path = f"{staging.path}/image"
    with open(f"{image.path}/original", "rb") as stream:
        work = Import(store.root, "its original", How(image.id, "never", unlock=unlock))
        work.stage(stream, os.fstat(stream.fileno()).st_size, path, None)
    flush_tree(staging.path)
    return path


class Import:
    """The import of one file, called `where`, into the store below `root`."""

    def __init__(self, root: str, where: str, how: How) -> None:
        self._root = root
        self._where = where
        self._how = how

    def run(self, stream: File, status: os.stat_result, verifier: Callable[[], Verifier] | None) -> StoredImage:
        """Read, check, flush and commit; whatever fails, nothing stays behind."""
        with Staging(self._root) as staging:
            path = f"{staging.path}/image"
            meta = self.stage(stream, status.st_size if stat.S_ISREG(status.st_mode) else None, path, verifier)
            now = os.fstat(stream.fileno())
            if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise ArchiveError(CHANGED, self._where)
            flush_tree(staging.path)
            return commit(self._root, path, meta)

    def stage(
        self, stream: Source, size: int | None, path: str, verifier: Callable[[], Verifier] | None
    ) -> dict[str, Any]:
        """Read and check the file of `size` bytes (None: not known before) into the new directory `path`.

        Returns what is to be known of the image, for `commit`.
        """
        check = verifier() if verifier is not None else None
        try:
            os.mkdir(path, 0o700)
            space = Space(path, self._where)
            space.take(size or 0)
            return self._read(stream, size, path, space, check)
        finally:
            if check is not None:
                check.close()

    def _read(
        self, stream: Source, most: int | None, path: str, space: Space, check: Verifier | None
    ) -> dict[str, Any]:
        kept = f"{path}/original" if self._keeps(check) else ""
        copied = "" if self._how.copy else kept
        owners = gives_owners()
        os.mkdir(f"{path}/rootfs", 0o755)
        root = os.open(f"{path}/rootfs", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with (
                Extractor(root, prefix="rootfs", owners=owners, where=self._where, written=write_back) as extractor,
                open(f"{path}/entries", "xb") as entries,
                open(f"{path}/tar", "xb") as log,
                Tee(stream, self._where, check, copied, space, self._how.progress, most) as tee,
                self._how.unlock(tee) if self._how.unlock else nullcontext(None) as plain,
            ):
                records = RecordWriter(entries)
                prefix = len(os.fsencode(store_path(self._root, "images", "x" * ID_LENGTH, "rootfs/")))
                sink = Sink(extractor, records, space, prefix, self._where)

                def look(data: bytes) -> None:
                    # Where the manifest comes first, a refusal saves reading the rest.
                    manifest = self._manifest(data)
                    if check is not None:
                        check.admit(manifest.name)
                    if self._how.admit is not None:
                        self._how.admit(manifest, ())

                read = aci.read_aci(
                    plain or tee, sink, self._how.limits, where=self._where, log=TarLog(log), on_manifest=look
                )
                tee.drain()
                extractor.finish()
                records.close()
        finally:
            os.close(root)
        if self._how.expected_id not in ("", read.image_id):
            raise ArchiveError(f"is {read.image_id}, not {self._how.expected_id}", self._where)
        manifest = self._manifest(read.manifest_bytes)
        if self._how.admit is not None:
            self._how.admit(manifest, (read.size, tee.count))
        signer = check.finish(manifest.name) if check is not None else ""
        meta = {
            "version": META_VERSION,
            "id": read.image_id,
            "name": manifest.name,
            "labels": manifest.labels,
            "size": read.size,
            "fileSizes": [tee.count],
            "compression": read.compression,
            "encrypted": plain is not None and plain.encrypted,
            "treeSize": sink.size,
            "source": self._where,
            "imported": time.time_ns(),
            "signer": signer,
            "manifestSha256": hashlib.sha256(read.manifest_bytes).hexdigest(),
            "dependencies": len(manifest.dependencies),
            "whitelist": len(manifest.path_whitelist),
            "implied": bool(extractor.implied),
            "special": sink.special,
            "owners": owners,
            "skipped": extractor.skipped,
            "warnings": [*read.warnings, *extractor.notes()],
        }
        files = {"manifest": read.manifest_bytes, "used": b"", "meta": _encoded(meta)}
        if kept and self._how.copy:
            os.link(self._how.copy, kept)
        if kept and check is not None:
            files["original.asc"] = check.signature
        for name, data in files.items():
            with open(f"{path}/{name}", "xb") as out:
                out.write(data)
        return meta

    def _keeps(self, check: Verifier | None) -> bool:
        return self._how.keep == "always" or (self._how.keep == "signed" and check is not None)

    def _manifest(self, data: bytes) -> ImageManifest:
        try:
            return ImageManifest.parse(data)
        except ManifestError as error:
            raise ManifestError(list(error.faults), f"{self._where}: manifest", error.hint) from None


def commit(root: str, path: str, meta: dict[str, Any]) -> StoredImage:
    """Make the staged and flushed directory `path` an image, or give what it adds to the image that is there."""
    image_id = ImageID.parse(meta["id"])
    images = make_directory(store_path(root, "images"))
    final = f"{images}/{image_id}"
    # The index first: an entry without image is passed over, an image without entry would not be found.
    # And again afterwards: a collector may have taken the first entry for a left-over.
    names.add(root, meta["name"], image_id)
    while True:
        try:
            os.rename(path, final)
        except OSError:
            held = locks.hold(final)
            if held is not None:
                with held:
                    return _adopt(StoredImage(final, image_id), path, meta)
            if os.path.isdir(final):
                continue  # removed and made again between the two looks
            names.discard(root, meta["name"], image_id)
            raise
        try:
            flush_directory(images)
        except OSError:
            os.rename(final, path)
            names.discard(root, meta["name"], image_id)
            raise
        names.add(root, meta["name"], image_id)
        return StoredImage(final, image_id)


def _adopt(image: StoredImage, path: str, meta: dict[str, Any]) -> StoredImage:
    """Give the stored image what the same image, staged in `path`, brings along: its signer, the kept file."""
    known = dict(image.meta)
    known["fileSizes"] = sorted({*known["fileSizes"], *meta["fileSizes"]})
    if meta["signer"]:
        known["signer"] = meta["signer"]
        if os.path.exists(f"{path}/original") and not os.path.exists(f"{image.path}/original.asc"):
            for name in ("original", "original.asc"):
                os.rename(f"{path}/{name}", f"{image.path}/{name}")
    if known != image.meta:
        write_file(f"{image.path}/meta", _encoded(known))
    return StoredImage(image.path, image.id)


def _encoded(meta: dict[str, Any]) -> bytes:
    # Paths in messages may hold bytes that are not UTF-8.
    return dumps(meta).encode("utf-8", "replace")
