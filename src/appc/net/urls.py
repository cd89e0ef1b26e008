"""What is said of a URL: whom it leads to, and how it is shown."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a URL: what credentials belong to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def host_of(url: str) -> str:
    """Return the host of a URL, with its port where it gives one, as configuration files and messages name it."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def shown(url: str) -> str:
    """Return a URL for messages: without a password, and without a query, which may hold a signature."""
    try:
        parts = urlsplit(url)
        query = "?…" if parts.query and parts.query != "ac-discovery=1" else f"?{parts.query}" if parts.query else ""
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
    except ValueError:
        return repr(url)
