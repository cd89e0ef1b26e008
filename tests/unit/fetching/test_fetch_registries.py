"""Names whose images are in registries: templates and mirrors that say `docker://…`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import image_kit
from appc.build.convert import How, convert_image
from appc.errors import AppcError, DependencyError, ImageMismatch, ImageNotFound, SignatureError
from appc.formats import ociartifact
from fetch_kit import NAME, Fetcher, Signer, aci, meta
from net_kit import Authority, Names, Server
from registry_kit import FakeRegistry, digest

HOST = "registry.example.net"
TEMPLATE = f"docker://{HOST}/{{name}}:{{version}}"
ASKED = f"{NAME}:1.0.0,os=linux,arch=amd64"
EMPTY = {"mediaType": ociartifact.EMPTY_TYPE, "digest": digest(b"{}"), "size": 2}


@pytest.fixture
def registry(authority: Authority, names: Names, server: Server, tmp_path: Path) -> Iterator[FakeRegistry]:
    """A registry, which the page of example.com/app names."""
    with Server(authority.certificate(HOST)) as made:
        names[HOST] = made
        server.pages["/app?ac-discovery=1"] = meta(f"example.com {TEMPLATE}")
        yield FakeRegistry(made)


def artifact(registry: FakeRegistry, data: bytes, signature: bytes, tag: str = "1.0.0") -> None:
    """What `appc image push --artifact` makes of an image file."""
    layers = [
        {"mediaType": ociartifact.ACI_LAYER, "digest": registry.blob(data), "size": len(data)},
        {"mediaType": ociartifact.PGP_SIGNATURE, "digest": registry.blob(signature), "size": len(signature)},
    ]
    config = {"mediaType": ociartifact.ACI_CONFIG, "digest": registry.blob(b"{}"), "size": 2}
    registry.manifest(NAME, ociartifact.aci(config, layers, {}), tag)


def converted(registry: FakeRegistry, fetcher: Fetcher, signer: Signer, directory: Path, name: str = NAME) -> str:
    """What `appc image push --sign` makes of an image; returns the ID that the image had before."""
    labels = (("os", "linux"), ("arch", "amd64"))
    image_id = image_kit.aci(directory / "app.aci", {"bin/app": "x"}, name, "1.0.0", labels=labels)
    layout = directory / "layout"
    convert_image(fetcher.store, str(directory / "app.aci"), f"oci:{layout}:1.0.0", How(("linux", "amd64")), [])
    registry.take(NAME, {str(p.relative_to(layout)): p.read_bytes() for p in layout.rglob("*") if p.is_file()})
    _, manifest = registry.manifests[NAME, "1.0.0"]
    signature = registry.blob(signer.sign(manifest))
    registry.blob(b"{}")
    about = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(manifest), "size": 1}
    layer = {"mediaType": ociartifact.PGP_SIGNATURE, "digest": signature, "size": len(registry.blobs[signature])}
    registry.manifest(NAME, ociartifact.about(ociartifact.SIGNATURE_TYPE, about, EMPTY, [layer]))
    return str(image_id)


def test_a_template_may_lead_to_an_image_file_in_a_registry(
    registry: FakeRegistry, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    artifact(registry, data, signer.sign(data))
    image = fetcher.fetch(ASKED)
    assert (image.name, image.signer) == (NAME, signer.fingerprint)


def test_a_template_may_lead_to_an_oci_image(
    registry: FakeRegistry, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    """The key is trusted for example.com, and not for the registry, which only has the image."""
    image_id = converted(registry, fetcher, signer, tmp_path)
    image = fetcher.fetch(ASKED)
    assert (image.id, image.signer) == (image_id, signer.fingerprint)
    with pytest.raises(SignatureError, match="not trusted"):
        fetcher.fetch(f"docker://{HOST}/{NAME}:1.0.0")


def test_update_asks_the_registry_and_offline_nobody(
    registry: FakeRegistry, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    artifact(registry, data, signer.sign(data))
    first = fetcher.fetch(ASKED)
    before = len(registry.log)
    assert fetcher.fetch(ASKED, pull="update").id == first.id
    assert [method for method, _ in registry.log[before:]] == ["HEAD"]
    assert fetcher.fetch(ASKED, pull="update", offline=True).id == first.id
    assert len(registry.log) == before + 1


def test_another_image_than_was_asked_for_leaves_nothing(
    registry: FakeRegistry, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path, version="0.9.0")
    artifact(registry, data, signer.sign(data))
    with pytest.raises(ImageMismatch, match=r'has the label version "0.9.0"'):
        fetcher.fetch(ASKED)
    converted(registry, fetcher, signer, tmp_path, "example.com/other")
    with pytest.raises(ImageMismatch, match="is the image"):
        fetcher.fetch(ASKED)
    assert fetcher.store.list() == []


def test_what_nobody_trusted_signed_is_refused(
    registry: FakeRegistry, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    artifact(registry, data, Signer().sign(data))
    with pytest.raises(SignatureError, match="not trusted"):
        fetcher.fetch(ASKED)
    converted(registry, fetcher, Signer(), tmp_path)
    with pytest.raises(SignatureError, match="not trusted"):
        fetcher.fetch(ASKED)
    assert fetcher.store.list() == []
    assert fetcher.fetch(ASKED, insecure=("image",)).signer == ""


def test_a_mirror_may_be_a_registry(
    registry: FakeRegistry, server: Server, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    artifact(registry, data, signer.sign(data))
    fetcher.settings.discovery_mirrors = {
        "example.com": [f"docker://{HOST}/gone/{{name}}:{{version}}", f"docker://{HOST}/{NAME}:1.0.0"]
    }
    assert fetcher.fetch(ASKED).signer == signer.fingerprint
    assert server.requests == []


def test_an_index_may_lead_to_a_registry(
    registry: FakeRegistry, server: Server, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path)
    artifact(registry, data, signer.sign(data))
    labels = {"version": "1.0.0", "os": "linux", "arch": "amd64"}
    entry = {"name": NAME, "labels": labels, "aci": f"docker://{HOST}/{NAME}:1.0.0"}
    server.pages["/index.json"] = json.dumps({"images": [entry]})
    fetcher.settings.discovery_mirrors = {"example.com": ["https://example.com/index.json"]}
    assert fetcher.fetch(ASKED).signer == signer.fingerprint
    assert server.paths() == ["/index.json"]


def test_a_dependency_may_not_be_larger_than_its_dependant_says(
    registry: FakeRegistry, server: Server, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    needed = aci(tmp_path, files={"blob": random.Random(3).randbytes(300_000)})
    artifact(registry, needed, signer.sign(needed))
    dependency = {"imageName": NAME, "labels": [{"name": "version", "value": "1.0.0"}], "size": 1000}
    data = aci(tmp_path, "example.com/top", dependencies=[dependency])
    server.pages |= {"/top.aci": data, "/top.aci.asc": signer.sign(data)}
    with pytest.raises(DependencyError, match="more than the"):
        fetcher.fetch("https://example.com/top.aci")
    assert not any("/blobs/" in path and digest(needed) in path for _, path in registry.log)


def test_a_version_that_is_no_tag_is_called_as_where_it_was_converted(
    registry: FakeRegistry, fetcher: Fetcher, signer: Signer, tmp_path: Path
) -> None:
    data = aci(tmp_path, version="1.0.0+1")
    artifact(registry, data, signer.sign(data), "1.0.0-1")
    assert fetcher.fetch(f"{NAME}:1.0.0+1,os=linux,arch=amd64").labels.get("version") == "1.0.0+1"


def test_a_template_that_makes_no_reference_is_passed_over(
    registry: FakeRegistry, server: Server, fetcher: Fetcher
) -> None:
    server.pages["/app?ac-discovery=1"] = meta(f"example.com docker://{HOST}/{{name}}:{{os}}:{{version}}")
    with pytest.raises(AppcError, match="names no image in a registry"):
        fetcher.fetch(ASKED)
    assert registry.log == []


def test_what_the_registry_does_not_have(registry: FakeRegistry, fetcher: Fetcher) -> None:
    with pytest.raises(ImageNotFound, match=r"docker://registry.example.net/example.com/app: has no image 1.0.0"):
        fetcher.fetch(ASKED)
