"""Signatures and keys beside the images: served, checked where that can be done, and shown to people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.trust.packets import read_certificates, read_signatures
from image_kit import aci
from serve_kit import IMAGES, PLATFORM, Hosting, Signer

APP = f"{IMAGES}example.com/app-1.0-linux-amd64.aci"


@pytest.fixture(scope="module")
def signer() -> Signer:
    pytest.importorskip("pysequoia")
    return Signer()


@pytest.fixture
def hosting(tmp_path: Path) -> Iterator[Hosting]:
    aci(tmp_path / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(tmp_path) as hosting:
        yield hosting


def _grouped(fingerprint: str) -> str:
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4)).upper()


def test_a_signature_is_served_with_its_image(hosting: Hosting, tmp_path: Path, signer: Signer) -> None:
    assert hosting.get(f"{APP}.asc").status == 404
    assert "not signed" in hosting.get("/app", "example.com").text
    signer.sign(tmp_path / "a.aci")
    answer = hosting.get(f"{APP}.asc")
    assert answer.body == (tmp_path / "a.aci.asc").read_bytes()
    assert answer.fields["content-type"] == "application/pgp-signature"
    assert "by a key that is not here" in hosting.get("/app", "example.com").text


@pytest.mark.parametrize("place", ["pubkeys.gpg", "keys/signer.asc", "keys/deep/signer.gpg"])
def test_keys_are_served_and_shown(hosting: Hosting, tmp_path: Path, signer: Signer, place: str) -> None:
    signer.sign(tmp_path / "a.aci")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(signer.certificate)
    assert hosting.get(f"{APP}.asc").status == 200
    page = hosting.get("/app", "example.com").text
    assert 'name="ac-discovery-pubkeys" content="example.com/app http://example.com/-/pubkeys.gpg"' in page
    assert _grouped(signer.fingerprint) in page
    assert "by a key that is not here" not in page
    assert "appc trust add --prefix example.com/app http://example.com/-/pubkeys.gpg" in page
    (certificate,) = read_certificates(hosting.get("/-/pubkeys.gpg").body)
    assert certificate.fingerprint == signer.fingerprint


def test_an_image_whose_signature_does_not_hold_is_not_served(hosting: Hosting, tmp_path: Path, signer: Signer) -> None:
    """Every client that verifies would refuse it; whoever does not should not get it either."""
    signer.sign(tmp_path / "a.aci")
    aci(tmp_path / "a.aci", {"changed": ""}, version="1.0", labels=PLATFORM)
    (tmp_path / "pubkeys.gpg").write_bytes(signer.certificate)
    assert hosting.get(APP).status == 404
    assert "the signature does not match" in hosting.get("/", "localhost").text


def test_a_secret_key_is_never_served(hosting: Hosting, tmp_path: Path) -> None:
    import pysequoia

    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/oops.asc").write_bytes(bytes(pysequoia.Tsk.generate("Oops <oops@example.com>")))
    assert hosting.get(APP).status == 200
    assert hosting.get("/-/pubkeys.gpg").status == 404
    assert "holds a secret key" in hosting.get("/", "localhost").text


def test_a_damaged_signature_is_said_and_holds_nobody_up(hosting: Hosting, tmp_path: Path, signer: Signer) -> None:
    signer.sign(tmp_path / "a.aci")
    (claim,) = read_signatures((tmp_path / "a.aci.asc").read_bytes())
    body = claim.data[6:-40]
    (tmp_path / "a.aci.asc").write_bytes(b"\xc2\xff" + len(body).to_bytes(4, "big") + body)
    (tmp_path / "pubkeys.gpg").write_bytes(signer.certificate)
    assert hosting.get(APP).status == 404
    assert "is damaged" in hosting.get("/").text
