"""A file that is arriving: what came before, then what comes now, and what comes after the connection broke.

Every byte that arrives is kept in the store's download before it is handed on, so that whoever fetches the file next,
after this process was killed or the network was gone, goes on where this one ended.
"""

from __future__ import annotations

import time

from appc.errors import NetworkError, StoreError
from appc.images.transport import Context
from appc.store.durable import WriteBack
from appc.store.intake import Space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appc.images.network import Network
    from appc.images.transport import Download, Transport
    from appc.store import downloads

_MOST_BREAKS = 20  # of one file
_BREAKS_IN_VAIN = 3  # one after the other, without anything having arrived
_ENOUGH = 64 << 10  # bytes that count as something
_PIECE = 1 << 20


class Changed(NetworkError):
    """The file at its source is no longer the one whose beginning has arrived."""


class Arrival:
    """The file at `url`, to be read from its beginning while it arrives; `held` keeps what did.

    `first` is the answer to a request that was made before, if there was one. `limit` is the most bytes that the file
    may have. `started` is called with its size (None: not known), and returns what is told how many bytes were read,
    and 0 at the end. `pause` is the seconds after the first break before it is tried again.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        network: Network,
        held: downloads.Download,
        *,
        first: Download | None = None,
        limit: int | None = None,
        started: Callable[[int | None], Callable[[int], None]] | None = None,
        pause: float = 0.5,
    ) -> None:
        self._transport = transport
        self._url = url
        self._network = network
        self._held = held
        self._limit = limit
        self._pause = pause
        self._breaks = 0
        self._in_vain = 0
        self._since = 0
        self._at = 0
        self._complete = False
        self._file = held.open()
        self._space = Space(held.path.rpartition("/")[0], url)
        self._now = first
        self.size: int | None = None
        self.validators: dict[str, str] = {}
        self.fresh = 0
        self._advance: Callable[[int], None] | None = None
        try:
            if first is None:
                self._now = self._open(held.size)
            self._accept()
        except BaseException:
            self.close()
            raise
        if started is not None:
            self._advance = started(self.size)

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, b"" at the end.

        Raises NetworkError when the file cannot be had to its end, or is larger than it should be; StoreError when
        there is no room for it.
        """
        stored = self._stored
        data = self._read_stored(min(size, stored - self._at)) if self._at < stored else self._read_new(size)
        self._at += len(data)
        if self._limit is not None and self._at > self._limit:
            raise NetworkError(f"is larger than the {self._limit} bytes it may have", self._url)
        if self._advance is not None:
            self._advance(len(data))
        return data

    def read_all(self) -> None:
        """Let all of the file arrive; it can be read from its beginning then."""
        while self.read(_PIECE):
            pass
        self._at = 0
        self._advance = None

    def close(self) -> None:
        """Let go of the connection; what has arrived stays."""
        if self._advance is not None:
            self._advance(0)
        self._file.close()
        if self._now is not None:
            self._now.close()

    def __enter__(self) -> Arrival:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------

    def _open(self, start: int) -> Download:
        context = Context(self._network, start, self._held.about, directory=self._held.directory)
        return self._transport.open(self._url, context)

    def _accept(self) -> None:
        """Begin with the first answer: it goes on where the download ended, or is a new one."""
        now = self._now
        assert now is not None
        if now.start > 0 and not _same(now.validators, self._held.about):
            now.close()
            context = Context(self._network, directory=self._held.directory)
            now = self._now = self._transport.open(self._url, context)
        if now.start == 0:
            self._held.begin(now.validators)
        self._stored = now.start
        self._disk = WriteBack(self._file.fileno(), now.start)
        self._take(now)
        if self.size is not None and self._limit is not None and self.size > self._limit:
            raise NetworkError(f"has {self.size} bytes, more than the {self._limit} it may have", self._url)
        self._space.take((self.size or 0) - self._stored)

    def _take(self, now: Download) -> None:
        self.size, self.fresh = now.size, now.fresh
        self.validators = now.validators or self.validators

    def _read_stored(self, size: int) -> bytes:
        try:
            self._file.seek(self._at)
            data = self._file.read(size)
        except OSError as error:
            raise StoreError(f"cannot be read again: {error.strerror}", self._url) from None
        if not data:
            raise StoreError("was taken away while it was read", self._held.path)
        return data

    def _read_new(self, size: int) -> bytes:
        while not self._complete:
            assert self._now is not None
            try:
                data = self._now.stream.read(size)
                if not data and self.size is not None and self._at < self.size:
                    raise NetworkError("ended before it was complete", self._url)
            except NetworkError as error:
                self._again(error)
                continue
            if not data:
                self._complete = True
                break
            if self.size is not None and self._at + len(data) > self.size:
                raise NetworkError(f"sends more than the {self.size} bytes it announced", self._url)
            self._keep(data)
            return data
        return b""

    def _keep(self, data: bytes) -> None:
        if self.size is None:
            self._space.take(len(data))
        try:
            self._file.seek(self._stored)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise StoreError(f"cannot be stored: {error.strerror}", self._url) from None
        self._stored += len(data)
        self._disk.wrote(len(data))

    def _again(self, error: NetworkError) -> None:
        """Ask for the rest after the stream broke, if that may help; else raise `error`."""
        while True:
            self._in_vain = 0 if self._at - self._since >= _ENOUGH else self._in_vain + 1
            self._since = self._at
            self._breaks += 1
            if not _strong(self.validators) or self._in_vain > _BREAKS_IN_VAIN or self._breaks > _MOST_BREAKS:
                raise error
            time.sleep(self._pause * 2**self._in_vain)
            assert self._now is not None
            self._now.close()
            try:
                now = self._open(self._at)
            except NetworkError as again:
                error = again
                continue
            self._now = now
            self._go_on(now)
            return

    def _go_on(self, now: Download) -> None:
        if not _same(now.validators, self.validators) or (self.size is not None and now.size not in (None, self.size)):
            raise Changed("was replaced by another file while it was fetched", self._url)
        left = self._at - now.start
        while left > 0:
            # It is the same file, from a server that knows no ranges.
            data = now.stream.read(min(left, _PIECE))
            if not data:
                raise Changed("became shorter while it was fetched", self._url)
            left -= len(data)


def _strong(validators: Mapping[str, str]) -> bool:
    """Whether two answers that have these both give the same bytes."""
    weak = validators.get("etag", "").startswith("W/")
    return not weak and ("etag" in validators or "settled" in validators)


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(one.get(name) == other.get(name) for name in ("etag", "modified"))
