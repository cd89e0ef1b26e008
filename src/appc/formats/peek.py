"""A stream whose beginning can be looked at before it is read."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.compress import Source

HEAD = 512


class Peeked:
    """`source`, of which `head` holds the first 512 bytes (fewer if there are no more); `read` gives them again."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.head = b""
        while len(self.head) < HEAD and (data := source.read(HEAD - len(self.head))):
            self.head += data
        self._waiting = self.head

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; b"" at the end."""
        if not self._waiting:
            return self._source.read(size)
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data
