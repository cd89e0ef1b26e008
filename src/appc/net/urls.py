"""What is said of a URL: whom it leads to, and how it is shown."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from appc.errors import NetworkError


def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a URL: what credentials belong to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, in lower case as it is acted upon. Raises NetworkError for what is no URL."""
    try:
        return origin(url)[0]
    except ValueError:
        raise NetworkError("is not a URL", repr(url[:200])) from None


def joined(base: str, target: str) -> str:
    """Return the URL that `target`, which came from `base`, means there. Raises NetworkError for what is none."""
    try:
        url = urljoin(base, target)
        origin(url)
    except ValueError:
        raise NetworkError(f"names what is not a URL: {target[:200]!r}", shown(base)) from None
    return url


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
