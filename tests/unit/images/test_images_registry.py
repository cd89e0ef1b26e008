"""Images from registries: the right one, whole and vouched for, or none; and nothing is fetched twice."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from appc.errors import AppcError, ArchiveError, ImageNotFound, NetworkError, SignatureError
from appc.formats import ociartifact
from appc.images import registry_arrival
from appc.images.registry import Access
from appc.images.registry_known import Wanted
from appc.images.registry_pull import pull_image
from appc.net.credentials import Credentials
from appc.net.http import Client, Settings
from appc.store.images import ImageStore, StoredImage
from appc.trust.keystore import Keystore
from image_kit import aci
from net_kit import Request, Server
from oci_kit import CONFIG, LAYER, MANIFEST, Layout, digest, layer
from registry_kit import FakeRegistry

AMD64 = ("linux", "amd64")


class World:
    """A registry, a store and a configuration directory."""

    def __init__(self, path: Path, fake: FakeRegistry) -> None:
        self.path = path
        self.fake = fake
        self.store = ImageStore(str(path / "root"))
        self.config = [str(path / "config")]
        self.keystore = Keystore(self.config)

    def pull(
        self,
        name: str = "a/app:1",
        pull: str = "new",
        insecure: tuple[str, ...] = ("image",),
        platform: tuple[str, str] = AMD64,
    ) -> StoredImage:
        wanted = Wanted(self.store, f"docker://{self.fake.host}/{name}", self.config, platform, insecure)
        known = wanted.without_asking(pull)
        if known is not None:
            return known
        settings = Settings(insecure={"http"}, pause=0.01, proxies={})
        access = Access(Client(settings), Credentials(self.config), environment={"HOME": str(self.path)})
        return pull_image(self.store, access, wanted)

    def serve(self, layout: Layout, repository: str = "a/app") -> None:
        self.fake.take(repository, layout.finished())

    def fetched(self, kind: str = "blobs") -> list[str]:
        return [path for method, path in self.fake.log if method == "GET" and f"/{kind}/" in path]

    def vouch(self, key: Any, data: bytes, subject: str, kind: str = ociartifact.SIGNATURE_TYPE) -> str:
        signature = bytes(pysequoia.sign(key.signer(), data, mode=pysequoia.SignatureMode.DETACHED))
        about = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": len(data)}
        self.fake.blob(b"{}")
        config = {"mediaType": ociartifact.EMPTY_TYPE, "digest": digest(b"{}"), "size": 2}
        blob = {"mediaType": ociartifact.PGP_SIGNATURE, "digest": self.fake.blob(signature), "size": len(signature)}
        return self.fake.manifest("a/app", ociartifact.about(kind, about, config, [blob]))

    @property
    def name(self) -> str:
        return f"{self.fake.host}/a/app".replace(":", "_")

    def manifest(self, tag: str = "1") -> tuple[bytes, str]:
        data = self.fake.manifests["a/app", tag][1]
        return data, digest(data)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(registry_arrival, "_PAUSE", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Server() as server:
        yield World(tmp_path, FakeRegistry(server))


@pytest.fixture(scope="module")
def key() -> Any:
    return pysequoia.Tsk.generate(user_id="One <one@example.com>")


def simple(content: str = "hello", count: int = 1, **fields: Any) -> Layout:
    layout = Layout()
    layers = [layer((f"file{number}", f"{content}{number}")) for number in range(count)]
    layout.tag(layout.image(layers, {"Cmd": ["/file0"]}, **fields), "1")
    return layout


def read(image: StoredImage, name: str = "file0") -> str:
    return (Path(image.tree) / name).read_text()


def test_an_image_arrives(world: World) -> None:
    world.serve(simple(count=3))
    image = world.pull()
    assert [read(image, f"file{number}") for number in range(3)] == ["hello0", "hello1", "hello2"]
    assert image.name == world.name
    assert image.labels.get("version") == "1"
    assert image.manifest.app.exec == ("/file0",)
    assert not list((world.path / "root/store/downloads").iterdir())


def test_what_is_known_is_not_asked_for_again(world: World) -> None:
    world.serve(simple())
    image = world.pull()
    world.fake.log.clear()
    assert world.pull().id == image.id
    assert world.fake.log == []
    assert world.pull(pull="never").id == image.id
    assert world.fake.log == []


def test_update_asks_for_the_digest_and_no_more(world: World) -> None:
    world.serve(simple())
    image = world.pull()
    world.fake.log.clear()
    assert world.pull(pull="update").id == image.id
    assert world.fake.log == [("HEAD", "/v2/a/app/manifests/1")]
    world.serve(simple("other"))
    assert read(world.pull()) == "hello0"
    assert read(world.pull(pull="update")) == "other0"
    assert read(world.pull()) == "other0"


def test_a_registry_that_does_not_tell_digests(world: World) -> None:
    world.serve(simple())
    image = world.pull()
    world.fake.log.clear()
    world.fake.faults["HEAD", "/v2/a/app/manifests/1"] = lambda request: request.send(405)
    assert world.pull(pull="update").id == image.id
    assert len(world.fetched()) <= 1


def test_a_layer_for_which_there_is_no_room(world: World) -> None:
    world.serve(simple())
    data, _ = world.manifest()
    manifest = json.loads(data)
    manifest["layers"][0]["size"] = 1 << 60
    world.fake.manifest("a/app", manifest, "1")
    with pytest.raises(AppcError, match="does not fit"):
        world.pull()
    assert world.fetched()[1:] == []


def test_the_same_image_under_another_tag_is_not_fetched_again(world: World) -> None:
    layout = simple()
    world.serve(layout)
    image = world.pull()
    _, name = world.manifest()
    world.fake.log.clear()
    again = world.pull(f"a/app:1@{name}")
    assert again.id == image.id
    assert len(world.fetched()) == 1  # the configuration


def test_never(world: World) -> None:
    world.serve(simple())
    with pytest.raises(ImageNotFound, match="--pull never"):
        world.pull(pull="never")
    assert world.fake.log == []


def test_a_platform_is_chosen(world: World) -> None:
    layout = Layout()
    made = {}
    for os, arch, variant in (("linux", "amd64", ""), ("linux", "arm", "v6"), ("linux", "arm64", "v8")):
        one = layout.image([layer(("file0", arch + variant))], os=os, architecture=arch)
        platform = {"os": os, "architecture": arch} | ({"variant": variant} if variant else {})
        made[arch] = {**one, "platform": platform}
    attestation = {**layout.image([layer(("file0", "x"))]), "platform": {"os": "unknown", "architecture": "unknown"}}
    layout.tag(layout.index(*made.values(), attestation), "1")
    world.serve(layout)
    for arch, content in (("amd64", "amd64"), ("armv7l", "armv6"), ("armv6l", "armv6"), ("aarch64", "arm64v8")):
        assert read(world.pull(platform=("linux", arch))) == content
    with pytest.raises(ImageNotFound, match="has no image for linux/s390x") as caught:
        world.pull(platform=("linux", "s390x"))
    assert "linux/arm/v6" in caught.value.hint


def test_zstd_and_docker_types(world: World) -> None:
    from appc.formats.layerzstd import _library

    layout = Layout()
    one = layer(("file0", "hello"))
    packed = layout.blob(_library().compress(one), LAYER + "+zstd")
    two = layer(("file1", "there"))
    docker = "application/vnd.docker."
    gzipped = layout.blob(gzip.compress(two), docker + "image.rootfs.diff.tar.gzip")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(one), digest(two)]},
    }
    kind = docker + "distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": layout.blob(config, docker + "container.image.v1+json"),
        "layers": [packed, gzipped],
    }
    layout.tag(layout.blob(manifest, kind), "1")
    world.serve(layout)
    image = world.pull()
    assert (read(image), read(image, "file1")) == ("hello", "there")


# -- what came before ---------------------------------------------------------------------------------


def blobs_of(world: World) -> list[str]:
    return [one["digest"] for one in json.loads(world.manifest()[0])["layers"]]


def test_a_transfer_that_breaks_goes_on(world: World) -> None:
    world.serve(simple("x" * 300_000))
    (name,) = blobs_of(world)
    content = world.fake.blobs[name]
    ranges: list[str] = []

    def break_off(request: Request) -> None:
        wanted = request.headers.get("Range", "")
        ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        request.send_response(206 if wanted else 200)
        request.send_header("Content-Length", str(len(content) - start))
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(content[start : start + len(content) // 3])
        request.close_connection = True

    world.fake.faults["GET", f"/v2/a/app/blobs/{name}"] = break_off
    assert read(world.pull()).startswith("xxx")
    assert ranges[0] == ""
    assert all(one.startswith("bytes=") for one in ranges[1:])


def test_what_another_process_left_is_gone_on_with(world: World) -> None:
    world.serve(simple("x" * 300_000))
    (name,) = blobs_of(world)
    content = world.fake.blobs[name]
    path = f"/v2/a/app/blobs/{name}"

    def short(request: Request) -> None:
        wanted = request.headers.get("Range")
        if wanted:
            request.send(503)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        request.close_connection = True

    world.fake.faults["GET", path] = short
    with pytest.raises(NetworkError):
        world.pull()
    del world.fake.faults["GET", path]
    world.fake.server.requests.clear()
    assert read(world.pull()).startswith("xxx")
    (asked,) = [headers for _, where, headers in world.fake.server.requests if where == path]
    assert int(asked["range"].removeprefix("bytes=").rstrip("-")) > 0


@pytest.mark.parametrize("damage", [b"wrong", b"wrong" * 100_000])
def test_what_was_left_and_is_wrong_is_fetched_anew(world: World, damage: bytes) -> None:
    from appc.store.downloads import download

    world.serve(simple("x" * 300_000))
    (name,) = blobs_of(world)
    key = f"blob {name} of {len(world.fake.blobs[name])} bytes"
    with download(str(world.path / "root"), key) as left, left.open() as stream:
        stream.write(damage)
    assert read(world.pull()).startswith("xxx")


# -- registries that lie --------------------------------------------------------------------------------


def test_another_layer_than_was_promised(world: World) -> None:
    world.serve(simple())
    (name,) = blobs_of(world)
    content = bytearray(world.fake.blobs[name])
    content[-9] ^= 1
    world.fake.blobs[name] = bytes(content)
    with pytest.raises(AppcError, match="digest"):
        world.pull()
    assert world.store.list() == []
    assert not list((world.path / "root/store/downloads").iterdir())


def test_a_layer_that_does_not_end(world: World) -> None:
    world.serve(simple())
    (name,) = blobs_of(world)

    def pour(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(64):
                request.wfile.write(bytes(1 << 20))
        except OSError:
            pass
        request.close_connection = True

    world.fake.faults["GET", f"/v2/a/app/blobs/{name}"] = pour
    with pytest.raises(ArchiveError, match="is longer than"):
        world.pull()


def test_a_layer_of_another_length(world: World) -> None:
    world.serve(simple())
    (name,) = blobs_of(world)
    world.fake.blobs[name] += b"more"
    with pytest.raises(NetworkError, match="instead of"):
        world.pull()


def test_a_layer_that_is_missing(world: World) -> None:
    world.serve(simple(count=3))
    del world.fake.blobs[blobs_of(world)[1]]
    with pytest.raises(NetworkError, match="404"):
        world.pull()
    assert world.store.list() == []


def test_a_configuration_of_another_digest(world: World) -> None:
    world.serve(simple())
    name = json.loads(world.manifest()[0])["config"]["digest"]
    world.fake.blobs[name] = world.fake.blobs[name].replace(b"amd64", b"arm64")
    with pytest.raises(NetworkError, match="with the digest"):
        world.pull()


def test_deep_indexes(world: World) -> None:
    layout = Layout()
    one = layout.image([layer(("file0", "x"))])
    for _ in range(20):
        one = layout.index(one)
    layout.tag(one, "1")
    world.serve(layout)
    with pytest.raises(ArchiveError, match="nested more than 8"):
        world.pull()


def test_an_index_of_itself(world: World) -> None:
    """It cannot be made with digests that hold, so the registry is caught in the lie."""
    name = "sha256:" + "0" * 64
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": kind, "digest": name, "size": 10}
    document = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    for version in ("1", name):
        world.fake.manifests["a/app", version] = (kind, document)
    headers = {"Content-Type": kind}
    world.fake.faults["GET", f"/v2/a/app/manifests/{name}"] = lambda request: request.send(200, headers, document)
    with pytest.raises(NetworkError, match="with the digest"):
        world.pull()


def test_foreign_layers(world: World) -> None:
    for kind, fields in (("nondistributable.v1.tar", {}), ("v1.tar", {"urls": ["https://vendor.example.com/x"]})):
        layout = Layout()
        one = layer(("file0", "x"))
        below = {**layout.blob(one, f"application/vnd.oci.image.layer.{kind}"), **fields}
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(one)]}}
        manifest = {"schemaVersion": 2, "config": layout.blob(config, CONFIG), "layers": [below]}
        layout.tag(layout.blob(manifest, MANIFEST), "1")
        world.serve(layout)
        with pytest.raises(ArchiveError, match="only its vendor may distribute it"):
            world.pull()


def test_manifests_of_other_kinds(world: World) -> None:
    first = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    world.fake.manifest("a/app", b'{"schemaVersion": 1}', "1", media_type=first)
    with pytest.raises(ArchiveError, match="schema 1"):
        world.pull()
    world.fake.manifest("a/app", b"nonsense", "1", media_type="text/html")
    with pytest.raises(ArchiveError):
        world.pull()
    index = "application/vnd.oci.image.index.v1+json"
    data, _ = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}', 0
    world.fake.manifest("a/app", data, "1", media_type=index)
    with pytest.raises(ArchiveError, match="the registry calls"):
        world.pull()


# -- who vouches ------------------------------------------------------------------------------------


def test_an_image_that_nobody_signed(world: World) -> None:
    world.serve(simple())
    with pytest.raises(SignatureError, match="is not signed"):
        world.pull(insecure=())
    assert world.store.list() == []
    assert len(world.fetched()) == 1  # no layer


@pytest.mark.parametrize("api", [True, False])
def test_a_signature_by_a_trusted_key(world: World, key: Any, api: bool) -> None:
    world.fake.referrers_api = api
    world.serve(simple())
    data, name = world.manifest()
    made = world.vouch(key, data, name)
    if not api:
        entry = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": made,
            "size": len(world.fake.manifests["a/app", made][1]),
            "artifactType": ociartifact.SIGNATURE_TYPE,
        }
        index = {"schemaVersion": 2, "manifests": [entry]}
        kind = "application/vnd.oci.image.index.v1+json"
        world.fake.manifest("a/app", index, name.replace(":", "-"), media_type=kind)
    with pytest.raises(SignatureError, match="not trusted"):
        world.pull(insecure=())
    (trusted,) = world.keystore.add(bytes(key.extract_certificate()), world.name)
    assert world.pull(insecure=()).signer == trusted.fingerprint
    assert world.pull(insecure=()).signer == trusted.fingerprint


def test_a_key_that_is_trusted_for_something_else(world: World, key: Any) -> None:
    world.serve(simple())
    world.vouch(key, *world.manifest())
    world.keystore.add(bytes(key.extract_certificate()), f"{world.name}/below")
    with pytest.raises(SignatureError, match="not trusted"):
        world.pull(insecure=())


def test_a_signature_of_another_manifest(world: World, key: Any) -> None:
    world.serve(simple())
    world.keystore.add(bytes(key.extract_certificate()), world.name)
    data, name = world.manifest()
    world.vouch(key, data + b" ", name)
    with pytest.raises(SignatureError, match="does not match"):
        world.pull(insecure=())
    world.vouch(key, data, name)
    assert world.pull(insecure=()).signer


def test_a_signature_of_the_index_vouches_for_its_images(world: World, key: Any) -> None:
    layout = Layout()
    one = {**layout.image([layer(("file0", "x"))]), "platform": {"os": "linux", "architecture": "amd64"}}
    layout.tag(layout.index(one), "1")
    world.serve(layout)
    world.keystore.add(bytes(key.extract_certificate()), world.name)
    world.vouch(key, *world.manifest())
    assert world.pull(insecure=()).signer


def test_an_image_imported_without_a_look_does_not_pass_for_a_verified_one(world: World, key: Any) -> None:
    world.serve(simple())
    world.keystore.add(bytes(key.extract_certificate()), world.name)
    assert world.pull().signer == ""
    for pull in ("new", "update", "never"):
        with pytest.raises(SignatureError):
            world.pull(insecure=(), pull=pull)
    world.vouch(key, *world.manifest())
    assert world.pull(insecure=()).signer
    assert len(world.store.list()) == 1


def test_a_key_must_be_trusted_for_what_the_image_calls_itself(world: World, key: Any, tmp_path: Path) -> None:
    from appc.build.convert import How, convert_image

    source = tmp_path / "app.aci"
    image_id = aci(source, {"file0": "hello"})
    convert_image(world.store, str(source), f"oci:{tmp_path}/layout:1", How(AMD64), [])
    files = {
        str(path.relative_to(tmp_path / "layout")): path.read_bytes()
        for path in (tmp_path / "layout").rglob("*")
        if path.is_file()
    }
    world.fake.take("a/app", files)
    world.vouch(key, *world.manifest())
    certificate = bytes(key.extract_certificate())
    world.keystore.add(certificate, world.name)
    with pytest.raises(SignatureError, match="calls itself example.com/app"):
        world.pull(insecure=())
    assert world.store.list() == []
    world.keystore.add(certificate, "example.com")
    image = world.pull(insecure=())
    assert (image.name, bool(image.signer)) == ("example.com/app", True)
    assert image.id == image_id


# -- ACIs as they are -----------------------------------------------------------------------------------


def push_aci(world: World, data: bytes, signature: bytes = b"") -> None:
    config = {"mediaType": ociartifact.ACI_CONFIG, "digest": world.fake.blob(b"{}"), "size": 2}
    layers = [{"mediaType": ociartifact.ACI_LAYER, "digest": world.fake.blob(data), "size": len(data)}]
    if signature:
        name = world.fake.blob(signature)
        layers.append({"mediaType": ociartifact.PGP_SIGNATURE, "digest": name, "size": len(signature)})
    world.fake.manifest("a/app", ociartifact.aci(config, layers, {}), "1")


def test_an_aci_as_it_is(world: World, key: Any) -> None:
    image_id = aci(world.path / "app.aci", {"file0": "hello"})
    data = (world.path / "app.aci").read_bytes()
    push_aci(world, data)
    with pytest.raises(SignatureError, match="without the signature of its file"):
        world.pull(insecure=())
    image = world.pull()
    assert image.id == image_id
    push_aci(world, data, bytes(pysequoia.sign(key.signer(), data, mode=pysequoia.SignatureMode.DETACHED)))
    with pytest.raises(SignatureError, match="not trusted"):
        world.pull(insecure=(), pull="update")
    world.keystore.add(bytes(key.extract_certificate()), "example.com")
    assert world.pull(insecure=(), pull="update").signer
    assert (Path(image.path) / "original").read_bytes() == data
