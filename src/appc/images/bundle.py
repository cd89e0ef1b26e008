"""Image bundles: an image with all it depends on, signatures and keys, out of one store and into another."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack

from appc.errors import AppcError, ArchiveError, ImageNotFound, SignatureError
from appc.formats import imagebundle
from appc.formats.imagebundle import BundleWriter, Index, image_path, key_path, manifest_path
from appc.images.render import passes_of
from appc.schema.image import ImageManifest
from appc.store.batch import Batch
from appc.store.importer import How
from appc.trust.check import SignatureCheck
from appc.trust.keystore import Keystore
from appc.trust.packets import MAX_KEYS, MAX_SIGNATURE, armor, read_certificates
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from appc.formats.compress import Sink
    from appc.formats.ocilayout_tar import TarBlobs
    from appc.images.fetch import Wish
    from appc.store.images import ImageStore, StoredImage, Verifier
    from appc.trust.packets import Certificate, Signature

_CHUNK = 1 << 20
_MAX_MANIFEST = 4 << 20


# -- out --------------------------------------------------------------------------------------------


def export_bundle(store: ImageStore, image: StoredImage, config: Sequence[str], out: Sink) -> list[str]:
    """Write `image` and everything it depends on as a bundle; return what the receiver will be missing, in sentences.

    Images go as they came where they were kept, with their signatures; of the keys that verified these, those that
    the configuration directories `config` still trust go along. Raises DependencyError, StoreError.
    """
    images = list({one.image.id: one.image for one in passes_of(store, image)}.values())[::-1]
    warnings: list[str] = []
    with ExitStack() as stack:
        for one in images:
            stack.enter_context(store.hold(one))
        keys = _keys_of(images, config, warnings)
        writer = BundleWriter(out, Index([one.id for one in images], [key.fingerprint for key in keys]))
        for key in keys:
            data = armor(key.data, "PUBLIC KEY BLOCK")
            writer.add(key_path(key.fingerprint), len(data), (data,))
        for one in images:
            _export_one(store, one, writer, warnings)
        writer.close()
    return warnings


def _keys_of(images: list[StoredImage], config: Sequence[str], warnings: list[str]) -> list[Certificate]:
    trusted = {key.fingerprint: key.certificate for key in Keystore(config).trusted()}
    signers = sorted({image.signer for image in images if image.signer})
    for signer in signers:
        if signer not in trusted:
            warnings.append(f"the key {signer} is no longer trusted here, and so does not go along")
    return [trusted[signer] for signer in signers if signer in trusted]


def _export_one(store: ImageStore, image: StoredImage, writer: BundleWriter, warnings: list[str]) -> None:
    manifest = image.manifest_bytes
    writer.add(manifest_path(image.id), len(manifest), (manifest,))
    # A header comes before the content, and says its length.
    with tempfile.TemporaryFile() as spool:
        kept = f"{image.path}/original"
        if os.path.exists(f"{kept}.asc"):
            with open(f"{kept}.asc", "rb") as file:
                signature = file.read()
            writer.add(f"{image_path(image.id)}.asc", len(signature), (signature,))
        else:
            why = "was compressed again, so it goes without its signature" if image.signer else "is not signed"
            warnings.append(f"{image.name} {why}: the receiver needs --insecure image")
        if os.path.exists(kept):
            with open(kept, "rb") as file:
                writer.add(image_path(image.id), os.fstat(file.fileno()).st_size, _pieces(file))
            return
        store.export(image, spool)
        size = spool.tell()
        spool.seek(0)
        writer.add(image_path(image.id), size, _pieces(spool))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        yield data


# -- in ---------------------------------------------------------------------------------------------


def import_bundle(
    store: ImageStore, file: BinaryIO, path: str, accept: Callable[[StoredImage], bool], wish: Wish
) -> StoredImage:
    """Import all images of the bundle `path`, open as `file`, and return the one it is about.

    Each is verified by its own signature and the keys that are trusted here; those in the bundle are only named in
    refusals. What is in the store and `accept`ed is not read. Nothing becomes visible unless everything is good.
    Raises ArchiveError, SignatureError, ManifestError, StoreError, ImageNotFound.
    """
    file.seek(0)
    index = imagebundle.read_index(file, path)
    present = {one: known for one in index.images if (known := store.lookup(one)) is not None and accept(known)}
    if len(present) < len(index.images):
        if wish.pull == "never":
            raise ImageNotFound("is not in the store as a whole, and --pull never is given", path)
        file.seek(0)
        files = imagebundle.open_bundle(file.fileno(), file, index, path)
        with Batch(store, path) as batch:
            for image_id in index.images:
                if image_id not in present:
                    _stage(batch, files, image_id, _Offer(files, index, path), wish)
            present.update((image.id, image) for image in batch.commit())
    for image in present.values():
        store.touch(image)
        if "image" in wish.insecure and not image.signer and image.id != index.images[-1]:
            wish.warnings.append(f"{image.name}: was not verified (--insecure image)")
    return present[index.images[-1]]


def keys_in(path: str) -> dict[str, bytes] | None:
    """Return the keys in the bundle `path`, as packets, by fingerprint; None when it is no bundle.

    Raises ArchiveError, SignatureError.
    """
    with open(path, "rb", buffering=0) as file:
        if not imagebundle.is_bundle(file.read(512)):
            return None
        file.seek(0)
        index = imagebundle.read_index(file, path)
        file.seek(0)
        files = imagebundle.open_bundle(file.fileno(), file, index, path)
        return {key: _certificate(files, key).data for key in index.keys}


def _stage(batch: Batch, files: TarBlobs, image_id: ImageID, offer: _Offer, wish: Wish) -> None:
    """Add one image of a bundle to those that are to be imported."""
    name = image_path(image_id)
    where = f"{files.where}: {name}"
    manifest = _content(files, manifest_path(image_id), _MAX_MANIFEST)

    def verifier() -> Verifier:
        if not files.has(f"{name}.asc"):
            raise SignatureError("is not signed", where, "--insecure image accepts it unverified")
        data = _content(files, f"{name}.asc", MAX_SIGNATURE)
        return SignatureCheck(Keystore(wish.config), data, where, "", lambda: _claimed(manifest), offer)

    how = How(image_id, wish.keep, progress=wish.progress, unlock=lambda source: wish.unlocked(source, where))
    with files.open(name) as blob:
        batch.add(blob, blob.size, where, verifier if "image" not in wish.insecure else None, how)
    if batch.manifest() != manifest:
        raise ArchiveError("is not the manifest of the image", f"{files.where}: {manifest_path(image_id)}")


class _Offer:
    """Finds the key in a bundle that made a signature, and says how to trust it."""

    def __init__(self, files: TarBlobs, index: Index, path: str) -> None:
        self._files = files
        self._index = index
        self._path = path

    def __call__(self, claim: Signature) -> str:
        for fingerprint in self._index.keys:
            if _certificate(self._files, fingerprint).made(claim):
                return f"--fingerprint {fingerprint} {self._path}"
        return ""


def _certificate(files: TarBlobs, fingerprint: str) -> Certificate:
    path = key_path(fingerprint)
    where = f"{files.where}: {path}"
    found = read_certificates(_content(files, path, MAX_KEYS), where)
    if len(found) != 1 or found[0].fingerprint != fingerprint:
        raise SignatureError(f"is the key {found[0].fingerprint}, which is not its name", where)
    return found[0]


def _claimed(manifest: bytes) -> str:
    try:
        return str(ImageManifest.parse(manifest).name)
    except AppcError:
        return ""


def _content(files: TarBlobs, path: str, limit: int) -> bytes:
    with files.open(path) as blob:
        if blob.size > limit:
            raise ArchiveError(f"is larger than {limit} bytes", f"{files.where}: {path}")
        pieces = []
        while data := blob.read(_CHUNK):
            pieces.append(data)
    return b"".join(pieces)
