"""From a reference to an image: files, names and IDs, verified by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import image_kit
from appc.errors import AppcError, ImageNotFound, InvalidValue, SignatureError, UsageError
from appc.images.fetch import classify, host_labels, resolve
from appc.images.use import find_stored, in_use
from appc.images.verify import verify
from appc.store.images import ImageStore, StoredImage
from appc.trust.keystore import Keystore

pysequoia = pytest.importorskip("pysequoia")

NAME = "example.com/app"


class Signer:
    """A key, and signatures made with it beside files."""

    def __init__(self) -> None:
        self.secret = pysequoia.Tsk.generate(user_id="me <me@example.com>")
        self.public = bytes(self.secret.extract_certificate())
        self.fingerprint = self.secret.extract_certificate().fingerprint

    def sign(self, path: Path, suffix: str = ".asc") -> Path:
        target = path.with_name(path.name + suffix)
        mode = pysequoia.SignatureMode.DETACHED
        target.write_bytes(pysequoia.sign(self.secret.signer(), path.read_bytes(), mode=mode))
        return target


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


@pytest.fixture
def config(tmp_path: Path) -> tuple[str, ...]:
    return (str(tmp_path / "config"),)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "app.aci"
    image_kit.aci(path, {"bin/app": "x"}, NAME, "1.0")
    return path


def left_by_refusal(store: ImageStore) -> list[str]:
    return [path for path in image_kit.listing(Path(store.root)) if path.count("/") > 1 and "/locks/" not in path]


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("sha512-abcdef", "id"),
        ("example.com/app", "name"),
        ("example.com/app:1.0,os=linux", "name"),
        ("app.aci", "path"),
        ("dir/app.aci", "path"),
        ("/dir/app", "path"),
        ("./app", "path"),
        ("../app", "path"),
        ("file:///dir/app.aci", "path"),
        ("https://example.com/app.aci", "url"),
        ("torrent+https://example.com/app.aci", "url"),
        ("1://example.com/app.aci", "path"),
        ("docker://busybox", "docker:"),
        ("docker:busybox", "docker:"),
        ("oci:dir", "oci:"),
        ("oci-archive:file", "oci-archive:"),
        ("docker-archive:file.tar", "docker-archive:"),
    ],
)
def test_the_form_of_a_reference_is_seen_from_its_text(reference: str, kind: str) -> None:
    assert classify(reference) == kind


def test_an_existing_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert classify("example.com") == "name"
    (tmp_path / "example.com").touch()
    assert classify("example.com") == "path"


def test_what_is_not_there_yet_is_said(store: ImageStore) -> None:
    with pytest.raises(UsageError, match="not supported yet by this version") as caught:
        resolve(store, "cimd:docker:v=0:busybox")
    assert caught.value.hint


@pytest.mark.parametrize("reference", ["https://example.com/app.aci", NAME])
def test_without_a_network_only_the_store_is_asked(store: ImageStore, reference: str) -> None:
    with pytest.raises(ImageNotFound):
        resolve(store, reference)


def test_a_signed_file_of_a_trusted_key_is_fetched(
    store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer
) -> None:
    signer.sign(image)
    Keystore(config).add(signer.public, "example.com")
    found = resolve(store, str(image), config=config)
    assert (found.name, found.signer) == (NAME, signer.fingerprint)
    assert Path(found.path, "original").read_bytes() == image.read_bytes()
    assert resolve(store, f"{NAME}:1.0").id == found.id
    assert resolve(store, found.id[:30]).id == found.id
    assert resolve(store, f"file://{image}", config=config).id == found.id


def test_a_signature_may_lie_elsewhere(store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer) -> None:
    Keystore(config).add(signer.public, "")
    signature = signer.sign(image, ".sig")
    assert resolve(store, str(image), config=config, signature=str(signature)).signer == signer.fingerprint
    with pytest.raises(UsageError, match="it is in the store already"):
        resolve(store, NAME, signature=str(signature))
    with pytest.raises(UsageError, match="only an image file"):
        resolve(store, "sha512-abcdef", signature=str(signature))


def test_an_unsigned_file_is_refused_unless_told_otherwise(
    store: ImageStore, config: tuple[str, ...], image: Path
) -> None:
    with pytest.raises(SignatureError, match=r"is not signed: there is no .*app\.aci\.asc") as caught:
        resolve(store, str(image), config=config)
    assert "--insecure image" in caught.value.hint
    assert left_by_refusal(store) == []
    found = resolve(store, str(image), config=config, insecure=["image"])
    assert found.signer == ""
    with pytest.raises(SignatureError):
        resolve(store, str(image), config=config)


def test_a_refusal_says_who_signed_who_would_do_and_what_to_type(
    store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer
) -> None:
    made_by = pysequoia.Sig.from_file(str(signer.sign(image))).issuer_fingerprint
    other = Signer()
    Keystore(config).add(other.public, "example.com")
    with pytest.raises(SignatureError) as caught:
        resolve(store, str(image), config=config)
    assert str(caught.value).startswith(f"{image}: signed by key {made_by}")
    assert f"not trusted for {NAME}" in str(caught.value)
    assert other.fingerprint in caught.value.hint
    assert f"appc trust add --prefix {NAME} KEYFILE" in caught.value.hint
    assert left_by_refusal(store) == []


def test_a_file_whose_name_the_key_may_not_sign_is_refused(
    store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer
) -> None:
    signer.sign(image)
    Keystore(config).add(signer.public, "example.com/other")
    with pytest.raises(SignatureError, match=r"only for example\.com/other"):
        resolve(store, str(image), config=config)
    assert left_by_refusal(store) == []


def test_a_changed_file_is_refused(store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer) -> None:
    signer.sign(image)
    Keystore(config).add(signer.public, "example.com")
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(SignatureError, match="does not match"):
        resolve(store, str(image), config=config)
    assert left_by_refusal(store) == []


def test_a_known_file_is_verified_again_when_its_signer_is_no_longer_trusted(
    store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer
) -> None:
    signature = signer.sign(image)
    keystore = Keystore(config)
    keystore.add(signer.public, "example.com")
    found = resolve(store, str(image), config=config)
    signature.unlink()
    assert resolve(store, str(image), config=config).id == found.id
    keystore.remove(signer.fingerprint)
    with pytest.raises(SignatureError, match="is not signed"):
        resolve(store, str(image), config=config)
    assert resolve(store, NAME, config=config).id == found.id


def test_never_pulling_means_the_store_alone(store: ImageStore, config: tuple[str, ...], image: Path) -> None:
    with pytest.raises(ImageNotFound, match="--pull never"):
        resolve(store, str(image), config=config, insecure=["image"], pull="never")
    resolve(store, str(image), config=config, insecure=["image"])
    resolve(store, str(image), config=config, insecure=["image"], pull="never")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("absent.aci", "there is no such file"),
        ("dir.aci", "is a directory, not an image"),
        ("fifo.aci", "is not a regular file"),
        ("file.aci/x.aci", "there is no such file"),
        ("nul\0.aci", "no file can be called that"),
        ("x" * 300 + ".aci", "File name too long"),
    ],
)
def test_what_is_no_file_is_said(store: ImageStore, tmp_path: Path, what: str, error: str) -> None:
    (tmp_path / "dir.aci").mkdir()
    (tmp_path / "file.aci").touch()
    os.mkfifo(tmp_path / "fifo.aci")
    with pytest.raises(AppcError, match=error) as caught:
        resolve(store, str(tmp_path / what), insecure=["image"])
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "Example.com/App",
        "a b",
        "..",
        "a\0b",
        "-x",
        "a\nb",
        "x,y",
        "example.com/app:1:2",
        "example.com/app,",
    ],
)
def test_what_is_no_name_is_refused(store: ImageStore, reference: str) -> None:
    with pytest.raises(InvalidValue):
        resolve(store, reference)


def test_the_image_for_this_host_is_taken(store: ImageStore, tmp_path: Path) -> None:
    ids = {}
    here = str(host_labels().get("arch"))
    other = "s390x" if here != "s390x" else "amd64"
    for arch in (here, other):
        path = tmp_path / f"{arch}.aci"
        ids[arch] = image_kit.aci(path, {arch: arch}, NAME, labels=[("os", "linux"), ("arch", arch)])
        resolve(store, str(path), insecure=["image"])
    if host_labels().get("os") == "linux":
        assert resolve(store, NAME).id == ids[here]
    assert resolve(store, f"{NAME},arch={other}").id == ids[other]


def test_using_an_image_is_noted(store: ImageStore, image: Path) -> None:
    found = resolve(store, str(image), insecure=["image"])
    os.utime(f"{found.path}/used", (1000, 1000))
    resolve(store, NAME)
    assert store.get(found.id).used > 10**18


def test_verifying_stores_nothing(store: ImageStore, config: tuple[str, ...], image: Path, signer: Signer) -> None:
    with pytest.raises(SignatureError, match="is not signed"):
        verify(str(image), config)
    signer.sign(image)
    with pytest.raises(SignatureError, match="not trusted"):
        verify(str(image), config)
    Keystore(config).add(signer.public, NAME)
    found = verify(str(image), config)
    assert (found.name, found.signer) == (NAME, signer.fingerprint)
    assert not os.path.exists(store.root)


# -- which images are meant, and needed -----------------------------------------------------------


def add(store: ImageStore, path: Path, version: str) -> StoredImage:
    image_kit.aci(path, {"v": version}, NAME, version)
    return resolve(store, str(path), insecure=["image"])


def test_a_verb_that_changes_the_store_does_not_guess(store: ImageStore, tmp_path: Path) -> None:
    one = add(store, tmp_path / "1.aci", "1")
    assert find_stored(store, NAME).id == one.id
    add(store, tmp_path / "2.aci", "2")
    with pytest.raises(UsageError, match="2 images are called that"):
        find_stored(store, NAME)
    assert find_stored(store, f"{NAME}:1").id == one.id
    assert find_stored(store, one.id[:20]).id == one.id


def test_pods_name_the_images_they_need(tmp_path: Path) -> None:
    assert in_use(str(tmp_path)) == {}
    for phase, uuid, request in (
        ("run", "1111", '{"images": ["sha512-a", "sha512-b"]}'),
        ("prepared", "2222", '{"images": ["sha512-c"]}'),
        ("garbage", "3333", '{"images": ["sha512-d"]}'),
        ("embryo", "4444", None),
    ):
        directory = tmp_path / "pods" / phase / uuid
        directory.mkdir(parents=True)
        if request is not None:
            (directory / "request").write_text(request)
    assert in_use(str(tmp_path)) == {"sha512-a": "pod 1111", "sha512-b": "pod 1111", "sha512-c": "pod 2222"}
    (tmp_path / "pods/run/1111/request").write_text("{")
    with pytest.raises(AppcError):
        in_use(str(tmp_path))
