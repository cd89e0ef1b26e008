"""Images into a registry: nothing twice, nothing named before it is complete, and the same image back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from appc.build.convert import How
from appc.build.push import PushHow, push
from appc.build.sign import sign_in_layout, sign_in_registry
from appc.errors import AppcError, NetworkError, SignatureError, UsageError
from appc.formats import ociartifact
from appc.images.fetch import resolve
from appc.images.referrers import Key
from appc.images.registry import Access
from appc.images.registry_known import Wanted
from appc.images.registry_pull import pull_image
from appc.images.verify import verify_oci
from appc.net import registry_push
from appc.net.credentials import Credentials
from appc.net.http import Client, Settings
from appc.store.images import ImageStore, StoredImage
from appc.trust.keystore import Keystore
from image_kit import aci
from net_kit import Request, Server
from oci_kit import Layout, layer
from registry_kit import FakeRegistry, digest

AMD64 = ("linux", "amd64")


class World:
    """A registry, and a host to push from."""

    def __init__(self, path: Path, fake: FakeRegistry) -> None:
        self.path = path
        self.fake = fake
        self.store = ImageStore(str(path / "root"))
        self.config = [str(path / "config")]

    @property
    def access(self) -> Access:
        settings = Settings(insecure={"http"}, pause=0.01, proxies={})
        return Access(Client(settings), Credentials(self.config), environment={"HOME": str(self.path)})

    def push(self, *sources: str | Path, to: str = "a/app:1", **how: Any) -> str:
        where = f"docker://{self.fake.host}/{to}"
        options = PushHow(How(AMD64), **how)
        return push(self.store, [str(one) for one in sources], where, self.access, options, [])

    def pull(self, name: str = "a/app:1", insecure: tuple[str, ...] = ("image",)) -> StoredImage:
        store = ImageStore(str(self.path / "elsewhere"))
        wanted = Wanted(store, f"docker://{self.fake.host}/{name}", self.config, AMD64, insecure)
        return pull_image(store, self.access, wanted)

    def image(self, arch: str = "amd64", **fields: Any) -> tuple[Path, str]:
        path = self.path / f"{arch}.aci"
        labels = [("os", "linux"), ("arch", arch)]
        return path, aci(path, {"file": f"for {arch}"}, labels=labels, **fields)

    def asked(self, method: str) -> list[str]:
        return [path for own, path in self.fake.log if own == method]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Server() as server:
        yield World(tmp_path, FakeRegistry(server))


@pytest.fixture(scope="module")
def key() -> Any:
    return pysequoia.Tsk.generate(user_id="One <one@example.com>")


def key_file(key: Any, path: Path) -> Key:
    path.write_bytes(bytes(key))
    return Key(file=str(path))


@pytest.mark.parametrize("artifact", [False, True])
def test_what_is_pushed_comes_back(world: World, artifact: bool) -> None:
    path, image_id = world.image(version="1.0")
    name = world.push(path, artifact=artifact)
    assert world.fake.manifests["a/app", "1"] == world.fake.manifests["a/app", name]
    assert world.pull().id == image_id
    assert world.asked("PUT")[-1] == "/v2/a/app/manifests/1"


def test_an_image_of_the_store(world: World) -> None:
    path, image_id = world.image()
    with path.open("rb") as stream:
        world.store.import_file(stream, where=str(path))
    for artifact in (False, True):
        world.push("example.com/app", artifact=artifact)
        assert world.pull().id == image_id


def test_an_artifact_says_what_it_is_and_has_its_signature(world: World, key: Any) -> None:
    path, image_id = world.image()
    data = path.read_bytes()
    signature = bytes(pysequoia.sign(key.signer(), data, mode=pysequoia.SignatureMode.DETACHED))
    Path(f"{path}.asc").write_bytes(signature)
    world.push(path, artifact=True)
    manifest = json.loads(world.fake.manifests["a/app", "1"][1])
    assert manifest["artifactType"] == ociartifact.ACI_TYPE
    assert json.loads(world.fake.blobs[manifest["config"]["digest"]])["acKind"] == "ImageManifest"
    assert [world.fake.blobs[one["digest"]] for one in manifest["layers"]] == [data, signature]
    Keystore(world.config).add(bytes(key.extract_certificate()), "example.com")
    assert (world.pull(insecure=()).id, bool(world.pull(insecure=()).signer)) == (image_id, True)


def test_what_is_there_is_not_sent_again(world: World) -> None:
    path, _ = world.image()
    world.push(path)
    world.fake.log.clear()
    world.push(path, to="a/app:2")
    assert world.asked("POST") == []
    assert all("/manifests/" in one for one in world.asked("PUT"))


def test_layers_are_mounted_from_where_they_are(world: World) -> None:
    path, _ = world.image()
    world.push(path)
    blobs, world.fake.log = dict(world.fake.blobs), []
    # Another repository does not have them, as far as asking for them goes.
    for name in blobs:
        world.fake.faults["HEAD", f"/v2/b/app/blobs/{name}"] = lambda request: request.send(404)
    source = f"docker://{world.fake.host}/a/app:1"
    world.push(source, to="b/app:1")
    manifest = json.loads(world.fake.manifests["a/app", "1"][1])
    mounted = [one for one in world.asked("POST") if "from=a%2Fapp" in one]
    for one in (manifest["config"], *manifest["layers"]):
        assert any(f"mount={one['digest']}" in path for path in mounted)
    assert world.asked("PATCH") == []
    assert world.fake.manifests["b/app", "1"] == world.fake.manifests["a/app", "1"]
    world.fake.mounts = False
    world.fake.log.clear()
    world.push(source, to="c/app:1")
    world.push(path, to="b/app:2", mount=("a/app",))
    assert world.pull("c/app:1").id


def test_several_platforms_under_one_tag(world: World) -> None:
    amd64, image_id = world.image("amd64")
    arm, _ = world.image("armv7l")
    world.push(amd64, arm)
    index = json.loads(world.fake.manifests["a/app", "1"][1])
    assert [one["platform"] for one in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
    ]
    assert world.pull().id == image_id
    with pytest.raises(UsageError, match="same platform"):
        world.push(amd64, amd64)
    world.push(amd64, arm, artifact=True, to="a/app:2")
    assert world.pull("a/app:2").id == image_id


@pytest.mark.parametrize("api", [True, False])
def test_what_is_signed_when_pushed_is_verified_when_pulled(world: World, key: Any, api: bool) -> None:
    world.fake.referrers_api = api
    path, _ = world.image()
    name = world.push(path, key=key_file(key, world.path / "secret"))
    certificate = bytes(key.extract_certificate())
    keystore = Keystore(world.config)
    keystore.add(certificate, "example.com")
    with pytest.raises(AppcError, match="not trusted"):
        world.pull(insecure=())
    (trusted,) = keystore.add(certificate, f"{world.fake.host}/a".replace(":", "_"))
    assert world.pull(insecure=()).signer == trusted.fingerprint
    # The list is added to, not replaced.
    world.push(path, key=key_file(key, world.path / "secret"))
    if not api:
        listed = json.loads(world.fake.manifests["a/app", name.replace(":", "-")][1])["manifests"]
        kinds = [one["artifactType"] for one in listed]
        assert kinds == [ociartifact.SIGNATURE_TYPE, ociartifact.SIGNATURE_TYPE]


def test_a_copy_takes_the_signatures_along(world: World, key: Any) -> None:
    path, _ = world.image()
    world.push(path, key=key_file(key, world.path / "secret"))
    world.push(f"docker://{world.fake.host}/a/app:1", to="b/app:1")
    Keystore(world.config).add(bytes(key.extract_certificate()), "")
    assert world.pull("b/app:1", insecure=()).signer


def test_a_layout_is_copied_byte_for_byte(world: World) -> None:
    layout = Layout()
    layout.tag(layout.image([layer(("file", "hello"))], annotations={"odd": " spacing "}), "1.0")
    layout.write(world.path / "layout")
    name = world.push(f"oci:{world.path}/layout:1.0")
    assert name == layout.manifests[0]["digest"]


def test_an_archive_of_another_tool_comes_back_to_the_bit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log of its headers is too long for the configuration it goes along as an artifact of its own."""
    monkeypatch.setattr("appc.build.convert_oci.MOST_HEADERS", 0)
    path, image_id = world.image(manifest_first=True)
    name = world.push(path)
    kinds = [json.loads(data).get("artifactType") for _, data in world.fake.manifests.values()]
    assert ociartifact.HEADERS_TYPE in kinds
    assert world.pull().id == image_id
    assert name


