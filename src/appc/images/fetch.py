"""From what a user wrote to an image in the store."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from appc.store.images import ImageStore, StoredImage


def resolve(
    store: ImageStore,
    reference: str,
    *,
    config: Sequence[str] = (),
    pull: str = "new",
    insecure: Collection[str] = (),
    signature: str = "",
    offline: bool = False,
) -> StoredImage:
    """Return the image in the store that `reference` means, importing it first when it is a file.

    `config` are the configuration directories, lowest precedence first (where the trusted keys lie); `pull` is new,
    update or never; `insecure` holds the checks to leave out (image, tls, http, pubkey); `signature` is the path of a
    detached signature when it is not FILE.asc. Raises ImageNotFound, SignatureError, ArchiveError, UsageError …
    """
    raise NotImplementedError
