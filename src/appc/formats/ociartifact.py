"""What appc keeps in registries and layouts besides images: ACIs as they are, and signatures (manifest.md).

An ACI is an artifact whose configuration is its image manifest and whose first layer is the file; its own detached
signature, if it has one, is the second. A signature of any other manifest is an artifact whose `subject` that manifest
is, with one layer: a detached OpenPGP signature over the manifest's bytes.
"""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats.oci_image import shown
from appc.schema.json import dumps
from appc.schema.oci_image import MEDIA_MANIFEST
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.schema.oci_image import Descriptor, Manifest

ACI_TYPE = "application/vnd.appc.image.v1"
ACI_CONFIG = "application/vnd.appc.image.manifest.v1+json"
ACI_LAYER = "application/vnd.appc.image.v1.aci"
SIGNATURE_TYPE = "application/vnd.appc.signature.v1"
HEADERS_TYPE = "application/vnd.appc.headers.v1"
PGP_SIGNATURE = "application/pgp-signature"

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def aci(
    config: dict[str, Any],
    layers: list[dict[str, Any]],
    annotations: dict[str, str],
    subject: dict[str, Any] | None = None,
) -> bytes:
    """The manifest of an ACI; `layers` are the descriptors of its file and, maybe, of its signature.

    `subject` is the OCI image that was made of it, where that is beside it.
    """
    document = {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "artifactType": ACI_TYPE,
        "config": config,
        "layers": layers,
        **({"subject": subject} if subject else {}),
        **({"annotations": annotations} if annotations else {}),
    }
    return dumps(document).encode()


def about(kind: str, subject: dict[str, Any], config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
    """The manifest of an artifact of the type `kind` that says something of `subject`; `config` is the empty one."""
    return dumps(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "artifactType": kind,
            "config": config,
            "layers": layers,
            "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
        }
    ).encode()


def entry(manifest: bytes, kind: str) -> dict[str, Any]:
    """The descriptor of an artifact's manifest, as lists of referrers have it."""
    return {"mediaType": MEDIA_MANIFEST, "digest": Digest.of(manifest), "size": len(manifest), "artifactType": kind}


def aci_of(manifest: Manifest, where: str) -> tuple[Descriptor, Descriptor | None]:
    """The descriptors of an ACI's file and of its signature. Raises ArchiveError."""
    files = [one for one in manifest.layers if one.media_type == ACI_LAYER]
    signatures = [one for one in manifest.layers if one.media_type == PGP_SIGNATURE]
    if len(files) != 1 or len(signatures) > 1:
        raise ArchiveError(f"holds {len(files)} image files and {len(signatures)} signatures", where)
    return files[0], signatures[0] if signatures else None


def signature_of(manifest: Manifest, subject: str, where: str) -> Descriptor:
    """The descriptor of the signature in an artifact about `subject` (a digest). Raises ArchiveError."""
    if manifest.subject is None or manifest.subject.digest != subject or len(manifest.layers) != 1:
        raise ArchiveError(f"is no signature of {subject[: subject.index(':') + 13]}", where)
    layer = manifest.layers[0]
    if layer.media_type != PGP_SIGNATURE:
        raise ArchiveError(f"layer {shown(layer.digest)} is no OpenPGP signature", where)
    return layer
