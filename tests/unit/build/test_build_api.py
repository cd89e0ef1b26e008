"""Building and converting images from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import appc
from appc.errors import ArchiveError, HostError, ManifestError, UsageError
from appc.images.edit import ManifestEditor
from appc.trust.keystore import Keystore
from net_kit import Server
from oci_kit import layer, simple
from registry_kit import FakeRegistry


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    made = tmp_path / "layout"
    (made / "rootfs").mkdir(parents=True)
    (made / "rootfs/file").write_text("x")
    (made / "manifest").write_text('{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x"}')
    return made


def test_an_image_there_and_back(layout: Path, tmp_path: Path) -> None:
    places = appc.Directories(root=str(tmp_path / "root"), state=str(tmp_path / "state"))
    first = appc.build_image(str(layout), f"{tmp_path}/a.aci", mtime=0, compression="none")
    assert first.startswith("sha512-")
    assert appc.build_image(str(layout), f"{tmp_path}/b.aci", mtime=0) == first
    (digest,) = appc.convert_image(f"{tmp_path}/b.aci", f"oci:{tmp_path}/oci:1", directories=places)
    assert digest.startswith("sha256:")
    assert appc.convert_image(f"oci:{tmp_path}/oci", f"{tmp_path}/c.aci", directories=places) == [first]
    simple(tmp_path / "two", layer(("a", "1")), layer(("b", "1")))
    warnings: list[str] = []
    ids = appc.convert_image(
        f"oci:{tmp_path}/two",
        f"{tmp_path}/d.aci",
        layered=True,
        name="example.com/d",
        warnings=warnings,
        directories=places,
    )
    assert len(ids) == 2


def test_errors_are_those_of_the_command_line(layout: Path, tmp_path: Path) -> None:
    out = f"{tmp_path}/a.aci"
    with pytest.raises(HostError):
        appc.build_image(str(layout), f"{tmp_path}/absent/a.aci")
    with pytest.raises(UsageError):
        appc.build_image(str(layout), f"{tmp_path}/a.tar")
    (layout / "manifest").write_text("{}")
    with pytest.raises(ManifestError):
        appc.build_image(str(layout), out)
    with pytest.raises(ArchiveError):
        appc.convert_image(f"oci:{layout}", out)
    assert not Path(out).exists()


def test_a_manifest_is_changed_in_a_file_and_in_the_store(layout: Path, tmp_path: Path) -> None:
    places = appc.Directories(root=str(tmp_path / "root"), state=str(tmp_path / "state"))
    first = appc.build_image(str(layout), f"{tmp_path}/a.aci", mtime=0, passphrase=b"secret")
    appc.fetch(f"{tmp_path}/a.aci", insecure=("image",), passphrase=b"secret", directories=places)
    changed = {
        appc.patch_image(source, f"{tmp_path}/{name}.aci", _version, passphrase=b"secret", directories=places)
        for name, source in (("file", f"{tmp_path}/a.aci"), ("stored", first))
    }
    (image_id,) = changed
    fetched = appc.fetch(f"{tmp_path}/stored.aci", insecure=("image",), directories=places)
    assert (fetched.id, fetched.labels.get("version")) == (image_id, "2")
    with pytest.raises(ArchiveError, match="is encrypted"):
        appc.patch_image(f"{tmp_path}/file.aci", f"{tmp_path}/x.aci", _version)
    with pytest.raises(ManifestError):
        appc.patch_image(first, f"{tmp_path}/x.aci", lambda manifest: manifest.set_name("!"), directories=places)
    assert not (tmp_path / "x.aci").exists()


def _version(manifest: ManifestEditor) -> None:
    manifest.set_label("version", "2")


def test_an_image_is_signed_verified_and_pushed(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pysequoia = pytest.importorskip("pysequoia")
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    secret = pysequoia.Tsk.generate(user_id="One")
    (tmp_path / "secret").write_bytes(bytes(secret))
    Keystore([str(tmp_path / "config")]).add(bytes(secret.extract_certificate()), "")
    places = appc.Directories(
        root=str(tmp_path / "root"), state=str(tmp_path / "state"), config=(str(tmp_path / "config"),)
    )
    path, key_file = f"{tmp_path}/a.aci", str(tmp_path / "secret")
    image_id = appc.build_image(str(layout), path)
    assert appc.sign_image(path, key_file=key_file) == f"{path}.asc"
    with pytest.raises(UsageError, match="exists"):
        appc.sign_image(path, key_file=key_file)
    found = appc.verify_image(path, directories=places)
    assert (found.name, found.image_id, found.signer) == ("example.com/x", image_id, _fingerprint(secret))
    with Server() as server:
        target = f"docker://{FakeRegistry(server).host}/example.com/x:1"
        digest = appc.push_image([path], target, key_file=key_file, insecure=("http",), directories=places)
        assert appc.verify_image(target, insecure=("http",), directories=places).image_id == digest
    appc.convert_image(path, f"oci:{tmp_path}/oci:1", directories=places)
    appc.sign_image(f"oci:{tmp_path}/oci:1", key_file=key_file)
    assert appc.verify_image(f"oci:{tmp_path}/oci:1", directories=places).name == "example.com/x"


def _fingerprint(secret: Any) -> str:
    return str(secret.extract_certificate().fingerprint)
