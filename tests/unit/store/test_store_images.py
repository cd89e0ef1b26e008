"""Looking images up: by ID, by name and labels, and how cheap that is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import image_kit
from appc.errors import ImageNotFound, InvalidValue, StoreError
from appc.store.images import ImageStore, StoredImage
from appc.values import Labels


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


def add(store: ImageStore, tmp_path: Path, name: str = "example.com/app", version: str = "", **fields: object) -> str:
    path = tmp_path / f"{os.urandom(4).hex()}.aci"
    image_kit.aci(path, {"a": os.urandom(4)}, name, version, **fields)  # type: ignore[arg-type]
    with path.open("rb") as stream:
        return store.import_file(stream, where=str(path)).id


def test_a_store_that_is_not_there_is_empty_and_stays_away(tmp_path: Path, store: ImageStore) -> None:
    assert store.list() == []
    with pytest.raises(ImageNotFound):
        store.find("example.com/app")
    with pytest.raises(ImageNotFound):
        store.get("sha512-" + "0" * 128)
    assert store.gc() == []
    assert not os.path.exists(store.root)


def test_ids_can_be_shortened_as_long_as_they_mean_one_image(tmp_path: Path, store: ImageStore) -> None:
    ids = sorted(add(store, tmp_path, version=str(number)) for number in range(20))
    for image_id in ids:
        assert store.get(image_id).id == image_id
        assert store.get(image_id[:40]).id == image_id
    other = "0" if ids[0][-1] != "0" else "1"
    os.mkdir(f"{store.root}/store/images/{ids[0][:-1]}{other}")
    with pytest.raises(ImageNotFound, match="2 images in the store begin like that"):
        store.get(ids[0][:60])
    with pytest.raises(ImageNotFound, match="not in the store"):
        store.get("sha512-" + "0" * 128)


@pytest.mark.parametrize("text", ["sha512-", "sha512-a", "sha512-xyz", "sha256-abcd", "abcd", "sha512-../../etc", ""])
def test_what_cannot_be_an_id_is_refused(store: ImageStore, text: str) -> None:
    with pytest.raises(InvalidValue):
        store.get(text)


def test_all_labels_asked_for_must_match(tmp_path: Path, store: ImageStore) -> None:
    one = add(store, tmp_path, version="1.0", labels=[("os", "linux"), ("arch", "amd64")])
    two = add(store, tmp_path, version="2.0", labels=[("os", "linux"), ("arch", "amd64")])
    assert store.find("example.com/app", Labels.parse("version=1.0")).id == one
    assert store.find("example.com/app", Labels.parse("version=2.0,os=linux")).id == two
    with pytest.raises(ImageNotFound) as caught:
        store.find("example.com/app", Labels.parse("version=3.0"))
    assert "1.0, 2.0" in caught.value.hint
    with pytest.raises(ImageNotFound):
        store.find("example.com/app", Labels.parse("version=1.0,arch=arm64"))
    with pytest.raises(ImageNotFound):
        store.find("example.com", None)


def test_of_several_the_one_imported_last_is_taken(tmp_path: Path, store: ImageStore) -> None:
    add(store, tmp_path, version="2.0")
    last = add(store, tmp_path, version="1.0")
    assert store.find("example.com/app").id == last


def test_preferred_labels_go_before_the_time_of_import(tmp_path: Path, store: ImageStore) -> None:
    fits = add(store, tmp_path, labels=[("os", "linux"), ("arch", "amd64")])
    any_arch = add(store, tmp_path, labels=[("os", "linux")])
    other = add(store, tmp_path, labels=[("os", "linux"), ("arch", "aarch64")])
    host = Labels.parse("os=linux,arch=amd64")
    assert store.find("example.com/app", None, host).id == fits
    assert store.find("example.com/app", None, None).id == other
    store.remove(store.get(fits))
    assert store.find("example.com/app", None, host).id == any_arch


def test_names_with_awkward_letters_are_found(tmp_path: Path, store: ImageStore) -> None:
    names = ["a", "a/b", "a-b", "a.b~c_d/e", "x" * 400, "x" * 401, "a//b", "a/../b"]
    ids = {name: add(store, tmp_path, name) for name in names}
    for name, image_id in ids.items():
        assert store.find(name).id == image_id
        assert store.get(image_id).name == name


def test_a_damaged_record_is_named_and_the_image_can_still_be_removed(tmp_path: Path, store: ImageStore) -> None:
    image = store.get(add(store, tmp_path))
    Path(image.path, "meta").write_text('{"version": 99}')
    broken = store.get(image.id)
    with pytest.raises(StoreError, match="version"):
        _ = broken.name
    store.remove(broken)
    assert store.list() == []
    assert os.listdir(f"{store.root}/store/names") == []


def test_using_an_image_is_noted(tmp_path: Path, store: ImageStore) -> None:
    image = store.get(add(store, tmp_path))
    os.utime(f"{image.path}/used", (1000, 1000))
    assert store.get(image.id).used == 1000 * 10**9
    store.touch(image)
    assert time.time() - store.get(image.id).used / 1e9 < 5


def test_what_is_held_is_not_removed(tmp_path: Path, store: ImageStore) -> None:
    image = store.get(add(store, tmp_path))
    held = store.hold(image)
    with pytest.raises(Exception, match="another process is working with it"):
        store.remove(image)
    assert [entry.kind for entry in store.gc(grace=-1)] == []
    held.close()
    store.remove(image)
    with pytest.raises(ImageNotFound):
        store.hold(image)


def test_lookups_import_nothing_dear_and_take_less_than_a_millisecond(tmp_path: Path, store: ImageStore) -> None:
    image_id = add(store, tmp_path, version="1.0", labels=[("os", "linux")])
    code = f"""
import sys, time
sys.path.append({str(Path(sys.modules["appc"].__file__).parent.parent)!r})
from appc.images.fetch import resolve
from appc.images.render import rootfs_for
from appc.store.images import ImageStore
store = ImageStore({store.root!r})
best = 1.0
for _ in range(20):
    before = time.perf_counter()
    image = resolve(store, "example.com/app:1.0")
    root = rootfs_for(store, image)
    best = min(best, time.perf_counter() - before)
assert root.lowers == (image.tree,) and image.id == {image_id!r}
image.manifest_bytes, image.labels, image.name
banned = "re json dataclasses typing pathlib subprocess logging argparse shutil tempfile enum collections functools"
print(best, *sorted(set(banned.split() + ["hashlib", "socket", "contextlib", "datetime"]) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    best, *imported = done.stdout.split()
    assert imported == []
    assert float(best) < 0.001


def test_images_can_be_found_among_many(tmp_path: Path, store: ImageStore) -> None:
    image_id = add(store, tmp_path)
    images = f"{store.root}/store/images"
    for number in range(2000):
        os.mkdir(f"{images}/sha512-{number:0128x}")
    before = time.perf_counter()
    assert store.find("example.com/app").id == image_id
    assert time.perf_counter() - before < 0.05
    assert isinstance(store.get(image_id[:60]), StoredImage)
