"""Which proxy leads to which host, as the environment says (http_proxy, https_proxy, all_proxy, no_proxy)."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3

from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


class Proxies:
    """The proxies of `mapping` ("http", "https", "all" to URLs, "no" to hosts), or (None) of the environment."""

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self._mapping = dict(getproxies_environment() if mapping is None else mapping)

    def for_url(self, url: str) -> str:
        """Return the URL of the proxy that leads to `url`, "" when it is reached directly."""
        parts = urlsplit(url)
        found = self._mapping.get(parts.scheme) or self._mapping.get("all") or ""
        if not found or proxy_bypass_environment(parts.netloc, self._mapping):
            return ""
        return found if "://" in found else f"http://{found}"


def manager(proxy: str, context: ssl.SSLContext) -> urllib3.ProxyManager:
    """Return connections through `proxy`, an http or https URL that may hold a user and password.

    Raises UsageError for a proxy of another kind.
    """
    try:
        parts = urlsplit(proxy)
        user, password, _ = parts.username, parts.password, parts.port
    except ValueError:
        raise UsageError("is not a URL", "the proxy in the environment") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"is a {parts.scheme} proxy; only http and https proxies can be used", "the environment")
    headers = None
    if user is not None:
        headers = urllib3.make_headers(proxy_basic_auth=f"{unquote(user)}:{unquote(password or '')}")
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(
        plain, num_pools=32, maxsize=8, ssl_context=context, proxy_ssl_context=context, proxy_headers=headers
    )
