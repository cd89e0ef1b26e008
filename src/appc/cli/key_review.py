"""Showing keys to people, who compare fingerprints and decide."""

from __future__ import annotations

import sys
import time

from appc.cli.context import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.trust.packets import Certificate


def possible() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


def confirmed(certificate: Certificate, prefix: str, source: str = "") -> bool:
    """Show a key, which came from `source`, and ask whether it is to be trusted for `prefix`."""
    key = certificate.primary
    bits = f" {key.bits}" if key.bits else ""
    made = time.strftime("%Y-%m-%d", time.gmtime(key.created))
    if source:
        sys.stderr.write(f"{printable(source)}\n")
    sys.stderr.write(f"{grouped(key.fingerprint)}\n  {key.algorithm}{bits}, made {made}\n")
    for user_id in certificate.user_ids:
        sys.stderr.write(f"  {printable(user_id)}\n")
    return asked(f"Trust for {prefix or 'every image'}?")


def asked(question: str) -> bool:
    """Ask something; anything but a yes is a no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def grouped(fingerprint: str) -> str:
    """A fingerprint in groups of four digits, as people compare them."""
    return " ".join(fingerprint[start : start + 4].upper() for start in range(0, len(fingerprint), 4))
