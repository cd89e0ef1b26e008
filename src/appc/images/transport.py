"""How image files come from elsewhere: one transport for each scheme of a URL.

http, https, file and torrent+https are here. Others are plug-ins: an installed package names, in the group
`appc.transports` of its entry points, the scheme and what makes a `Transport` (a class, or a function, called without
arguments). Whatever comes is verified by its signature and its manifest, so a transport has to be neither trusted nor
careful.
"""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from appc.errors import AppcError, ImageNotFound, NetworkError
from appc.net.urls import scheme_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from appc.formats.compress import Source
    from appc.images.network import Network

    class Transport(Protocol):
        """Gets files from where URLs of one scheme lead."""

        def open(self, url: str, context: Context) -> Download:
            """Begin to fetch the file at `url`, as `context` asks.

            Raises ImageNotFound when there is no such file, NetworkError for what may be better another time.
            """


GROUP = "appc.transports"


class Context:
    """What is asked of a transport besides the URL.

    `start` bytes of the file are here already, and `validators` is what came with them: where the source still has
    the same file, the stream may begin there. `known` is what came with a file that is here as a whole: where the
    source still has that one, the answer is `Download.unchanged`. `network` has the HTTP client and the credentials.
    A transport that has to write files itself does so below `directory`, which this download has for itself and which
    is removed with it; "" when there is none.
    """

    __slots__ = ("directory", "known", "network", "start", "validators")

    def __init__(
        self,
        network: Network,
        start: int = 0,
        validators: Mapping[str, str] | None = None,
        known: Mapping[str, str] | None = None,
        directory: str = "",
    ) -> None:
        self.directory = directory
        self.network = network
        self.start = start
        self.validators = dict(validators or {})
        self.known = dict(known or {})


class Download:
    """A file that is about to be read from `stream`.

    `size` is that of the whole file in bytes, None when it is not known; `start` is where in it the stream begins: 0,
    or `Context.start`. `validators` are texts by which the source can tell later that its file is still this one; none
    if it cannot. `fresh` is the seconds for which asking again is needless. `unchanged` says that there is nothing to
    read because the file is the `known` one, `pending` that the source has not made it yet. Reading raises
    NetworkError when the stream breaks off.
    """

    def __init__(
        self,
        stream: Source,
        size: int | None = None,
        validators: Mapping[str, str] | None = None,
        *,
        start: int = 0,
        fresh: int = 0,
        unchanged: bool = False,
        pending: bool = False,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.stream = stream
        self.size = size
        self.validators = dict(validators or {})
        self.start = start
        self.fresh = fresh
        self.unchanged = unchanged
        self.pending = pending
        self.close = close

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def transport_for(url: str) -> Transport:
    """Return the transport for the scheme of `url`. Raises NetworkError when there is none."""
    scheme = scheme_of(url)
    if scheme in ("http", "https"):
        from appc.images.transport_http import HttpTransport

        return HttpTransport()
    if scheme == "file":
        return FileTransport()
    if scheme in ("torrent+https", "torrent+http"):
        from appc.images.transport_torrent import TorrentTransport

        return TorrentTransport()
    plugged = _plugin(scheme) if scheme else None
    if plugged is None:
        raise NetworkError(f"nothing installed here can fetch {scheme or 'such'} URLs", url)
    return plugged


def _plugin(scheme: str) -> Transport | None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP, name=scheme):
        try:
            made: Transport = entry.load()()
        except Exception as error:
            raise AppcError(f"the plug-in {entry.value} cannot be used: {error}", f"{scheme}:") from error
        return made
    return None


class FileTransport:
    """Files of this host; only the configuration may name them, pages of other hosts may not."""

    def open(self, url: str, context: Context) -> Download:
        from appc.images.fetch import open_file

        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise ImageNotFound("is a file of another host", url)
        stream = open_file(unquote(parts.path))
        status = os.fstat(stream.fileno())
        tag = {"etag": f'"{status.st_dev:x}-{status.st_ino:x}-{status.st_size}-{status.st_mtime_ns}"'}
        start = context.start if context.validators.get("etag") == tag["etag"] else 0
        stream.seek(start)
        unchanged = context.known.get("etag") == tag["etag"]
        return Download(stream, status.st_size, tag, start=start, unchanged=unchanged, close=stream.close)
