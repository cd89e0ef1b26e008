from __future__ import annotations

from net_fixtures import authority, names, no_proxies, plain, server

__all__ = ("authority", "names", "no_proxies", "plain", "server")
