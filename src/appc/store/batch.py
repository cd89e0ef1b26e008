"""Several images that become visible together, when all of them are verified, or not at all."""

from __future__ import annotations

from appc.errors import StoreError
from appc.store.durable import flush_tree
from appc.store.importer import How, Import, commit
from appc.store.layout import store_path
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.formats.compress import Source
    from appc.store.image import StoredImage
    from appc.store.images import ImageStore, Verifier


class Batch:
    """Images on their way into `store`, from one file called `where`. Leaving it without `commit` forgets them."""

    def __init__(self, store: ImageStore, where: str) -> None:
        self._root = store.root
        self._where = where
        self._staged: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> Batch:
        try:
            self._staging = Staging(self._root)
        except OSError as error:
            raise self._failure(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._staging.close()

    def add(
        self, stream: Source, size: int | None, where: str, verifier: Callable[[], Verifier] | None, how: How
    ) -> dict[str, Any]:
        """Read and verify an image file of `size` bytes (None: not known) as `ImageStore.import_file` does.

        Returns the record of it, whose `id` is the image's.
        """
        path = f"{self._staging.path}/{len(self._staged)}"
        try:
            meta = Import(self._root, where, how).stage(stream, size, path, verifier)
        except OSError as error:
            raise self._failure(error) from error
        self._staged.append((path, meta))
        return meta

    def manifest(self) -> bytes:
        """The manifest of the image that was added last."""
        with open(f"{self._staged[-1][0]}/manifest", "rb") as stream:
            return stream.read()

    def commit(self) -> list[StoredImage]:
        """Make them images of the store, in the order they were added."""
        try:
            flush_tree(self._staging.path)
            return [commit(self._root, path, meta) for path, meta in self._staged]
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> StoreError:
        return StoreError(f"cannot be stored: {error.strerror}", self._where, f"the store is {store_path(self._root)}")
