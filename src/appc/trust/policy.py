"""Which keys and signatures are good enough, and why others are not."""

from __future__ import annotations

import time

from appc.trust.engines import load_sequoia
from appc.trust.packets import Certificate, Key, Signature

MINIMUM_BITS = 2048
WEAK_HASHES = ("MD5", "SHA1", "RIPEMD160")


def signature_fault(signature: Signature) -> str:
    """Say why a signature is not accepted whoever made it; "" when nothing speaks against it."""
    if signature.hash in WEAK_HASHES:
        return f"the signature uses {signature.hash}, which can be forged"
    if signature.expires_after and signature.created + signature.expires_after <= time.time():
        return f"the signature expired on {_day(signature.created + signature.expires_after)}"
    return ""


def certificate_fault(certificate: Certificate, key: Key | None = None) -> str:
    """Say why what `key` (default: the primary key) signs is not accepted; "" when nothing speaks against it."""
    for part in (certificate.primary, key or certificate.primary):
        fault = _key_fault(part)
        if fault:
            return fault
    hashes = certificate.self_hashes
    if hashes and hashes.issubset(WEAK_HASHES):
        return f"the key's own signatures use {', '.join(sorted(hashes))}, which can be forged"
    return _proven_fault(certificate)


def _key_fault(key: Key) -> str:
    if key.revoked:
        return "the key was revoked by its owner"
    if key.expires and key.expires <= time.time():
        return f"the key expired on {_day(key.expires)}"
    if key.bits and key.bits < MINIMUM_BITS:
        return f"the key is too short ({key.algorithm}, {key.bits} bits, less than {MINIMUM_BITS})"
    return ""


def _proven_fault(certificate: Certificate) -> str:
    """What a library that verifies the key's own signatures finds, where it is installed."""
    sequoia = load_sequoia()
    if sequoia is None:
        return ""
    try:
        proven = sequoia.Cert.from_bytes(certificate.data)
        if proven.is_revoked:
            return "the key was revoked by its owner"
        expiration = proven.expiration
    except RuntimeError as error:
        return f"the key is not usable ({str(error).splitlines()[0].rstrip('.')})"
    if expiration is not None and expiration.timestamp() <= time.time():
        return f"the key expired on {_day(int(expiration.timestamp()))}"
    return ""


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
