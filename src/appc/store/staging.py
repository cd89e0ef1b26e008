"""Work in progress: directories that nothing refers to until they are renamed to where they belong.

The worker holds a flock on its directory, so a directory that nobody locks belongs to a dead process.
"""

from __future__ import annotations

import errno
import os
import shutil

from appc.errors import StoreError
from appc.store.layout import make_directory, store_path
from appc.store.locks import Hold, hold_alone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Staging:
    """A private directory on the store's own file system, removed with all that is still in it at the end."""

    __slots__ = ("_hold", "path")

    def __init__(self, root: str) -> None:
        parent = make_directory(store_path(root, "staging"))
        held: Hold | None = None
        while held is None:
            self.path = f"{parent}/{os.urandom(8).hex()}"
            os.mkdir(self.path, 0o700)
            # A collector may have removed it before the lock was had; then again.
            held = hold_alone(self.path)
        self._hold = held

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory."""
        remove_tree(self.path)
        self._hold.close()


def abandoned(root: str) -> Iterator[tuple[str, Hold]]:
    """Yield each staging directory whose worker is dead, held so that nobody else removes it."""
    parent = store_path(root, "staging")
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return
    for name in names:
        held = hold_alone(f"{parent}/{name}")
        if held is not None:
            with held:
                yield f"{parent}/{name}", held


def remove_tree(path: str) -> None:
    """Remove a directory and all below it, never through a symbolic link. One that is gone is fine."""

    def retry(
        function: Callable[..., object], entry: str, error: tuple[type[BaseException], BaseException, object]
    ) -> None:
        if isinstance(error[1], FileNotFoundError):
            return
        # Without privileges nothing can be removed from a directory that the image made unwritable.
        parent = entry if function in (os.scandir, os.open, os.lstat) else os.path.dirname(entry)
        if not isinstance(error[1], PermissionError) or os.stat(parent).st_mode & 0o700 == 0o700:
            raise error[1]
        os.chmod(parent, 0o700)
        remove_tree(path)

    try:
        shutil.rmtree(path, onerror=retry)
    except FileNotFoundError:
        pass
    except (RecursionError, OSError) as error:
        if isinstance(error, RecursionError) or error.errno == errno.EMFILE:
            # Neither the depth of calls nor the number of descriptors suffices.
            from appc.store.deletion import delete_tree

            delete_tree(path)
            return
        raise StoreError(f"cannot be removed: {error.strerror}", str(error.filename or path)) from None
