from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fetch_kit import Fetcher, Signer
from net_fixtures import authority, names, no_proxies, plain, server
from net_kit import Authority

__all__ = ("authority", "names", "no_proxies", "plain", "server")


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def fetcher(tmp_path: Path, authority: Authority, signer: Signer) -> Iterator[Fetcher]:
    """A store that trusts the signer for example.com, and the server's authority."""
    made = Fetcher(tmp_path, authority)
    made.trust(signer, "example.com")
    return made
