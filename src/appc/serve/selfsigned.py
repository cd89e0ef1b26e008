"""A certificate nobody vouches for, to try things out with or to hand out to a few machines."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
import time

from appc.errors import HostError

DAYS = 825
_SPARE_DAYS = 30


def certificate(directory: str, names: tuple[str, ...]) -> tuple[str, str]:
    """Return the paths of a certificate for `names` (host names and addresses) and its key, kept in `directory`.

    They are made when they are not there, or for other names, or about to expire. Raises HostError.
    """
    stem = os.path.join(directory, "self-signed")
    paths = f"{stem}.crt", f"{stem}.key"
    wanted = ",".join(sorted(names))
    try:
        with open(f"{stem}.names", encoding="utf-8") as file:
            made = min(os.stat(path).st_mtime for path in paths)
            if file.read() == wanted and time.time() < made + (DAYS - _SPARE_DAYS) * 86400:
                return paths
    except OSError:
        pass
    if shutil.which("openssl") is None:
        raise HostError("openssl is not installed", "--tls-self-signed", "install it, or give --tls-cert and --tls-key")
    try:
        with tempfile.TemporaryDirectory(dir=directory) as fresh:
            _make(fresh, names)
            os.rename(f"{fresh}/key", paths[1])
            os.rename(f"{fresh}/crt", paths[0])
        with open(f"{stem}.names", "w", encoding="utf-8") as file:
            file.write(wanted)
    except OSError as error:
        raise HostError(f"cannot be written: {error.strerror}", stem) from error
    return paths


def _make(directory: str, names: tuple[str, ...]) -> None:
    alternatives = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"]
    words += ["-days", str(DAYS), "-subj", "/CN=appc serve", "-addext", f"subjectAltName={alternatives}"]
    words += ["-keyout", f"{directory}/key", "-out", f"{directory}/crt"]
    # openssl makes the key readable by its owner alone.
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise HostError(f"openssl made no certificate: {said[-1] if said else 'no reason given'}", "--tls-self-signed")


def _is_address(name: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def fingerprint(path: str) -> str:
    """The SHA-256 fingerprint of the certificate in a PEM file, as browsers show it."""
    import hashlib

    with open(path, encoding="ascii") as file:
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
