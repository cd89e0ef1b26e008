"""Requests to object stores that want to be signed: AWS Signature Version 4, in header fields.

Only what fetching needs: the host, the time and the path are signed, bodies are not.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SERVICE = "s3"
_DEFAULT_REGION = "us-east-1"
_NOTHING = hashlib.sha256(b"").hexdigest()
_SIGNED = "host;x-amz-content-sha256;x-amz-date"


def signed(
    method: str, url: str, key_id: str, secret: str, region: str = "", now: float | None = None
) -> dict[str, str]:
    """Return the header fields that authenticate a request; `now` is seconds since 1970, by default the clock's.

    Without a `region` it is what the host of the URL says, else us-east-1.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(":443")
    region = region or region_of(parts.hostname or "")
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    payload = _NOTHING if method in ("GET", "HEAD", "DELETE") else "UNSIGNED-PAYLOAD"
    # What is signed is what the server makes of the URL: decoded, and encoded again in one certain way.
    pairs = sorted((_encoded(key), _encoded(value)) for key, value in parse_qsl(parts.query, keep_blank_values=True))
    request = (
        method,
        quote(unquote(parts.path or "/"), safe="/~"),
        "&".join(f"{key}={value}" for key, value in pairs),
        f"host:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{at}\n",
        _SIGNED,
        payload,
    )
    scope = f"{at[:8]}/{region}/{SERVICE}/aws4_request"
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}".encode(), "sha256").hex()
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={_SIGNED},Signature={signature}",
        "x-amz-content-sha256": payload,
        "x-amz-date": at,
    }


def region_of(host: str) -> str:
    """Return the region that a host of amazonaws.com names: BUCKET.s3.REGION…, or s3-REGION as it was once."""
    labels = [label for label in host.lower().partition(".amazonaws.")[0].split(".") if label != "dualstack"]
    if ".amazonaws." not in host.lower() or labels[-1] in (SERVICE, "s3-external-1"):
        return _DEFAULT_REGION
    if labels[-1].startswith("s3-"):
        return labels[-1].removeprefix("s3-")
    if SERVICE in labels[-2:-1]:
        return labels[-1]
    return _DEFAULT_REGION


def _encoded(text: str) -> str:
    return quote(text, safe="~")
