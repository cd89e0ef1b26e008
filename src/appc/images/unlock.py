"""Reading image files that may be encrypted, as if they were not."""

from __future__ import annotations

from appc.errors import ArchiveError
from appc.formats import compress
from appc.formats.peek import Peeked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.compress import Source
    from appc.trust.symmetric import Filter, Passphrase


class Unlocked:
    """`source`, decrypted if its content shows that it is encrypted; `encrypted` says whether it was.

    `passphrase` is asked only then; without it an encrypted file raises ArchiveError. `where` names the file.
    """

    def __init__(self, source: Source, passphrase: Passphrase | None, where: str) -> None:
        peeked = Peeked(source)
        self.encrypted = compress.detect(peeked.head) == "pgp"
        self._filter: Filter | None = None
        self._source: Source = peeked
        if not self.encrypted:
            return
        if passphrase is None:
            raise ArchiveError("is encrypted", where, "give its passphrase with --passphrase-file FILE")
        from appc.trust.symmetric import decrypt

        self._source = self._filter = decrypt(peeked, passphrase, where)

    def __enter__(self) -> Unlocked:
        return self

    def __exit__(self, *_: object) -> None:
        if self._filter is not None:
            self._filter.close()

    def read(self, size: int, /) -> bytes:
        """The next bytes of the plain image, b"" at its end; raises ArchiveError when decrypting it fails."""
        return self._source.read(size)
