"""Images in registries: reaching one, choosing what is for this platform, and handing it to conversion."""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats import ocilayout
from appc.formats.oci_image import blob_path, document, shown
from appc.formats.ociartifact import ACI_TYPE, aci_of
from appc.images.registry_blobs import RegistryBlobs
from appc.net.logins import Logins
from appc.net.registry import Registry
from appc.schema.oci_image import INDEX_TYPES, Manifest
from appc.schema.registry import SCHEME, RegistryReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from appc.formats.oci_image import Blob, SourceImage
    from appc.images.fetch import Started
    from appc.images.network import Network
    from appc.net.credentials import Credentials
    from appc.net.http import Client

# What may stand in the place of a layer that only its vendor distributes.
_FOREIGN = ("foreign", "nondistributable")


class Access:
    """How registries are reached, and as whom; `warnings` gets what they want people to know.

    `environment` says where docker and podman keep credentials: that of the process unless given.
    """

    def __init__(
        self,
        client: Client,
        credentials: Credentials,
        warnings: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._logins = Logins(credentials, environment)
        self._client = client
        self._warnings: list[str] = [] if warnings is None else warnings

    @classmethod
    def through(cls, network: Network, warnings: list[str]) -> Access:
        """Access by the client and the credentials of a command. Raises NetworkError if that is to stay offline."""
        return cls(network.client, network.credentials, warnings)

    def open(
        self, reference: RegistryReference, actions: tuple[str, ...] = ("pull",), also: tuple[str, ...] = ()
    ) -> Registry:
        """The repository of `reference`; see `net.registry.Registry`."""
        warn = self._warnings.append
        return Registry(self._client, self._logins, reference, actions=actions, also=also, warn=warn)


class RegistrySource:
    """An image in a registry, opened: `top` is what the reference leads to, `chosen` the manifest for the platform.

    `image` is there for images, `artifact` for ACIs that were pushed as they are. To be used in a `with` statement.
    """

    def __init__(
        self,
        access: Access,
        reference: str,
        root: str,
        platform: tuple[str, str],
        strict_platform: bool = False,
    ) -> None:
        """Read manifests and configuration, and begin to fetch nothing yet; blobs go to the store below `root`.

        Raises ImageNotFound, ArchiveError, NetworkError, InvalidValue.
        """
        self.reference = RegistryReference.parse(reference)
        self.path = f"{SCHEME}//{self.reference}"
        self.registry = access.open(self.reference)
        self.blobs = RegistryBlobs(self.registry, root)
        self.top = self.blobs.add(self.registry.manifest(self.reference.version))
        self.chosen = self.top
        self.artifact: Manifest | None = None
        self._image: SourceImage | None = None
        if self.top.media_type in INDEX_TYPES:
            self.chosen = ocilayout.choose(self.blobs, [self.top], platform, strict_platform)
            with self.blobs.open(blob_path(self.chosen.digest)):
                pass
        manifest = document(Manifest, self.blobs.data(self.chosen.digest), self._where())
        self.layers = manifest.layers
        if manifest.artifact_type == ACI_TYPE:
            self.artifact = manifest
            self.layers = (aci_of(manifest, self._where())[0],)
            return
        _refuse_foreign(manifest, self._where())
        if strict_platform and self.chosen is self.top:
            self.chosen = ocilayout.choose(self.blobs, [self.top], platform, True)
        self._image = ocilayout.image_of(self.blobs, self.chosen, str(self.reference))

    @property
    def image(self) -> SourceImage:
        """The image. Raises ArchiveError for an ACI."""
        if self._image is None:
            what = "is an ACI as it is, which needs no conversion"
            raise ArchiveError(what, self.path, f"`appc fetch {self.path}` brings it into the store")
        return self._image

    def fetch(self, started: Started | None = None) -> None:
        """Begin to fetch the layers; `started` is told of them as of one file (see `images.fetch`)."""
        layers = {one.digest: one for one in self.layers}.values()
        self.blobs.fetch(layers, started(self.path, sum(one.size for one in layers)) if started else None)

    def file(self) -> Blob:
        """Open the file of an ACI that was pushed as it is; its end is a verified one."""
        return self.blobs.open(blob_path(self.layers[0].digest))

    def __enter__(self) -> RegistrySource:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.blobs.close()
        if kind is None:
            self.blobs.discard()

    def close(self) -> None:
        """Stop; what has arrived stays for the next time."""
        self.blobs.close()

    def _where(self) -> str:
        return f"{self.path}: manifest {shown(self.chosen.digest)}"


def _refuse_foreign(manifest: Manifest, where: str) -> None:
    for number, layer in enumerate(manifest.layers, 1):
        if layer.urls or any(word in layer.media_type for word in _FOREIGN):
            what = f"layer {number} ({shown(layer.digest)}) is not in the registry: only its vendor may distribute it"
            raise ArchiveError(what, where, "images of Windows have such layers; choose another image")
