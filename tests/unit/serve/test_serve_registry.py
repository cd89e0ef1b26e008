"""The same images through the OCI distribution API, as the requests of its clients get them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from appc.build import convert_oci
from appc.serve.catalog import Catalog
from appc.serve.files import Directory
from appc.serve.index import Index
from appc.serve.layers import Conversions
from image_kit import aci
from serve_kit import PLATFORM, Answer, Hosting

ARM = (("os", "linux"), ("arch", "aarch64"))
APP = "/v2/example.com/app"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def hosting(images: Path, tmp_path: Path) -> Iterator[Hosting]:
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        yield hosting


def _document(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_an_image_can_be_pulled(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {"etc/hello": "hi"}, version="1.0", labels=PLATFORM)
    assert hosting.get("/v2/").status == 200
    answer = hosting.get(f"{APP}/manifests/1.0")
    assert answer.fields["content-type"] == MANIFEST
    assert answer.fields["docker-content-digest"] == _digest(answer.body)
    manifest = _document(answer)
    for one in (manifest["config"], *manifest["layers"]):
        blob = hosting.get(f"{APP}/blobs/{one['digest']}")
        assert (_digest(blob.body), len(blob.body)) == (one["digest"], one["size"])
        assert blob.fields["docker-content-digest"] == one["digest"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.body))) as layer:
        assert "etc/hello" in layer.getnames()
    assert hosting.get(f"{APP}/manifests/{_digest(answer.body)}").body == answer.body


def test_under_its_own_domain_a_repository_is_called_without_it(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    assert hosting.get("/v2/app/tags/list", "example.com:5000").status == 200
    assert hosting.get("/v2/app/tags/list", "localhost:5000").status == 404
    assert hosting.get("/v2/example.com/app/tags/list", "localhost:5000").status == 200


def test_several_platforms_make_an_index(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    aci(images / "b.aci", {}, version="1.0", labels=ARM)
    answer = hosting.get(f"{APP}/manifests/latest")
    assert answer.fields["content-type"] == INDEX
    index = _document(answer)
    assert {one["platform"]["architecture"] for one in index["manifests"]} == {"amd64", "arm64"}
    for one in index["manifests"]:
        assert _digest(hosting.get(f"{APP}/manifests/{one['digest']}").body) == one["digest"]
    assert hosting.get(f"{APP}/manifests/{_digest(answer.body)}").body == answer.body


def test_tags_come_in_order_and_in_parts(hosting: Hosting, images: Path) -> None:
    for version in ("1.0", "2.0", "1.0-rc", "3.0+build"):
        aci(images / f"{version}.aci", {"v": version}, version=version, labels=PLATFORM)
    tags = _document(hosting.get(f"{APP}/tags/list"))["tags"]
    assert tags == ["1.0", "1.0-rc", "2.0", "3.0-build", "latest"]
    part = hosting.get(f"{APP}/tags/list?n=2")
    assert _document(part) == {"name": "example.com/app", "tags": tags[:2]}
    link = part.fields["link"].partition(">")[0].lstrip("<")
    assert _document(hosting.get(link))["tags"] == tags[2:4]
    assert _document(hosting.get(f"{APP}/tags/list?last=2.0"))["tags"] == tags[3:]
    assert _document(hosting.get(f"{APP}/tags/list?n=0"))["tags"] == []
    assert hosting.get(f"{APP}/tags/list?n=x").status == 400


def test_the_image_file_and_its_signature_refer_to_the_oci_image(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    (images / "a.aci.asc").write_bytes(_signature())
    subject = hosting.get(f"{APP}/manifests/1.0").fields["docker-content-digest"]
    listed = _document(hosting.get(f"{APP}/referrers/{subject}"))["manifests"]
    assert "application/vnd.appc.image.v1" in [one["artifactType"] for one in listed]
    artifact = _document(hosting.get(f"{APP}/manifests/{listed[0]['digest']}"))
    assert artifact["subject"]["digest"] == subject
    files = [hosting.get(f"{APP}/blobs/{one['digest']}").body for one in artifact["layers"]]
    assert files == [(images / "a.aci").read_bytes(), (images / "a.aci.asc").read_bytes()]
    config = _document(hosting.get(f"{APP}/blobs/{artifact['config']['digest']}"))
    assert (config["acKind"], config["name"]) == ("ImageManifest", "example.com/app")
    for one in listed[1:]:
        others = _document(hosting.get(f"{APP}/manifests/{one['digest']}"))
        assert others["subject"]["digest"] == subject
        for blob in (others["config"], *others["layers"]):
            assert _digest(hosting.get(f"{APP}/blobs/{blob['digest']}").body) == blob["digest"]


def _signature() -> bytes:
    """A detached signature of nobody's, well formed and no more."""
    hashed = b"\x16\x21\x04" + bytes(20) + b"\x05\x02" + bytes(4)
    body = b"\x04\x00\x16\x08" + len(hashed).to_bytes(2, "big") + hashed + b"\0\0" + b"\0\0" + b"\0\x01\x01" * 2
    return bytes((0xC2, len(body))) + body


