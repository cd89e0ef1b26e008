"""The ACIs that make one OCI image: a file alone, or a stored image with its dependencies."""

from __future__ import annotations

import os
import tempfile

from appc.errors import ArchiveError, HostError, UsageError
from appc.formats import compress
from appc.formats.aci import read_manifest
from appc.images.closure import Pass, closure
from appc.images.fetch import host_labels, open_file
from appc.images.unlock import Unlocked
from appc.images.use import find_stored
from appc.schema.image import ImageManifest
from appc.store.exporter import ArchiveStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from typing import BinaryIO

    from appc.formats.compress import Sink, Source
    from appc.store.images import ImageStore, StoredImage
    from appc.trust.symmetric import Passphrase

_CHUNK = 1 << 20


class Aci:
    """One ACI that can be read: `open` gives its file, compressed or not. `where` names it in messages.

    `manifest` is its manifest, b"" where nobody asked for it.
    """

    __slots__ = ("manifest", "open", "where")

    def __init__(self, where: str, manifest: bytes, open: Callable[[], Source]) -> None:
        self.where = where
        self.manifest = manifest
        self.open = open


def file_aci(path: str, stack: ExitStack, alone: bool, passphrase: Passphrase | None = None) -> Aci:
    """The ACI in a file, open as long as `stack`. With `alone` it must need no other image.

    An encrypted one is decrypted into a file without a name first, since only at its end it is known to be authentic.
    """
    file: BinaryIO = stack.enter_context(open_file(path))
    if compress.detect(os.pread(file.fileno(), 512, 0)) == "pgp":
        file = stack.enter_context(_decrypted(file, passphrase, path))
    data = b""
    if alone:
        data = read_manifest(file, where=path)
        manifest = ImageManifest.parse(data, where=path)
        needs = "dependencies" if manifest.dependencies else "a path whitelist" if manifest.path_whitelist else ""
        if needs:
            hint = f"`appc fetch {path}` brings it into the store; then convert {manifest.name}"
            raise UsageError(f"has {needs}, so it takes the store to convert it", path, hint)
        file.seek(0)
    return Aci(path, data, lambda: file)


def _decrypted(file: BinaryIO, passphrase: Passphrase | None, path: str) -> BinaryIO:
    if passphrase is None:
        raise ArchiveError("is encrypted", path, "`appc image decrypt` makes a plain image of it")
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    try:
        with Unlocked(file, passphrase, path) as plain:
            while data := plain.read(_CHUNK):
                spool.write(data)
        spool.seek(0)
    except OSError as error:
        hint = f"the space is needed in {tempfile.gettempdir()}; $TMPDIR names another place"
        raise HostError(f"cannot be decrypted: {error.strerror}", path, hint) from error
    return spool


def closure_of(
    store: ImageStore, reference: str, stack: ExitStack, whole: bool
) -> tuple[list[Aci], Callable[[Sink], None] | None]:
    """A stored image and, with `whole`, the images below it, the lowest first; none is removed as long as `stack`.

    Where whitelists leave something out, a function comes along that writes a last layer which does the same.
    """
    image = find_stored(store, reference)
    if not whole:
        stack.enter_context(store.hold(image))
        return [_stored(image)], None
    passes = closure(store, image, host_labels())
    # An image that is there several times, under different whitelists, lies where it is topmost.
    images = list({one.image.id: one.image for one in passes}.values())
    for one in images:
        stack.enter_context(store.hold(one))
    adjust = None
    if any(one.filters for one in passes):
        from appc.images.convert_adjust import adjustment

        adjust = adjustment([Pass(one, ()) for one in images], passes)
    return [_stored(one) for one in reversed(images)], adjust


def _stored(image: StoredImage) -> Aci:
    return Aci(f"image {image.id.short}", image.manifest_bytes, lambda: ArchiveStream(image))
