"""What the store has of a reference to a registry: asked before every start of such an image, so it is light."""

from __future__ import annotations

from appc.errors import ImageNotFound, SignatureError
from appc.schema.registry import SCHEME, RegistryReference
from appc.store import downloads
from appc.trust.lookup import is_trusted
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from appc.store.images import ImageStore, StoredImage

# What a record says besides the image: the digest the reference led to, and that it was an ACI as it is.
_DIGEST, _ACI = "digest", "aci"


class Wanted:
    """A reference to a registry, for `platform` (os, arch), and which images of the store may stand for it.

    Unless `insecure` has "image", the key that signed one has to be trusted, by the configuration directories, for
    what the image calls itself and for `name`, which is registry/repository unless it is given.
    """

    def __init__(
        self,
        store: ImageStore,
        reference: str,
        config: Sequence[str],
        platform: tuple[str, str],
        insecure: Collection[str] = (),
        name: str = "",
    ) -> None:
        self.reference = RegistryReference.parse(reference)
        self.name = name or self.reference.name
        self.where = f"{SCHEME}//{self.reference}"
        self.config = config
        self.platform = platform
        self.verified = "image" not in insecure
        self._store = store
        self._key = f"{self.where} {'/'.join(platform)}"
        record = downloads.recall(store.root, self._key)
        known = store.lookup(ImageID.parse(record["image"])) if record else None
        self._unverified = known is not None and not self.accepts(known, _ACI in record)
        self.known = None if self._unverified else known
        self.digest = record.get(_DIGEST, "")

    def without_asking(self, pull: str) -> StoredImage | None:
        """The image to take without asking the registry, None if it has to be asked. Raises ImageNotFound,
        SignatureError."""
        # What a digest names never changes.
        if self.known is not None and (pull != "update" or self.reference.digest is not None):
            return self.known
        if pull == "never" and self._unverified:
            hint = "--pull update looks for a signature; --insecure image takes it as it is"
            raise SignatureError("is in the store, but no trusted key has vouched for it", self.where, hint)
        if pull == "never":
            raise ImageNotFound("is not in the store, and --pull never is given", self.where)
        return None

    def accepts(self, image: StoredImage, aci: bool = False) -> bool:
        """Whether an image of the store will do; an ACI as it is goes by its own name alone."""
        names = (image.name,) if aci else (image.name, self.name)
        return not self.verified or (
            image.signer != "" and all(is_trusted(self.config, image.signer, name) for name in names)
        )

    def remember(self, image: StoredImage, digest: str, aci: bool) -> None:
        """Note what the reference was."""
        facts = {_DIGEST: digest} | ({_ACI: "1"} if aci else {})
        try:
            downloads.remember(self._store.root, self._key, image.id, facts)
        except OSError:
            # A read-only store: next time the registry is asked again.
            pass