def test_referrers_can_be_filtered(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    subject = hosting.get(f"{APP}/manifests/1.0").fields["docker-content-digest"]
    answer = hosting.get(f"{APP}/referrers/{subject}?artifactType=application/x")
    assert _document(answer)["manifests"] == []
    assert answer.fields["oci-filters-applied"] == "artifactType"
    unknown = hosting.get(f"{APP}/referrers/sha256:{'0' * 64}")
    assert (unknown.status, unknown.fields["content-type"]) == (200, INDEX)
    assert hosting.get(f"{APP}/referrers/sha256:0").status == 400


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/v2/example.com/none/tags/list", "GET", 404, "NAME_UNKNOWN"),
        (f"{APP}/manifests/9.9", "GET", 404, "MANIFEST_UNKNOWN"),
        (f"{APP}/manifests/sha256:{'0' * 64}", "GET", 404, "MANIFEST_UNKNOWN"),
        (f"{APP}/manifests/sha256:0", "GET", 400, "DIGEST_INVALID"),
        (f"{APP}/blobs/sha256:{'0' * 64}", "GET", 404, "BLOB_UNKNOWN"),
        (f"{APP}/blobs/nothing", "GET", 400, "DIGEST_INVALID"),
        (f"{APP}/blobs/uploads/", "POST", 405, "UNSUPPORTED"),
        (f"{APP}/manifests/1.0", "DELETE", 405, "UNSUPPORTED"),
        (f"{APP}/else/where", "GET", 404, "NAME_INVALID"),
    ],
)
def test_errors_are_those_of_the_specification(
    hosting: Hosting, images: Path, path: str, method: str, status: int, code: str
) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    answer = hosting.get(path, method=method)
    assert answer.status == status
    assert [error["code"] for error in json.loads(answer.body)["errors"]] == [code]
    assert answer.fields["content-type"] == "application/json"


def test_a_blob_can_be_had_in_parts(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {"x": os.urandom(1000)}, version="1.0", labels=PLATFORM)
    (layer,) = _document(hosting.get(f"{APP}/manifests/1.0"))["layers"]
    whole = hosting.get(f"{APP}/blobs/{layer['digest']}").body
    answer = hosting.get(f"{APP}/blobs/{layer['digest']}", range="bytes=10-19")
    assert (answer.status, answer.body) == (206, whole[10:20])
    assert hosting.get(f"{APP}/blobs/{layer['digest']}", range=f"bytes={len(whole)}-").status == 416


def test_an_image_is_converted_once_however_many_ask(
    hosting: Hosting, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = []
    real = convert_oci.write
    monkeypatch.setattr(convert_oci, "write", lambda *words: (count.append(1), real(*words))[1])
    aci(images / "a.aci", {"x": os.urandom(1 << 20)}, version="1.0", labels=PLATFORM)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: hosting.get(f"{APP}/manifests/1.0"), range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(count) == 1


def test_the_cache_outlives_the_server(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        before = hosting.get(f"{APP}/manifests/1.0")
    monkeypatch.setattr(convert_oci, "write", lambda *_: pytest.fail("it was converted again"))
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        assert hosting.get(f"{APP}/manifests/{_digest(before.body)}").body == before.body


def test_a_digest_from_another_server_is_known_too(images: Path, tmp_path: Path) -> None:
    """Several servers of the same images, each with its own cache."""
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(images, cache=tmp_path / "one") as one, Hosting(images, cache=tmp_path / "other") as other:
        manifest = _document(one.get(f"{APP}/manifests/1.0"))
        assert other.get(f"{APP}/blobs/{manifest['config']['digest']}").status == 200


def test_dependencies_become_layers(hosting: Hosting, images: Path) -> None:
    aci(images / "base.aci", {"base": ""}, "example.com/base", "1.0", labels=PLATFORM)
    aci(images / "a.aci", {"top": ""}, version="1.0", labels=PLATFORM, dependencies=[{"imageName": "example.com/base"}])
    manifest = _document(hosting.get(f"{APP}/manifests/1.0"))
    found = []
    for one in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(hosting.get(f"{APP}/blobs/{one['digest']}").body)) as layer:
            found.append([name for name in layer.getnames() if name in ("base", "top")])
    assert found == [["base"], ["top"]]


def test_what_cannot_be_layers_is_said(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {"x": ""}, version="1.0", labels=PLATFORM, pathWhitelist=["/x"])
    aci(images / "b.aci", {}, version="2.0", labels=PLATFORM, dependencies=[{"imageName": "example.com/gone"}])
    assert "path whitelist" in hosting.get(f"{APP}/manifests/1.0").text
    assert "example.com/gone, which is not served here" in hosting.get(f"{APP}/manifests/2.0").text


def test_what_is_served_no_more_leaves_the_cache_and_can_come_back(images: Path, tmp_path: Path) -> None:
    aci(images / "a.aci", {"etc/hello": "hi"}, version="1.0", labels=PLATFORM)
    directory = Directory(str(images))

    async def main() -> None:
        index, conversions = Index(directory), Conversions(directory, str(tmp_path / "cache"))
        try:
            catalog = await index.complete()
            (image,) = catalog.images
            blobs = (await conversions.get(catalog, image)).blobs.values()
            await conversions.sweep(catalog)
            assert all(map(os.path.exists, blobs))
            await conversions.sweep(Catalog())
            assert not any(map(os.path.exists, blobs))
            assert all(map(os.path.exists, (await conversions.get(catalog, image)).blobs.values()))
        finally:
            index.close()
            conversions.close()

    try:
        asyncio.run(main())
    finally:
        directory.close()
