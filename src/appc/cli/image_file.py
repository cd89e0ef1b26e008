"""Image files as the verbs about them open them: with progress on a terminal, and errors that name the file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from io import FileIO

from appc.cli.output import Progress
from appc.errors import ArchiveError
from appc.images.unlock import Unlocked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.formats.compress import Source
    from appc.trust.symmetric import Passphrase

_CHUNK = 1 << 20


class Counted:
    """Tells a progress line what was read."""

    def __init__(self, file: FileIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def read(self, size: int, /) -> bytes:
        """Read as the file does."""
        data = self._file.read(size)
        self._progress.advance(len(data))
        return data


@contextmanager
def open_image(path: str, doing: str, passphrase: Passphrase | None = None) -> Iterator[Source]:
    """Open an image file to read it from its beginning to its end; `doing` is for the progress line.

    With a `passphrase` an encrypted file is read as if it were plain, and is authentic once this context is left.
    """
    try:
        file = FileIO(path)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", path) from error
    with file:
        status = os.fstat(file.fileno())
        with Progress(f"{doing} {path}", status.st_size or None) as progress:
            counted = Counted(file, progress)
            if passphrase is None:
                yield counted
                return
            with Unlocked(counted, passphrase, path) as plain:
                yield plain
                while plain.encrypted and plain.read(_CHUNK):
                    pass


def is_encrypted(source: Source) -> bool:
    """Whether the file that `open_image` opened with a passphrase turned out to be encrypted."""
    return isinstance(source, Unlocked) and source.encrypted


def file_path(reference: str) -> str:
    """The path an IMAGE operand means, "" when it means an image in the store."""
    from appc.images.fetch import classify

    return reference.removeprefix("file://") if classify(reference) == "path" else ""
