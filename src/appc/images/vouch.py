"""Who vouches for an OCI image: signatures over its manifest, which stand beside it as artifacts of their own.

The signature is that of appc's image files: detached OpenPGP over bytes, here those of the manifest, or of the index
that leads to it. They name everything below by digest.
"""

from __future__ import annotations

from appc.errors import SignatureError
from appc.formats.oci_image import read_blob
from appc.trust.check import SignatureCheck
from appc.trust.keystore import Keystore
from appc.trust.lookup import is_trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from appc.images.convert_source import Source
    from appc.store.images import Verifier


def signer(keystore: Keystore, signed: Iterable[tuple[bytes, bytes]], where: str, name: str, hint: str = "") -> str:
    """The fingerprint of a key that is trusted for the image `name` and made one of the signatures.

    `signed` are pairs of a manifest's bytes and a signature over them. Raises SignatureError, saying what is wrong
    with the first of them, or that there are none.
    """
    refusal: SignatureError | None = None
    for data, signature in signed:
        try:
            check = SignatureCheck(keystore, signature, where, name=name)
        except SignatureError as error:
            refusal = refusal or error
            continue
        try:
            check.feed(data)
            return check.finish(name)
        except SignatureError as error:
            refusal = refusal or error
        finally:
            check.close()
    raise refusal or SignatureError("is not signed", where, hint)


def signer_of_layout(source: Source, config: Sequence[str], reference: str) -> str:
    """The fingerprint of the key that vouches for an image in a layout, by the name it is to have. SignatureError."""
    from appc.images.convert import own_name
    from appc.images.referrers import signatures

    image = source.image
    found: Iterable[tuple[bytes, bytes]] = ()
    hint = "--insecure image takes it as it is; `appc image convert` makes a file of it that can be signed"
    if image.descriptor is not None:
        one = image.descriptor
        data = read_blob(image.blobs, one.digest, one.size, "manifest")
        found = ((data, signature) for signature in signatures(image.blobs, one.digest))
        hint = f"`appc image sign {reference}` signs it; --insecure image takes it as it is"
    return signer(Keystore(config), found, reference, own_name(source), hint)


class Vouched:
    """Stands in for the check of an image file where the OCI image it is made of was checked: `fingerprint` vouches."""

    signature = b""

    def __init__(self, config: Sequence[str], fingerprint: str, where: str) -> None:
        self._config = config
        self._fingerprint = fingerprint
        self._where = where

    def feed(self, data: bytes) -> None:
        """The manifest was checked, and what is converted was checked by its digests."""

    def admit(self, name: str) -> None:
        """Raise SignatureError when the key may not sign what the image calls itself."""
        if not is_trusted(self._config, self._fingerprint, name):
            what = f"calls itself {name}, for which the key that signed it ({self._fingerprint}) is not trusted"
            raise SignatureError(what, self._where, f"appc trust add --prefix {name} KEYFILE trusts it")

    def finish(self, name: str) -> str:
        """The signer, if its key may sign what the image calls itself."""
        self.admit(name)
        return self._fingerprint

    def close(self) -> None:
        """Nothing is held."""


def vouching(config: Sequence[str], fingerprint: str, where: str) -> Callable[[], Verifier] | None:
    """What `ImageStore.import_file` takes as verifier; None for an image that nobody vouches for."""
    return (lambda: Vouched(config, fingerprint, where)) if fingerprint else None