# -- large blobs, and transfers that break -----------------------------------------------------------


def large(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    monkeypatch.setattr(registry_push, "CHUNK", 1000)
    path = world.path / "large.aci"
    return path, aci(path, {"file": hashlib.shake_128(b"x").digest(5000)}, compress="none")


def test_large_blobs_go_in_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path, image_id = large(world, monkeypatch)
    world.push(path)
    assert len(world.asked("PATCH")) > 5
    assert world.pull().id == image_id


def test_a_chunk_that_got_lost_is_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path, image_id = large(world, monkeypatch)
    seen: list[str] = []

    class Faulty(dict[Any, Any]):
        def get(self, wanted: Any, default: Any = None) -> Any:
            method, where = wanted
            if method != "PATCH" or len(seen) > 8:
                return None
            seen.append(where)
            return self.lose if len(seen) % 3 == 0 else self.half if len(seen) % 3 == 1 else None

        @staticmethod
        def lose(request: Request) -> None:
            request.close_connection = True

        @staticmethod
        def half(request: Request) -> None:
            name = request.path.partition("?")[0].rpartition("/")[2]
            world.fake.uploads[name] += request.body[: len(request.body) // 2]
            request.send(500)

    world.fake.faults = Faulty()
    world.push(path)
    assert len(seen) > 5
    assert world.pull().id == image_id


def test_an_upload_that_fails_is_cancelled_and_leaves_no_tag(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = large(world, monkeypatch)

    class Refusing(dict[Any, Any]):
        def get(self, wanted: Any, default: Any = None) -> Any:
            return (lambda request: request.send(403)) if wanted[0] == "PATCH" else None

    world.fake.faults = Refusing()
    with pytest.raises(NetworkError, match="403"):
        world.push(path)
    assert world.fake.uploads == {}
    assert world.fake.manifests == {}


def test_a_registry_that_stores_something_else(world: World) -> None:
    path, _ = world.image()
    name = world.push(path)
    lie = {"Docker-Content-Digest": digest(b"lie")}
    world.fake.faults["PUT", f"/v2/a/app/manifests/{name}"] = lambda request: request.send(201, lie)
    with pytest.raises(NetworkError, match="stored"):
        world.push(path)


def test_a_digest_is_no_place_to_push_to(world: World) -> None:
    path, _ = world.image()
    with pytest.raises(UsageError, match="follows from it"):
        world.push(path, to=f"a/app@{digest(b'')}")


# -- signing what is there already ----------------------------------------------------------------------


@pytest.mark.parametrize("api", [True, False])
def test_what_is_in_a_registry_is_signed_there(world: World, key: Any, api: bool) -> None:
    world.fake.referrers_api = api
    path, _ = world.image()
    name = world.push(path)
    reference = f"docker://{world.fake.host}/a/app:1"
    keystore = Keystore(world.config)
    keystore.add(bytes(key.extract_certificate()), "")

    def check() -> tuple[str, str]:
        found = verify_oci(world.store, reference, world.config, AMD64, lambda: world.access)
        return found.name, found.image_id

    with pytest.raises(SignatureError, match="is not signed"):
        check()
    sign_in_registry(world.access, reference, key_file(key, world.path / "secret"))
    assert check() == ("example.com/app", name)
    assert world.pull(insecure=()).signer


def test_an_index_is_signed_whole(world: World, key: Any) -> None:
    world.push(world.image("amd64")[0], world.image("armv7l")[0])
    sign_in_registry(world.access, f"docker://{world.fake.host}/a/app:1", key_file(key, world.path / "secret"))
    Keystore(world.config).add(bytes(key.extract_certificate()), "")
    assert world.pull(insecure=()).signer


def layout_of(world: World) -> str:
    layout = Layout()
    layout.tag(layout.image([layer(("file", "hello"))], {"Cmd": ["/file"]}), "1.0")
    layout.tag(layout.image([layer(("file", "other"))]), "2.0")
    layout.write(world.path / "app")
    return f"oci:{world.path}/app:1.0"


def test_a_layout_is_signed_and_verified(world: World, key: Any) -> None:
    reference = layout_of(world)
    secret = key_file(key, world.path / "secret")

    def fetch() -> StoredImage:
        return resolve(world.store, reference, config=world.config)

    with pytest.raises(SignatureError, match="is not signed") as caught:
        fetch()
    assert f"appc image sign {reference}" in caught.value.hint
    sign_in_layout(reference, AMD64, secret)
    with pytest.raises(SignatureError, match="not trusted for app"):
        fetch()
    Keystore(world.config).add(bytes(key.extract_certificate()), "app")
    image = fetch()
    assert (image.name, bool(image.signer)) == ("app", True)
    assert verify_oci(world.store, reference, world.config, AMD64, lambda: world.access).signer == image.signer
    with pytest.raises(SignatureError, match="is not signed"):
        resolve(world.store, reference.replace("1.0", "2.0"), config=world.config)
    # A second one by somebody else takes nothing away, and both images are still there for everybody.
    sign_in_layout(reference, AMD64, key_file(pysequoia.Tsk.generate(user_id="x"), world.path / "other"))
    assert resolve(world.store, reference, config=world.config, pull="update").signer
    listed = json.loads((world.path / "app/index.json").read_text())["manifests"]
    assert sorted(one.get("artifactType", "") for one in listed) == ["", "", *[ociartifact.SIGNATURE_TYPE] * 2]


def test_a_layout_brings_its_signatures_into_a_registry(world: World, key: Any) -> None:
    reference = layout_of(world)
    sign_in_layout(reference, AMD64, key_file(key, world.path / "secret"))
    world.push(reference)
    Keystore(world.config).add(bytes(key.extract_certificate()), "")
    assert world.pull(insecure=()).signer


def test_a_signature_of_something_else_in_a_layout_is_passed_over(world: World, key: Any) -> None:
    reference = layout_of(world)
    sign_in_layout(reference.replace("1.0", "2.0"), AMD64, key_file(key, world.path / "secret"))
    Keystore(world.config).add(bytes(key.extract_certificate()), "")
    with pytest.raises(SignatureError, match="is not signed"):
        resolve(world.store, reference, config=world.config)
