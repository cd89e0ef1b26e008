"""Public keys from elsewhere: where discovery says they are. Whether to trust them is for people to say."""

from __future__ import annotations

from appc.errors import NetworkError
from appc.net.urls import scheme_of
from appc.trust.packets import MAX_KEYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.images.network import Network


def discovered_keys(network: Network, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield (URL, content) of each file of keys that discovery finds for images called `prefix` or below.

    Raises ImageNotFound when no page names any, NetworkError and HttpStatus when one cannot be had.
    """
    for url in network.discovery.keys(prefix).keys:
        yield url, fetched_key(network, url)


def fetched_key(network: Network, url: str) -> bytes:
    """Return the file of keys at `url`. Raises NetworkError, HttpStatus, UsageError."""
    if scheme_of(url) not in ("http", "https"):
        raise NetworkError("is no URL that keys can be fetched from", url)
    with network.client.request("GET", url) as answer:
        return answer.check().read(MAX_KEYS)
