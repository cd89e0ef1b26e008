"""Fixtures of tests that talk to servers on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from capabilities import need
from net_kit import Authority, Names, Server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.lookup)
    return made


@pytest.fixture
def server(authority: Authority, names: Names) -> Iterator[Server]:
    """A server over TLS, whose certificate is good for these names."""
    hosts = ("localhost", "example.com", "mirror.example.com", "127.0.0.1")
    with Server(authority.certificate(*hosts)) as made:
        names["example.com"] = made
        names["mirror.example.com"] = made
        yield made


@pytest.fixture
def plain() -> Iterator[Server]:
    """A server that does not know TLS."""
    with Server() as made:
        yield made
