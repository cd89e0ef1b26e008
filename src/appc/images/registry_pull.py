"""From a reference to a registry to an image in the store: known, vouched for, fetched, converted."""

from __future__ import annotations

from functools import partial

from appc.errors import NetworkError, SignatureError
from appc.formats.oci_image import shown
from appc.formats.ociartifact import aci_of
from appc.images import vouch
from appc.images.convert import import_source, known_as, own_name
from appc.images.expected import Expected
from appc.images.referrers import signatures
from appc.images.registry import RegistrySource
from appc.schema.oci_image import Manifest
from appc.trust.check import SignatureCheck
from appc.trust.keystore import Keystore
from appc.trust.packets import MAX_SIGNATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from appc.images.fetch import Started
    from appc.images.registry import Access
    from appc.images.registry_known import Wanted
    from appc.store.images import ImageStore, StoredImage, Verifier


def pull_image(
    store: ImageStore,
    access: Access,
    wanted: Wanted,
    keep: str = "signed",
    started: Started | None = None,
    warnings: list[str] | None = None,
    expected: Expected | None = None,
) -> StoredImage:
    """Return the image that is wanted, fetched unless the registry has the same as the store.

    Where verification is asked for, a key has to vouch for it that is trusted for `wanted.name`, and for what the
    image calls itself. `keep` says when an ACI's file is kept: signed, never or always. `started` is told of what
    begins to arrive; `warnings` gets what conversion cannot keep. What is not as `expected` is refused before it is in
    the store. Raises ImageNotFound, SignatureError, ArchiveError, ImageMismatch, NetworkError, StoreError.
    """
    due = expected or Expected()
    if wanted.known is not None:
        registry = access.open(wanted.reference)
        if registry.digest(wanted.reference.version) == wanted.digest:
            return wanted.known
    with RegistrySource(access, wanted.where, store.root, wanted.platform) as source:
        if wanted.known is not None and source.top.digest == wanted.digest:
            image = wanted.known  # the registry did not say so when it was asked for the digest alone
        elif source.artifact is not None:
            image = _aci(store, source, wanted, source.artifact, keep, started, due)
        else:
            image = _converted(store, source, wanted, warnings, started, due)
        wanted.remember(image, source.top.digest, source.artifact is not None)
        return image


def _converted(
    store: ImageStore,
    source: RegistrySource,
    wanted: Wanted,
    warnings: list[str] | None,
    started: Started | None,
    expected: Expected,
) -> StoredImage:
    expected.admit_name(wanted.where, own_name(source))
    known = known_as(store, source)
    if known is not None and wanted.accepts(known):
        return known
    fingerprint = signer_of(source, wanted.config, wanted.name) if wanted.verified else ""
    _fetch(source, started, expected)

    def verifier(rest: int) -> Callable[[], Verifier] | None:
        # An image below has a name of its own, for which the key need not be trusted: nobody vouches for it by that
        # name, and its ID, which the signature covers, is what makes it the right one.
        return vouch.vouching(wanted.config, fingerprint, wanted.where) if not rest else None

    return import_source(store, source, None, verifier, warnings, partial(expected.admit, wanted.where))


def _aci(
    store: ImageStore,
    source: RegistrySource,
    wanted: Wanted,
    manifest: Manifest,
    keep: str,
    started: Started | None,
    expected: Expected,
) -> StoredImage:
    where = f"{wanted.where}: manifest {shown(source.chosen.digest)}"
    _, signature = aci_of(manifest, where)
    armored = b""
    if wanted.verified:
        if signature is None:
            hint = "push it again where its signature lies beside it; --insecure image takes it as it is"
            raise SignatureError("came without the signature of its file", wanted.where, hint)
        armored = source.registry.small(signature.digest, signature.size, MAX_SIGNATURE)
    _fetch(source, started, expected)

    def check() -> Verifier:
        return SignatureCheck(Keystore(wanted.config), armored, wanted.where)

    with source.file() as stream:
        admit = partial(expected.admit, wanted.where)
        verifier = check if armored else None
        return store.import_stream(stream, where=wanted.where, verifier=verifier, admit=admit, keep=keep)


def _fetch(source: RegistrySource, started: Started | None, expected: Expected) -> None:
    """Begin to fetch the layers, unless they are more than the image may have."""
    size = sum(one.size for one in source.layers)
    if expected.limit is not None and size > expected.limit:
        raise NetworkError(f"has {size} bytes, more than the {expected.limit} it may have", source.path)
    source.fetch(started)


def signer_of(source: RegistrySource, config: Sequence[str], name: str = "") -> str:
    """The fingerprint of the key that vouches for the image, or for the index that leads to it.

    It has to be trusted for `name`, or else for registry/repository. Raises SignatureError.
    """
    hint = f"`appc image sign {source.path}` signs it; --insecure image takes it as it is"
    return vouch.signer(Keystore(config), signed(source), source.path, name or source.reference.name, hint)


def signed(source: RegistrySource) -> Iterator[tuple[bytes, bytes]]:
    """Yield (manifest, a signature said to be over it) for the image and for the index that leads to it."""
    for digest in dict.fromkeys((source.chosen.digest, source.top.digest)):
        for signature in signatures(source.blobs, digest):
            yield source.blobs.data(digest), signature
