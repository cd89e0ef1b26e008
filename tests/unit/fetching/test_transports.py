"""Schemes that a plug-in brings: how it is found, what it is asked, and that it has to be trusted with nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from appc.errors import AppcError, NetworkError, SignatureError
from appc.images.transport import transport_for
from fetch_kit import NAME, Fetcher, Signer, aci, meta
from net_kit import Server

# A transport that knows files by their names, sends them piece by piece, and breaks off once.
PLUGIN = """
import io
from appc.errors import ImageNotFound, NetworkError
from appc.images.transport import Download

FILES = {}
ASKED = []
BREAKS = []


class Piece:
    def __init__(self, data, most):
        self.data, self.most = io.BytesIO(data), most

    def read(self, size, /):
        if self.most is not None and self.data.tell() >= self.most:
            raise NetworkError("the carrier pigeon was eaten")
        return self.data.read(min(size, 100))


class Pigeon:
    def open(self, url, context):
        name = url.rpartition("/")[2]
        ASKED.append((name, context.start))
        if name not in FILES:
            raise ImageNotFound("no pigeon knows it", url)
        start = context.start if context.validators.get("etag") == "1" else 0
        most = BREAKS.pop() if BREAKS and name.endswith(".aci") else None
        return Download(Piece(FILES[name][start:], most), len(FILES[name]), {"etag": "1"}, start=start)
"""


@pytest.fixture
def pigeon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The plug-in, installed."""
    packages = tmp_path / "packages"
    info = packages / "pigeon-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "pigeon_plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[appc.transports]\npigeon = pigeon_plugin:Pigeon\nbroken = pigeon_plugin:Missing\n"
    )
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    import pigeon_plugin  # type: ignore[import-not-found]

    yield pigeon_plugin
    del sys.modules["pigeon_plugin"]


def test_a_template_may_name_another_scheme(
    fetcher: Fetcher, server: Server, signer: Signer, pigeon: object, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    files, asked, breaks = pigeon.FILES, pigeon.ASKED, pigeon.BREAKS  # type: ignore[attr-defined]
    files["app-1.0.0.aci"], files["app-1.0.0.aci.asc"] = data, signer.sign(data)
    breaks.append(200)
    server.pages["/app"] = meta("example.com pigeon://loft/{name}-{version}.{ext}")
    found = fetcher.fetch(f"{NAME}:1.0.0")
    assert (found.signer, found.meta["source"]) == (signer.fingerprint, "pigeon://loft/example.com/app-1.0.0.aci")
    assert asked == [("app-1.0.0.aci.asc", 0), ("app-1.0.0.aci", 0), ("app-1.0.0.aci", 200)]


def test_what_a_plug_in_brings_is_verified_all_the_same(
    fetcher: Fetcher, server: Server, signer: Signer, pigeon: object, tmp_path: Path
) -> None:
    files = pigeon.FILES  # type: ignore[attr-defined]
    files["app-1.0.0.aci"], files["app-1.0.0.aci.asc"] = aci(tmp_path), signer.sign(b"something else")
    server.pages["/app"] = meta("example.com pigeon://loft/{name}-{version}.{ext}")
    with pytest.raises(SignatureError):
        fetcher.fetch(f"{NAME}:1.0.0")
    assert fetcher.left() == []


def test_users_may_name_such_a_url_too(fetcher: Fetcher, signer: Signer, pigeon: object, tmp_path: Path) -> None:
    data, files = aci(tmp_path), pigeon.FILES  # type: ignore[attr-defined]
    files["app.aci"], files["app.aci.asc"] = data, signer.sign(data)
    assert fetcher.fetch("pigeon://loft/app.aci").signer == signer.fingerprint


def test_a_scheme_that_nobody_brings(fetcher: Fetcher, pigeon: object) -> None:
    with pytest.raises(NetworkError, match="nothing installed here can fetch hdfs URLs"):
        fetcher.fetch("hdfs://x/app.aci")


def test_a_plug_in_that_is_broken_is_named(pigeon: object) -> None:
    with pytest.raises(AppcError, match=r"broken:: the plug-in pigeon_plugin:Missing cannot be used"):
        transport_for("broken://x/y")
