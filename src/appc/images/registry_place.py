"""Places that are in a registry: where a template or a mirror says `docker://…`, other than the URL of a file.

Who asked for a name trusts keys for that name; which registry has the image says nothing about whose it is. So a key
has to vouch here for the name, and not for registry/repository as where a user names the registry.
"""

from __future__ import annotations

from appc.errors import ImageMismatch, ImageNotFound, UsageError
from appc.images.registry import Access
from appc.images.registry_known import Wanted
from appc.images.registry_pull import pull_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.expected import Expected
    from appc.images.fetch import Wish
    from appc.images.network import Network
    from appc.images.places import Place
    from appc.store.images import ImageStore, StoredImage


def fetch_place(
    store: ImageStore,
    network: Network,
    wish: Wish,
    place: Place,
    expected: Expected,
    label: str,
    image_id: str,
) -> StoredImage:
    """Return the image at `place` if it is as `expected` and, when it is given, has the ID `image_id`.

    `label` is what progress is shown under. Raises what `pull_image` raises, and UsageError.
    """
    if wish.signature:
        raise UsageError("only an image file can have a signature file", "--signature")
    os, arch = (expected.labels.get(key) or expected.defaults.get(key) or "" for key in ("os", "arch"))
    wanted = Wanted(store, place.aci, wish.config, (os, arch), wish.insecure, expected.name)
    image = wanted.without_asking("new" if network.offline else wish.pull)
    if image is None:
        if network.offline:
            raise ImageNotFound("was not fetched before, and the network is not to be used (--offline)", place.aci)
        access = Access.through(network, wish.warnings)
        told = wish.started
        started = (lambda _, size: told(label, size)) if told is not None else None
        image = pull_image(store, access, wanted, wish.keep, started, wish.warnings, expected)
    meta = image.meta
    expected.admit(place.aci, image.manifest, (meta["size"], *meta["fileSizes"]))
    if image_id not in ("", image.id):
        raise ImageMismatch(f"is {image.id}, not {image_id}", place.aci)
    return image
