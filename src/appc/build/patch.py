"""Images with another manifest: a file made from a file, or from an image in the store, or an image in its place."""

from __future__ import annotations

import os
import tempfile

from appc.build.newfile import NewFile
from appc.build.outfile import SUFFIX
from appc.errors import AppcError, UsageError
from appc.formats.acipatch import patch_aci
from appc.images.piped import Piped
from appc.store.exporter import ArchiveStream, writable_kind
from appc.store.staging import Staging
from appc.trust import symmetric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appc.formats.acipatch import Patched
    from appc.formats.compress import Sink, Source
    from appc.store.images import ImageStore, StoredImage
    from appc.trust.symmetric import Passphrase

_CHUNK = 1 << 20


def patch_file(
    source: Source,
    edit: Callable[[bytes], bytes],
    out: str,
    *,
    compression: str = "",
    level: int | None = None,
    overwrite: bool = False,
    mode: int = 0o666,
    where: str = "",
    encrypt: Callable[[], Passphrase | None] = lambda: None,
) -> Patched:
    """Write the image `source` with the manifest that `edit` makes of its own to the file `out`, which has `mode`.

    `compression` "" keeps the kind it has; `where` names the source in errors. `encrypt` is asked for the passphrase
    to encrypt the new file with, None for not at all. After an error there is no trace of the
    new file, and an old one is as it was. Raises UsageError, ArchiveError, ManifestError, HostError.
    """
    if not out.endswith(SUFFIX) and not os.path.lexists(out):
        raise UsageError(f"an image's name must end with {SUFFIX}", out)
    passphrase = encrypt()
    done: list[Patched] = []

    def patch(sink: Sink) -> None:
        done.append(patch_aci(source, sink, edit, compression=compression, level=level, where=where))
        # An encrypted source is authentic only once it has been read to its end.
        while source.read(_CHUNK):
            pass

    with NewFile(out, overwrite, mode) as file:
        if passphrase is None:
            patch(file)
        else:
            with Piped(patch) as plain, symmetric.encrypt(plain, passphrase, where) as encrypted:
                while data := encrypted.read(_CHUNK):
                    file.write(data)
        file.commit()
    return done[0]


def patch_stored(
    image: StoredImage,
    edit: Callable[[bytes], bytes],
    out: str,
    *,
    compression: str = "",
    level: int | None = None,
    overwrite: bool = False,
) -> Patched:
    """Write an image of the store with another manifest to the file `out`; see `patch_file`."""
    kind = compression or writable_kind(image)
    source = ArchiveStream(image)
    where = f"image {image.id.short}"
    return patch_file(source, edit, out, compression=kind, level=level, overwrite=overwrite, where=where)


def replace_stored(
    store: ImageStore,
    image: StoredImage,
    edit: Callable[[bytes], bytes],
    in_use: Callable[[], Mapping[str, str]] = dict,
) -> tuple[StoredImage, str]:
    """Put the image with another manifest into the store and remove the old one.

    Returns the new image and, if the old one had to stay, why. The new image is nobody's: it has no signer.
    """
    where = f"image {image.id.short}"
    with Staging(store.root) as staging, tempfile.TemporaryFile(dir=staging.path) as file:
        patched = patch_aci(ArchiveStream(image), file, edit, compression="none", where=where)
        if patched.image_id == image.id:
            return image, ""
        file.seek(0)
        new = store.import_file(file, where=where, keep="never")
    for other in store.list():
        if other.meta["dependencies"] and any(one.image_id == image.id for one in other.manifest.dependencies):
            return new, f"{other.name} depends on it by its ID"
    try:
        store.remove(image, in_use)
    except AppcError as error:
        return new, error.what
    return new, ""
