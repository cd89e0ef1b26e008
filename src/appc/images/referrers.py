"""Signatures of OCI images: finding them beside an image in a layout or a registry, and making them."""

from __future__ import annotations

import os
import tempfile

from appc.errors import AppcError, ArchiveError, ImageNotFound
from appc.formats import ociartifact, ocilayout
from appc.formats.oci_image import document, read_blob, shown
from appc.images.registry_blobs import RegistryBlobs
from appc.schema.oci_image import Manifest
from appc.trust.packets import MAX_SIGNATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from appc.formats.oci_image import Blobs
    from appc.net.registry_push import Pusher
    from appc.values import Digest

MAX_SIGNATURES = 20  # that are looked at for one manifest


def signatures(blobs: Blobs, digest: Digest) -> Iterator[bytes]:
    """Yield the signatures that are said to be over the manifest `digest`; nothing of them has been verified."""
    if isinstance(blobs, RegistryBlobs):
        found = blobs.registry.referrers(digest, ociartifact.SIGNATURE_TYPE)
    elif blobs.has(ocilayout.INDEX_FILE):
        found = ocilayout.artifacts(blobs, ociartifact.SIGNATURE_TYPE)
    else:
        found = []
    for one in found[:MAX_SIGNATURES]:
        where = f"{blobs.where}: signature {shown(one.digest)}"
        try:
            if isinstance(blobs, RegistryBlobs):
                data = blobs.registry.manifest(one.digest).data
            else:
                data = read_blob(blobs, one.digest, one.size, "signature")
            layer = ociartifact.signature_of(document(Manifest, data, where), digest, where)
            if isinstance(blobs, RegistryBlobs):
                yield blobs.registry.small(layer.digest, layer.size, MAX_SIGNATURE)
            else:
                yield read_blob(blobs, layer.digest, min(layer.size, MAX_SIGNATURE), "signature")
        except (ArchiveError, ImageNotFound):
            # Whoever may write there may put anything there; another one may be good.
            continue


class Key:
    """What signs: a key of the gpg keyring (`name`, "" for gpg's own choice), or the secret key in a file."""

    __slots__ = ("file", "name", "passphrase_file")

    def __init__(self, name: str = "", file: str = "", passphrase_file: str = "") -> None:
        self.name = name
        self.file = file
        self.passphrase_file = passphrase_file

    def sign(self, data: bytes, where: str) -> bytes:
        """Make an armored detached signature over `data`, of the image `where`. Raises SignatureError."""
        from appc.trust.sign import sign_file

        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
            try:
                return sign_file(path, self.name, self.file, self.passphrase_file)
            except AppcError as error:
                # The user never named that file.
                if error.where == path:
                    raise type(error)(error.what, where, error.hint) from None
                raise


def sign_manifest(pusher: Pusher, data: bytes, subject: dict[str, Any], signature: bytes) -> str:
    """Put a signature over the manifest `data`, whose descriptor is `subject`, beside it; return its digest."""
    from appc.values import Digest

    config = pusher.small(ociartifact.EMPTY, ociartifact.EMPTY_TYPE)
    layer = pusher.small(signature, ociartifact.PGP_SIGNATURE)
    artifact = ociartifact.about(ociartifact.SIGNATURE_TYPE, subject, config, [layer])
    entry = ociartifact.entry(artifact, ociartifact.SIGNATURE_TYPE)
    pusher.refer(artifact, entry, Digest.parse(subject["digest"]))
    return str(entry["digest"])
