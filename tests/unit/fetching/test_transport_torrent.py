"""Images by BitTorrent: from a peer that a tracker names, whole, verified, and gone on with."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appc.errors import NetworkError, SignatureError
from appc.images import transport_torrent
from appc.store.downloads import download
from capabilities import need
from fetch_kit import NAME, Fetcher, Signer, aci, meta
from net_kit import Request, Server

TEMPLATE = "example.com torrent+https://example.com/{name}-{version}.{ext}"
PATH = "/example.com/app-1.0.0.aci"
SOURCE = f"torrent+https://example.com{PATH}"
PIECE = 16 << 10
SETTINGS = {
    "listen_interfaces": "127.0.0.1:0",
    **{f"enable_{name}": False for name in ("dht", "lsd", "upnp", "natpmp")},
}


class Swarm:
    """A tracker, and one peer that has the file."""

    def __init__(self, directory: Path, data: bytes, tracker: Server) -> None:
        import libtorrent

        directory.mkdir()
        (directory / "app.aci").write_bytes(data)
        with warnings.catch_warnings(action="ignore"):
            files = libtorrent.file_storage()
            libtorrent.add_files(files, str(directory / "app.aci"))
            made = libtorrent.create_torrent(files, PIECE)
        made.add_tracker(f"http://127.0.0.1:{tracker.port}/announce")
        libtorrent.set_piece_hashes(made, str(directory))
        self.torrent: bytes = libtorrent.bencode(made.generate())
        parameters = libtorrent.load_torrent_buffer(self.torrent)
        parameters.save_path = str(directory)
        parameters.flags |= libtorrent.torrent_flags.seed_mode
        parameters.trackers = []
        self._session = libtorrent.session(SETTINGS)
        self.handle = self._session.add_torrent(parameters)
        tracker.pages = _Tracker(self._session)

    @property
    def sent(self) -> int:
        count: int = self.handle.status().total_payload_upload
        return count

    def close(self) -> None:
        self._session.remove_torrent(self.handle)


class _Tracker(dict[str, Any]):
    """Tells whoever asks where the peer is."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session

    def get(self, key: str, default: object = None) -> Any:
        return self._answer

    def _answer(self, request: Request) -> None:
        port: int = self._session.listen_port()
        request.send(200, {}, b"d8:intervali1800e5:peers6:\x7f\0\0\1" + port.to_bytes(2, "big") + b"e")


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    need("libtorrent")
    return aci(tmp_path, files={"bin/app": os.urandom(20 * PIECE)})


@pytest.fixture
def swarm(image: bytes, tmp_path: Path, plain: Server, server: Server, signer: Signer) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "seed", image, plain)
    server.pages["/app?ac-discovery=1"] = meta(TEMPLATE)
    server.pages[f"{PATH}.torrent"] = made.torrent
    server.pages[f"{PATH}.asc"] = signer.sign(image)
    yield made
    made.close()


def test_an_image_comes_from_peers_and_its_signature_from_the_server(
    swarm: Swarm, fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    found = fetcher.fetch(f"{NAME}:1.0.0")
    assert (found.signer, found.meta["source"]) == (signer.fingerprint, SOURCE)
    assert (Path(found.path) / "original").read_bytes() == image
    assert PATH not in server.paths()
    assert fetcher.fetch(f"{NAME}:1.0.0", pull="update").id == found.id
    assert server.paths()[-1] == f"{PATH}.torrent"


def test_what_is_here_already_is_not_asked_for(swarm: Swarm, fetcher: Fetcher, image: bytes) -> None:
    import libtorrent

    tag = str(libtorrent.load_torrent_buffer(swarm.torrent).info_hashes.get_best())
    with download(fetcher.store.root, SOURCE) as held, held.open() as file:
        held.begin({"etag": f'"{tag}"'})
        file.write(image[: 10 * PIECE + 5])
    fetcher.fetch(f"{NAME}:1.0.0")
    assert swarm.sent < len(image) - 9 * PIECE


def test_nothing_is_left_beside_the_image(swarm: Swarm, fetcher: Fetcher) -> None:
    """Also not of a process that was killed before."""
    with download(fetcher.store.root, SOURCE) as held, held.open() as file:
        held.begin({"etag": '"another"'})
        file.write(b"x")
        stale = Path(held.directory, "torrent", "old")
        stale.mkdir(parents=True)
    found = fetcher.fetch(f"{NAME}:1.0.0")
    assert not stale.exists()
    fetcher.store.remove(found)
    fetcher.store.gc()
    assert fetcher.left() == []


def test_the_signature_has_the_last_word(swarm: Swarm, fetcher: Fetcher, server: Server, signer: Signer) -> None:
    server.pages[f"{PATH}.asc"] = signer.sign(b"another image")
    with pytest.raises(SignatureError, match="does not match"):
        fetcher.fetch(f"{NAME}:1.0.0")
    assert fetcher.left() == []


def test_without_a_torrent_the_server_has_the_file(
    fetcher: Fetcher, server: Server, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    server.pages |= {"/app?ac-discovery=1": meta(TEMPLATE), PATH: data, f"{PATH}.asc": signer.sign(data)}
    assert fetcher.fetch(f"{NAME}:1.0.0").signer == signer.fingerprint


def test_nobody_sends_it(swarm: Swarm, fetcher: Fetcher, plain: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.pages = {}
    monkeypatch.setattr(transport_torrent, "_PATIENCE", 0)
    monkeypatch.setattr("appc.images.arrival._BREAKS_IN_VAIN", 0)
    with pytest.raises(NetworkError, match="nobody sends it: 0 peers"):
        fetcher.fetch(f"{NAME}:1.0.0")


@pytest.mark.parametrize("torrent", [b"", b"garbage", b"d4:infod5:filesleee", b"d4:info" * 100_000])
def test_what_is_no_torrent(torrent: bytes, swarm: Swarm, fetcher: Fetcher, server: Server) -> None:
    server.pages[f"{PATH}.torrent"] = torrent
    with pytest.raises(NetworkError, match="its torrent"):
        fetcher.fetch(f"{NAME}:1.0.0")


def test_without_the_library_that_is_said(
    fetcher: Fetcher, server: Server, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages |= {"/app?ac-discovery=1": meta(TEMPLATE), f"{PATH}.asc": signer.sign(aci(tmp_path))}
    server.pages[f"{PATH}.torrent"] = b"torrent"
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(NetworkError, match="libtorrent is missing") as raised:
        fetcher.fetch(f"{NAME}:1.0.0")
    assert "bittorrent" in raised.value.hint
