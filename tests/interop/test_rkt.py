"""rkt, where it is at hand: it discovers, trusts and fetches from `appc serve`, and reads the keys that appc keeps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from capabilities import need
from golang import CACHE
from image_kit import aci
from net_kit import Authority
from serve_kit import PLATFORM

NAME = "localhost/team/app"
# rkt knows one port of discovery, so this happens in a network of its own.
SCRIPT = """
ip link set lo up
$APPC serve --listen 127.0.0.1:443 --tls-cert $CERTIFICATE --tls-key $KEY --cache cache --access-log log images &
trap "kill $!" EXIT
until (exec 3<>/dev/tcp/127.0.0.1/443) 2>/dev/null; do sleep 0.1; done
rkt() { $RKT --dir=data --system-config=none --local-config=config "$@"; }
"""
TRUST = {
    "rkt": "rkt trust --prefix=localhost/team --trust-keys-from-https --skip-fingerprint-review",
    "appc": "$APPC --config config trust add --skip-fingerprint-review --prefix localhost/team images/pubkeys.gpg",
}


@pytest.fixture
def rkt() -> str:
    need("root", "mount", "openssl", "unshare", "ip", "gpg")
    for candidate in (shutil.which("rkt"), str(CACHE / "bin/rkt")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    # As with actool, it is not ours to give.
    pytest.skip("no rkt on PATH or in .cache/bin")


def _sign(images: Path, home: Path) -> None:
    """Sign the image with an RSA key: rkt knows no elliptic curves, and no signing subkeys of today."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    for words in (
        ["--quick-gen-key", "one@example.com", "rsa2048", "sign"],
        ["--armor", "--detach-sign", str(images / "app.aci")],
        ["--output", str(images / "pubkeys.gpg"), "--export"],
    ):
        subprocess.run([*gpg, *words], check=True, capture_output=True)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


@pytest.mark.parametrize("who", TRUST)
def test_rkt_fetches_by_name(who: str, rkt: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for directory in (images, tmp_path / "config"):
        directory.mkdir()
    image_id = aci(images / "app.aci", {"file": "hello"}, NAME, "1.0.0", labels=PLATFORM)
    _sign(images, tmp_path / "gnupg")
    certificate, key = Authority(tmp_path / "ca").certificate("localhost")
    environment = {
        **os.environ,
        "APPC": f"{sys.executable} -m appc",
        "RKT": rkt,
        "CERTIFICATE": str(certificate),
        "KEY": str(key),
        "SSL_CERT_FILE": str(tmp_path / "ca/ca.pem"),
    }
    url = f"https://localhost/-/aci/{NAME}-1.0.0-linux-amd64.aci"
    script = f"{SCRIPT}\n{TRUST[who]}\nrkt fetch {NAME}:1.0.0 && rkt fetch {NAME} && rkt fetch --no-store {url}\n"
    words = ["unshare", "--net", "bash", "-ec", script]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "signature verified" in done.stderr
    fetched = [line for line in done.stdout.splitlines() if line.startswith("sha512-")]
    assert len(fetched) == 3
    assert all(str(image_id).startswith(line) for line in fetched)
    asked = (tmp_path / "log").read_text()
    assert '"GET /team/app?ac-discovery=1 HTTP/1.1" 200' in asked
