"""Fetching in tests: keys that sign, a store with its configuration, and pages for the server to show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import image_kit
from appc.config import Settings
from appc.images.fetch import resolve
from appc.images.network import Network
from appc.store.images import ImageStore, StoredImage
from appc.trust.keystore import Keystore
from net_kit import Authority, Server

pysequoia = pytest.importorskip("pysequoia")

NAME = "example.com/app"
TEMPLATE = "https://example.com/{name}-{version}-{os}-{arch}.{ext}"


class Signer:
    """A key, and signatures made with it."""

    def __init__(self, user: str = "me <me@example.com>") -> None:
        self.secret = pysequoia.Tsk.generate(user_id=user)
        self.public = bytes(self.secret.extract_certificate())
        self.fingerprint: str = self.secret.extract_certificate().fingerprint

    def sign(self, data: bytes) -> bytes:
        made: bytes = pysequoia.sign(self.secret.signer(), data, mode=pysequoia.SignatureMode.DETACHED)
        return made


class Fetcher:
    """A store, its configuration, and the network as one command sees it."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.config = (str(directory / "config"),)
        self.store = ImageStore(str(directory / "data"))
        self.settings = Settings()
        self.settings.net_ca_file = str(authority.file)
        self.warnings: list[str] = []

    def trust(self, signer: Signer, prefix: str) -> None:
        Keystore(self.config).add(signer.public, prefix)

    def fetch(
        self,
        reference: str,
        *,
        pull: str = "new",
        insecure: Sequence[str] = (),
        offline: bool = False,
        **options: object,
    ) -> StoredImage:
        network = Network(self.config, self.settings, insecure, offline=offline)
        return resolve(
            self.store,
            reference,
            config=self.config,
            pull=pull,
            insecure=insecure,
            network=lambda: network,
            warnings=self.warnings,
            **options,  # type: ignore[arg-type]
        )

    def left(self) -> list[str]:
        """What a refusal left in the store: nothing but locks, it should be."""
        listing = image_kit.listing(Path(self.store.root))
        return [path for path in listing if path.count("/") > 1 and not path.startswith("store/locks/")]


def aci(directory: Path, name: str = NAME, version: str = "1.0.0", **fields: object) -> bytes:
    """The bytes of an image file for linux and amd64, unless `labels` say otherwise."""
    labels = fields.pop("labels", (("os", "linux"), ("arch", "amd64")))
    files = fields.pop("files", {"bin/app": "x" * 1000})
    path = directory / "kit.aci"
    image_kit.aci(path, files, name, version, labels=labels, **fields)  # type: ignore[arg-type]
    return path.read_bytes()


def meta(content: str, kind: str = "ac-discovery") -> bytes:
    return f'<!DOCTYPE html><meta name="{kind}" content="{content}">'.encode()


def publish(
    server: Server, signer: Signer | None, data: bytes, path: str = "/example.com/app-1.0.0-linux-amd64"
) -> None:
    """Let the server show a page for example.com, and the image with its signature."""
    server.pages["/app?ac-discovery=1"] = meta(f"example.com {TEMPLATE}")
    server.pages[f"{path}.aci"] = data
    if signer is not None:
        server.pages[f"{path}.aci.asc"] = signer.sign(data)
