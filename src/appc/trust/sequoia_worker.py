"""The program that verifies a large file with pysequoia: PACKAGES CERTIFICATE SIGNATURE, the file on standard input.

Run by engines.py as a script, so it imports nothing of appc.
"""

from __future__ import annotations

import sys

INVALID = 3  # exit status when the signature does not hold
UNREADABLE = 4  # exit status when the signature or the certificate is not understood


def main(packages: str, certificate_file: str, signature_file: str) -> int:
    """Verify standard input; return 0 when the signature holds, else INVALID or UNREADABLE."""
    sys.path.insert(0, packages)
    import pysequoia

    try:
        certificate = pysequoia.Cert.from_file(certificate_file)
        signature = pysequoia.Sig.from_file(signature_file)
    except RuntimeError:
        return UNREADABLE
    try:
        pysequoia.verify(file="/dev/fd/0", store=lambda _: [certificate], signature=signature)
    except RuntimeError:
        return INVALID
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
