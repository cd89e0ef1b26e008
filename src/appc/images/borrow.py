"""Images that are needed for a moment only: converted into a store that ends with it."""

from __future__ import annotations

import os
from contextlib import contextmanager

from appc.errors import AppcError
from appc.formats.imagebundle import is_bundle
from appc.images import fetch
from appc.store.images import ImageStore
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from appc.images.network import Network
    from appc.store.images import StoredImage
    from appc.trust.symmetric import Passphrase


def must_be_borrowed(reference: str) -> bool:
    """Whether `reference` is a form that holds an image without being its file: a layout, an archive, a bundle, or one
    in a registry."""
    kind = fetch.classify(reference)
    if kind != "path":
        return kind in (*fetch.CONVERTED, fetch.REGISTRY)
    try:
        with fetch.open_file(reference.removeprefix("file://")) as stream:
            return is_bundle(os.pread(stream.fileno(), 512, 0))
    except AppcError:
        return False


@contextmanager
def borrowed(
    store: ImageStore,
    reference: str,
    warnings: list[str],
    passphrase: Passphrase | None = None,
    network: Callable[[], Network] | None = None,
) -> Iterator[tuple[ImageStore, StoredImage]]:
    """The image that `reference` means, unverified, in a store of its own beside `store`; both end with this context.

    `network` is called if it has to be fetched. Raises what `fetch.resolve` raises.
    """
    with Staging(store.root) as staging:
        own = ImageStore(staging.path)
        image = fetch.resolve(
            own,
            reference,
            insecure=("image",),
            keep="never",
            passphrase=passphrase,
            warnings=warnings,
            network=network,
        )
        yield own, image
