"""The images that a build begins with or rests on: in the store, or fetched as `appc fetch` would."""

from __future__ import annotations

from appc.cli.fetch_options import INSECURE, OFFLINE, network_of
from appc.cli.passphrase import passphrase
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.schema.image import Dependency
    from appc.store.images import ImageStore, StoredImage

FETCH = (INSECURE, OFFLINE)


class Bases:
    """Finds the images of one command, which has the options FETCH and those for passphrases."""

    def __init__(self, store: ImageStore, args: Args, context: Context) -> None:
        self._store = store
        self._args = args
        self._context = context
        self._network = network_of(args, context)

    def image(self, reference: str) -> StoredImage:
        """The image that an IMAGE means; see `images.fetch.resolve` for what it raises."""
        from appc.images.fetch import resolve

        warnings: list[str] = []
        image = resolve(
            self._store,
            reference,
            config=self._context.config,
            insecure=self._args.insecure,
            keep=self._context.settings.images_keep_original,
            passphrase=passphrase(self._args, self._context),
            warnings=warnings,
            network=self._network,
        )
        for warning in warnings:
            self._context.warn(warning)
        if "image" in self._args.insecure and not image.signer:
            self._context.warn("was not verified (--insecure image)", reference)
        return image

    def dependencies(self, dependencies: Sequence[Dependency], where: str) -> list[StoredImage]:
        """The images that `where` depends on, in their order. DependencyError when one is not what is asked for."""
        from appc.images.closure import find_all
        from appc.images.fetch import host_labels

        for one in dependencies:
            known = isinstance(one.image_id, ImageID) and self._store.lookup(one.image_id) is not None
            if not known and not self._args.offline:
                self.image(f"{one.image_name},{one.labels}".rstrip(","))
        return find_all(self._store, dependencies, where, host_labels())
