"""Directories that verbs fill with an image's files: what they may be told, and that nothing half-done stays."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from appc.cli.options import Operand, Option
from appc.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = (
    Option("--rootfs-only", help="the root file system alone, directly in DIR"),
    Option("--overwrite", help="first remove what is in DIR"),
)
OPERAND = Operand("dir", complete="dir", help="where to; it must be empty or not exist")


@contextmanager
def output_directory(path: str, overwrite: bool) -> Iterator[None]:
    """Have an empty directory at `path`; after an error it is as empty as before, or not there.

    Raises UsageError, and HostError for what cannot be written, also for an OSError in the context.
    """
    if os.path.realpath(path) == "/":
        raise UsageError("nothing is put over the root directory", path)
    try:
        made = _prepare(path, overwrite)
        try:
            yield
        except BaseException:
            _empty(path)
            if made:
                os.rmdir(path)
            raise
    except OSError as error:
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise HostError(f"cannot be written: {error.strerror}", path, hint) from error


def _prepare(path: str, overwrite: bool) -> bool:
    """Have an empty directory there; whether it was made."""
    try:
        os.mkdir(path)
        return True
    except FileExistsError:
        pass
    if os.listdir(path):
        if not overwrite:
            raise UsageError("is not empty", path, "--overwrite removes what is in it")
        _empty(path)
    return False


def _empty(path: str) -> None:
    from appc.store.staging import remove_tree

    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)
