"""From a directory of images to a store elsewhere: what `appc serve` offers is what `appc fetch` finds and verifies."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.cli.main import main
from image_kit import aci
from net_kit import Authority
from serve_kit import PLATFORM, Hosting, Signer

NAME = "localhost/team/app"
TOKEN = "0123456789abcdef-token"


@pytest.fixture
def hosting(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosting]:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.certificate("localhost", "127.0.0.1")
    with Hosting(images, cache=tmp_path / "cache", token=TOKEN, tls=(str(certificate), str(key))) as hosting:
        (tmp_path / "config").mkdir()
        settings = {"net": {"caFile": str(authority.file)}, "discovery": {"ports": {"localhost": hosting.port}}}
        (tmp_path / "config/config.json").write_text(json.dumps(settings))
        monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))
        monkeypatch.chdir(tmp_path)
        yield hosting


def _appc(*words: str) -> int:
    return main(["--config", "config", *words])


def test_a_name_is_discovered_fetched_and_verified(
    hosting: Hosting, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image_id = aci(images / "x.aci", {"etc/hello": "hi"}, NAME, "1.0.0", labels=PLATFORM)
    signer = Signer()
    assert _appc("fetch", NAME) != 0
    signer.sign(images / "x.aci")
    (tmp_path / "key.asc").write_bytes(signer.certificate)
    assert _appc("trust", "add", "--prefix", "localhost/team", "key.asc") == 0
    capfd.readouterr()
    assert _appc("fetch", NAME) == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip() == image_id


def test_keys_are_discovered_too(hosting: Hosting, images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image_id = aci(images / "x.aci", {}, NAME, "1.0.0", labels=PLATFORM)
    signer = Signer()
    signer.sign(images / "x.aci")
    (images / "pubkeys.gpg").write_bytes(signer.certificate)
    assert _appc("trust", "add", "--prefix", "localhost/team", "--fingerprint", signer.fingerprint) == 0
    capfd.readouterr()
    assert _appc("fetch", f"{NAME}:1.0.0") == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip() == image_id


def test_discovery_shows_one_place_and_no_other(
    hosting: Hosting, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The templates in the header fields are those of the page, and not taken for further mirrors."""
    aci(images / "x.aci", {}, NAME, "1.0.0", labels=PLATFORM)
    assert _appc("discover", "--format", "json", f"{NAME}:1.0.0") == 0
    document = json.loads(capfd.readouterr().out)
    url = f"https://localhost:{hosting.port}/-/aci/{NAME}-1.0.0-linux-amd64.aci"
    assert json.dumps(document).count(json.dumps(url)) == 1, document


def test_what_runs_anywhere_is_found_by_its_own_template(
    hosting: Hosting, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    aci(images / "x.aci", {}, NAME, "1.0.0", labels=PLATFORM)
    image_id = aci(images / "y.aci", {}, "localhost/team/script", "2.0")
    assert _appc("fetch", "--insecure", "image", "localhost/team/script:2.0") == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip() == image_id


def test_what_was_pushed_can_be_fetched(hosting: Hosting, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image_id = aci(tmp_path / "new.aci", {}, NAME, "3.0", labels=PLATFORM)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    base = f"https://localhost:{hosting.port}"
    assert _appc("image", "push", "--token-file", "token", "new.aci", base) == 0, capfd.readouterr().err
    assert capfd.readouterr().out == f"{base}/-/aci/{NAME}-3.0-linux-amd64.aci\n"
    assert _appc("fetch", "--insecure", "image", f"{NAME}:3.0") == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip() == image_id


def test_it_comes_from_the_registry_as_well(hosting: Hosting, images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By way of an OCI image, and yet the image that it was."""
    image_id = aci(images / "x.aci", {"etc/hello": "hi"}, NAME, "1.0.0", labels=PLATFORM)
    reference = f"docker://localhost:{hosting.port}/{NAME}:1.0.0"
    assert _appc("fetch", "--insecure", "image", reference) == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip() == image_id


def test_the_aci_itself_can_be_had_from_the_registry_with_its_signature(
    hosting: Hosting, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image_id = aci(images / "x.aci", {"etc/hello": "hi"}, NAME, "1.0.0", labels=PLATFORM)
    signer = Signer()
    signer.sign(images / "x.aci")
    (tmp_path / "key.asc").write_bytes(signer.certificate)
    assert _appc("trust", "add", "--prefix", "localhost/team", "key.asc") == 0
    context = ssl.create_default_context(cafile=str(tmp_path / "ca/ca.pem"))
    api = f"/v2/{NAME}"
    subject = hosting.get(f"{api}/manifests/1.0.0", context=context).fields["docker-content-digest"]
    kind = "application/vnd.appc.image.v1"
    listed = hosting.get(f"{api}/referrers/{subject}?artifactType={kind}", context=context).body
    (artifact,) = json.loads(listed)["manifests"]
    capfd.readouterr()
    reference = f"docker://localhost:{hosting.port}/{NAME}@{artifact['digest']}"
    assert _appc("fetch", reference) == 0, capfd.readouterr().err
    assert capfd.readouterr().out.strip() == image_id
