"""`appc trust list`: which keys are accepted for which images."""

from __future__ import annotations

import time

from appc.cli.options import LISTING, Args, Verb
from appc.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context
    from appc.cli.output import Column
    from appc.trust.keystore import TrustedKey

VERB = Verb(
    "trust list",
    "list the keys that may sign images",
    description=(
        "PREFIX is what the key is trusted for: that image and all below it, or * for every image. A key whose STATE "
        "is not ok is in the list but not accepted."
    ),
    options=LISTING,
)


def run(args: Args, context: Context) -> int:
    """Print the trusted keys."""
    from appc.trust.keystore import Keystore

    records = [_record(key) for key in Keystore(context.config).trusted()]
    columns: list[Column] = [
        ("PREFIX", lambda key: key["prefix"] or "*"),
        ("FINGERPRINT", lambda key: key["fingerprint"] if context.full else key["fingerprint"][-16:]),
        ("USER", lambda key: key["users"][0] if key["users"] else ""),
        ("EXPIRES", lambda key: (key["expires"] or "")[:10]),
        ("STATE", "state"),
    ]
    if context.full:
        columns.append(("FILE", "file"))
    listing(context, records, columns)
    return 0


def _record(key: TrustedKey) -> dict[str, Any]:
    from appc.trust.policy import certificate_fault

    expires = key.certificate.primary.expires
    return {
        "prefix": key.prefix,
        "fingerprint": key.fingerprint,
        "users": key.certificate.user_ids,
        "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)) if expires else None,
        "state": certificate_fault(key.certificate) or "ok",
        "file": key.path,
    }
