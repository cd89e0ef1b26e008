"""Checking an image file against its signature without storing it."""

from __future__ import annotations

from appc.errors import ManifestError, UsageError
from appc.images.fetch import open_file, verifier_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from appc.images.registry import Access
    from appc.store.images import ImageStore, Verifier
    from appc.trust.symmetric import Passphrase


class Verified:
    """An image file whose signature holds: what it is, and whose key signed it (the fingerprint)."""

    __slots__ = ("image_id", "name", "signer")

    def __init__(self, name: str, image_id: str, signer: str) -> None:
        self.name = name
        self.image_id = image_id
        self.signer = signer


def verify(path: str, config: Sequence[str], signature: str = "", passphrase: Passphrase | None = None) -> Verified:
    """Read the image file `path` and check it against `signature`, or against FILE.asc.

    `config` are the configuration directories, lowest precedence first; `passphrase` is asked if the file is
    encrypted. Raises SignatureError, ArchiveError, ManifestError, ImageNotFound.
    """
    from appc.formats.aci import read_aci
    from appc.images.unlock import Unlocked
    from appc.schema.image import ImageManifest

    with open_file(path) as stream:
        check = verifier_for(path, config, signature)
        try:
            source = _Feed(stream, check)
            with Unlocked(source, passphrase, path) as plain:
                found = read_aci(plain, where=path)
            source.drain()
            try:
                manifest = ImageManifest.parse(found.manifest_bytes)
            except ManifestError as error:
                raise ManifestError(list(error.faults), f"{path}: manifest", error.hint) from None
            return Verified(manifest.name, found.image_id, check.finish(manifest.name))
        finally:
            check.close()


def verify_oci(
    store: ImageStore, reference: str, config: Sequence[str], platform: tuple[str, str], access: Callable[[], Access]
) -> Verified:
    """Check an image in a registry or a layout for `platform` against the signatures beside its manifest.

    `image_id` is the digest of the manifest then. What the manifest names is not read. Raises SignatureError,
    ArchiveError, ImageNotFound, NetworkError.
    """
    from appc.images.convert import own_name
    from appc.images.convert_source import Source
    from appc.images.registry import RegistrySource
    from appc.images.registry_pull import signer_of
    from appc.images.vouch import Vouched, signer_of_layout
    from appc.schema.registry import SCHEME

    if not reference.startswith(SCHEME):
        with Source(reference, platform) as source:
            signer = signer_of_layout(source, config, reference)
            return Verified(own_name(source), source.image.manifest_digest, signer)
    with RegistrySource(access(), reference, store.root, platform) as remote:
        if remote.artifact is not None:
            hint = f"`appc fetch {reference}` verifies it by the signature of its file"
            raise UsageError("is an ACI as it is", reference, hint)
        signer = signer_of(remote, config)
        Vouched(config, signer, reference).admit(own_name(remote))
        return Verified(own_name(remote), str(remote.chosen.digest), signer)


class _Feed:
    """The file, of which the verifier sees every byte that is read."""

    def __init__(self, stream: BinaryIO, check: Verifier) -> None:
        self._stream = stream
        self._check = check

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._check.feed(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass
