"""`image sign`: a signature over an image file in a file beside it, or over an OCI image's manifest, beside that."""

from __future__ import annotations

from appc.build.convert_sink import DirectorySink
from appc.build.newfile import NewFile
from appc.errors import UsageError
from appc.formats import ociartifact
from appc.formats.oci_image import read_blob
from appc.formats.ocilayout import INDEX_FILE
from appc.formats.ocilayout_write import put
from appc.images.convert_source import OCI, Source
from appc.images.referrers import sign_manifest
from appc.net.registry_push import Pusher
from appc.schema.json import dumps
from appc.schema.registry import RegistryReference
from appc.trust.sign import sign_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.referrers import Key
    from appc.images.registry import Access


def sign_beside(path: str, key: Key, out: str = "", overwrite: bool = False) -> str:
    """Write the signature of the image file `path` to the file `out`, by default FILE.asc, and return its path.

    Raises SignatureError, UsageError when there is such a file, HostError; after an error there is no new file.
    """
    target = out or f"{path}.asc"
    with NewFile(target, overwrite) as file:
        file.write(sign_file(path, key.name, key.file, key.passphrase_file))
        file.commit()
    return target


def sign_in_registry(access: Access, text: str, key: Key) -> str:
    """Sign what `text` (docker://…) leads to, an image or the index of several; return the signature's digest."""
    reference = RegistryReference.parse(text)
    registry = access.open(reference, ("pull", "push"))
    manifest = registry.manifest(reference.version)
    subject = {"mediaType": manifest.media_type, "digest": str(manifest.digest), "size": len(manifest.data)}
    return sign_manifest(Pusher(registry), manifest.data, subject, key.sign(manifest.data, registry.where))


def sign_in_layout(text: str, platform: tuple[str, str], key: Key) -> str:
    """Sign the image for `platform` that `text` (oci:DIR[:TAG]) leads to; return the signature's digest."""
    if not text.startswith(OCI):
        raise UsageError("cannot be added to", text, f"sign the layout before it becomes an archive: {OCI}DIR")
    with Source(text, platform) as source:
        one = source.image.descriptor
        assert one is not None
        data = read_blob(source.image.blobs, one.digest, one.size, "manifest")
        path = source.path
    signature = key.sign(data, text)
    subject = {"mediaType": one.media_type, "digest": str(one.digest), "size": one.size}
    # The entry has no tag; this one belongs to nothing that the layout could hold.
    with DirectorySink(path, str(one.digest), True, None) as sink:
        config = put(sink, ociartifact.EMPTY_TYPE, ociartifact.EMPTY)
        layer = put(sink, ociartifact.PGP_SIGNATURE, signature)
        artifact = ociartifact.about(ociartifact.SIGNATURE_TYPE, subject, config, [layer])
        entry = put(sink, ociartifact.entry(artifact, "")["mediaType"], artifact)
        index = {"manifests": [{**entry, "artifactType": ociartifact.SIGNATURE_TYPE}]}
        sink.finish({INDEX_FILE: dumps(index).encode()})
    return str(entry["digest"])
