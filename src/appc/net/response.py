"""An answer of a server, and its body, within limits."""

from __future__ import annotations

import http.client
import time
import zlib

from urllib3.exceptions import HTTPError

from appc.errors import HttpStatus, NetworkError
from appc.net.dates import parse_date
from appc.net.reasons import explain
from appc.net.urls import host_of, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

    from appc.net.watch import Watch

PIECE = 128 << 10
_SHORT = 16 << 10  # bytes that are sooner read than a new connection is made


class Response:
    """An answer: `status`, `headers` (lower-case names or any other), the final `url`, and `steps`, the redirects
    before it as (status, url). Close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        raw: urllib3.BaseHTTPResponse,
        url: str,
        steps: tuple[tuple[int, str], ...],
        watch: Watch,
        connect: float,
        read: float,
    ) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.url = url
        self.steps = steps
        self._raw = raw
        self._watch = watch
        self._times = connect, read

    @property
    def length(self) -> int | None:
        """The length of the body in bytes as it was announced, None when it was not."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None

    @property
    def wait(self) -> float:
        """The seconds after which the server wants to be asked again (Retry-After); 0 when it does not say."""
        text = self.headers.get("retry-after", "").strip()[:100]
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return float(text)
        date = parse_date(text)
        return max(0.0, date - time.time()) if date is not None else 0.0

    def check(self) -> Response:
        """Return this answer if its status is 2xx; raise HttpStatus for others."""
        if 200 <= self.status < 300:
            return self
        hint = ""
        if self.status == 401:
            hint = f"credentials for {host_of(self.url)} go into auth.d of the configuration; see docs/fetching.md"
        elif self.wait and self.status in (429, 503):
            hint = f"it asks to come back in {self.wait:.0f} s"
        said = http.client.responses.get(self.status, "")
        raise HttpStatus(self.status, f"the server says {self.status} {said}".rstrip(), shown(self.url), hint)

    def read(self, limit: int) -> bytes:
        """Return the whole body, decoded if it is compressed; NetworkError when it has more than `limit` bytes."""
        if (self.length or 0) > limit:
            raise NetworkError(f"is larger than {limit} bytes", shown(self.url))
        pieces, size = [], 0
        while piece := self._read(min(PIECE, limit + 1 - size)):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise NetworkError(f"is larger than {limit} bytes", shown(self.url))
        return self._decoded(b"".join(pieces), limit)

    def stream(self) -> Stream:
        """Return the body as a file to read from, as it is sent; it may take its time, but must not stall."""
        self._watch.stream()
        return Stream(self)

    def close(self) -> None:
        """Let go of the connection; it is kept for the next request if the body was read to its end, or is short."""
        if not self._raw.closed and (self.length or _SHORT) < _SHORT:
            self._watch.hurry()
            try:
                while self._read(_SHORT):
                    pass
            except NetworkError:
                pass  # it is closed then
        if self._raw.closed:
            self._raw.release_conn()
        else:
            self._raw.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, size: int) -> bytes:
        try:
            data = self._raw.read(size)
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise explain(error, shown(self.url), host_of(self.url), *self._times) from error
        self._watch.delivered += len(data)
        return data

    def _decoded(self, data: bytes, limit: int) -> bytes:
        """Nothing compressed was asked for, but object stores send what was uploaded, whatever one asks for."""
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("identity", "") or not data:
            return data
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise NetworkError(f"is encoded as {coding[:20]!r}, which was not asked for", shown(self.url))
        unpack = zlib.decompressobj(15 + 32)
        try:
            plain = unpack.decompress(data, limit + 1)
        except zlib.error:
            raise NetworkError(f"is damaged, or not {coding} as it says", shown(self.url)) from None
        if len(plain) > limit:
            raise NetworkError(f"is larger than {limit} bytes", shown(self.url))
        if not unpack.eof:
            raise NetworkError("its compressed content ends early", shown(self.url))
        return plain


class Stream:
    """The body of a response, read piece by piece."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def read(self, size: int = PIECE) -> bytes:
        """Return up to `size` bytes, b"" at the end; NetworkError when the body ends early, stalls or is too slow."""
        return self._response._read(min(size, PIECE))
