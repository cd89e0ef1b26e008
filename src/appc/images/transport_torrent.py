"""Fetching files by BitTorrent, where the optional package libtorrent is installed.

`torrent+https://HOST/PATH` is the file that the torrent `https://HOST/PATH.torrent` describes; without such a torrent
(as for signatures, which are not worth one) it is the one at `https://HOST/PATH`. Peers are those that the torrent's
trackers and web seeds name: nobody is looked for by other means, nobody can connect to us, and sharing ends with the
transfer. Every piece is checked against the torrent; whether the whole is the right image says, as ever, its signature.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from urllib.parse import urlsplit

from appc.errors import HttpStatus, NetworkError
from appc.images.transport import Context, Download
from appc.images.transport_http import HttpTransport
from appc.net.urls import shown
from appc.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREFIX = "torrent+"
MAX_TORRENT = 8 << 20  # bytes of a torrent
_MAX_PIECE = 32 << 20  # bytes of one of its pieces, of which one is held in memory
_PATIENCE = 4  # times the longest silence of a server: finding peers takes longer than asking a server
_LOOK = 0.2  # seconds between two looks at the transfer
_SETTINGS = {
    "user_agent": f"appc/{VERSION}",
    "listen_interfaces": "0.0.0.0:0,[::]:0",
    "enable_incoming_tcp": False,
    "enable_incoming_utp": False,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "stop_tracker_timeout": 1,
}


class TorrentTransport:
    """The transport for torrent+https, and for torrent+http where that is allowed."""

    def open(self, url: str, context: Context) -> Download:
        """See `Transport.open`."""
        plain = url.removeprefix(PREFIX)
        torrent = _torrent(plain, context)
        if torrent is None:
            return HttpTransport().open(plain, context)
        parameters = _parsed(torrent, shown(url))
        tag = {"etag": f'"{parameters.info_hashes.get_best()}"'}
        size = parameters.ti.total_size()
        if context.known.get("etag") == tag["etag"]:
            return Download(_Nothing(), unchanged=True, validators=tag)
        start = context.start if context.validators.get("etag") == tag["etag"] and context.start < size else 0
        patience = _PATIENCE * context.network.settings.net_timeout
        transfer = _Transfer(parameters, start, shown(url), patience, context.directory)
        return Download(transfer, size, tag, start=start, close=transfer.close)


def _torrent(url: str, context: Context) -> bytes | None:
    parts = urlsplit(url)
    try:
        with context.network.client.request("GET", parts._replace(path=f"{parts.path}.torrent").geturl()) as answer:
            return answer.check().read(MAX_TORRENT)
    except HttpStatus as error:
        if error.status in (404, 410):
            return None
        raise


def _parsed(data: bytes, where: str) -> Any:
    """What libtorrent makes of a torrent of one file. Raises NetworkError."""
    libtorrent = _library(where)
    try:
        parameters = libtorrent.load_torrent_buffer(data)
    except RuntimeError as error:
        raise NetworkError(f"its torrent cannot be used: {error}", where) from None
    if parameters.ti is None or parameters.ti.num_files() != 1:
        raise NetworkError("its torrent is not one of a single file", where)
    if parameters.ti.piece_length() > _MAX_PIECE:
        raise NetworkError(f"its torrent has pieces of more than {_MAX_PIECE >> 20} MiB", where)
    return parameters


def _library(where: str) -> Any:
    try:
        import libtorrent
    except ImportError:
        hint = "pip install 'appc[bittorrent]'"
        raise NetworkError("is to be fetched by BitTorrent, for which libtorrent is missing", where, hint) from None
    return libtorrent


def _empty(directory: str) -> str:
    """Make a new directory, in the place of one that was left by a process that was killed."""
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory, 0o700)
    return directory


class _Transfer:
    """The file of a torrent from byte `start` on; `patience` is the seconds in which something has to arrive."""

    def __init__(self, parameters: Any, start: int, where: str, patience: float, directory: str) -> None:
        self._library = _library(where)
        self._where = where
        self._patience = patience
        self._size = parameters.ti.total_size()
        self._piece = parameters.ti.piece_length()
        self._at = start
        self._rest = b""
        self._directory = _empty(f"{directory}/torrent") if directory else tempfile.mkdtemp(prefix="appc-torrent-")
        parameters.save_path = self._directory
        parameters.flags |= self._library.torrent_flags.sequential_download
        parameters.piece_priorities = [0] * (start // self._piece)
        categories = self._library.alert.category_t
        mask = categories.status_notification | categories.storage_notification | categories.error_notification
        self._session = self._library.session({**_SETTINGS, "alert_mask": mask})
        self._handle = self._session.add_torrent(parameters)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end. Raises NetworkError when nothing arrives for too long."""
        if not self._rest and self._at < self._size:
            self._rest = self._next_piece()[self._at % self._piece :]
        data, self._rest = self._rest[:size], self._rest[size:]
        self._at += len(data)
        return data

    def close(self) -> None:
        """Leave the others, and take away what lies about."""
        self._session.pause()
        self._session.remove_torrent(self._handle, self._session.delete_files)
        del self._session
        shutil.rmtree(self._directory, ignore_errors=True)

    def _next_piece(self) -> bytes:
        number = self._at // self._piece
        before, since, asked = -1, time.monotonic(), False
        while True:
            if not asked and self._handle.have_piece(number):
                self._handle.read_piece(number)
                asked = True
            self._session.wait_for_alert(int(_LOOK * 1000))
            for alert in self._session.pop_alerts():
                if isinstance(alert, self._library.read_piece_alert) and alert.piece == number:
                    return bytes(alert.buffer or b"") or self._fail("its pieces cannot be read again")
                if isinstance(alert, self._library.torrent_error_alert | self._library.file_error_alert):
                    self._fail(alert.message())
            status = self._handle.status()
            if status.total_payload_download != before:
                before, since = status.total_payload_download, time.monotonic()
            elif time.monotonic() - since > self._patience:
                self._fail(f"nobody sends it: {status.num_peers} peers, nothing for {self._patience:.0f} s")

    def _fail(self, what: str) -> bytes:
        raise NetworkError(what, self._where)


class _Nothing:
    def read(self, size: int, /) -> bytes:
        return b""
