"""Keeping a store within a budget."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import image_kit
from appc.config import budget as checked
from appc.store import trees
from appc.store.budget import limit
from appc.store.images import ImageStore, StoredImage
from appc.values import ImageReference

MIB = 1 << 20
NEVER = 1e9


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


def add(store: ImageStore, path: Path, name: str, unused: float, **fields: object) -> StoredImage:
    """An image of one MiB that nobody has used for so many seconds."""
    image_kit.aci(path, {"data": os.urandom(MIB)}, f"example.com/{name}", compress="none", **fields)  # type: ignore[arg-type]
    with path.open("rb") as stream:
        image = store.import_file(stream, where=str(path), keep="never")
    then = time.time() - unused
    os.utime(f"{image.path}/used", (then, then))
    return image


def names(store: ImageStore) -> list[str]:
    return sorted(str(image.name).removeprefix("example.com/") for image in store.list())


def test_the_longest_unused_goes_first_and_no_more_than_need_be(tmp_path: Path, store: ImageStore) -> None:
    for number, name in enumerate(("b", "d", "a", "c")):
        add(store, tmp_path / "x.aci", name, 400 - 100 * number)
    would = store.gc(grace=NEVER, dry_run=True, budget=5 * MIB // 2)
    assert names(store) == ["a", "b", "c", "d"]
    removed = store.gc(grace=NEVER, budget=5 * MIB // 2)
    assert names(store) == ["a", "c"]
    assert [entry.name for entry in removed] == [entry.name for entry in would]
    assert all(MIB <= entry.size < 2 * MIB and "budget" in entry.reason for entry in removed)
    assert store.gc(grace=NEVER, budget=5 * MIB // 2) == []


def test_what_went_for_its_age_counts_as_gone(tmp_path: Path, store: ImageStore) -> None:
    for name, unused in (("old", 300), ("new", 10)):
        add(store, tmp_path / "x.aci", name, unused)
    for dry_run in (True, False):
        (entry,) = store.gc(grace=100, dry_run=dry_run, budget=3 * MIB // 2)
        assert "budget" not in entry.reason
    assert names(store) == ["new"]


def test_what_runs_is_pinned_or_needed_stays(tmp_path: Path, store: ImageStore) -> None:
    dependencies = [{"imageName": "example.com/base"}]
    add(store, tmp_path / "x.aci", "base", 900)
    runs = add(store, tmp_path / "x.aci", "runs", 800)
    add(store, tmp_path / "x.aci", "pinned", 700, dependencies=dependencies)
    add(store, tmp_path / "x.aci", "other", 600)
    pinned = [ImageReference.parse("example.com/pinned")]
    store.gc(lambda: {runs.id: "pod 1"}, NEVER, budget=0, pinned=pinned)
    assert names(store) == ["base", "pinned", "runs"]
    store.gc(grace=-1, pinned=pinned)
    assert names(store) == ["base", "pinned"]
    store.gc(grace=NEVER, budget=0)
    assert names(store) == []


def test_a_dependency_goes_after_what_needs_it(tmp_path: Path, store: ImageStore) -> None:
    add(store, tmp_path / "x.aci", "base", 900)
    add(store, tmp_path / "x.aci", "app", 100, dependencies=[{"imageName": "example.com/base"}])
    add(store, tmp_path / "x.aci", "free", 200)
    store.gc(grace=NEVER, budget=5 * MIB // 2)
    assert names(store) == ["app", "base"]
    store.gc(grace=NEVER, budget=3 * MIB // 2)
    assert names(store) == ["base"]


def test_an_image_that_comes_into_use_meanwhile_stays(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "x.aci", "app", 100)
    answers: list[dict[str, str]] = [{}]
    store.gc(lambda: answers.pop() if answers else {image.id: "pod 1"}, NEVER, budget=0)
    assert answers == []
    assert names(store) == ["app"]


def _fill(path: str) -> None:
    Path(path, "data").write_bytes(os.urandom(MIB))


def test_a_rendered_tree_goes_before_its_images(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "x.aci", "app", 100)
    place = trees.make(store.root, "tree", (image.id,), _fill)
    # Used later than its image, which nobody can do without while it is there.
    assert [entry.kind for entry in store.gc(grace=NEVER, budget=3 * MIB // 2)] == ["tree"]
    assert not os.path.exists(place)
    assert names(store) == ["app"]


def test_budgets_are_sizes_or_parts_of_the_disk(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert limit("", str(tmp_path)) is None
    assert limit("1.5Gi", str(tmp_path)) == 3 << 29
    half = limit("50%", f"{tmp_path}/not/there/yet")
    assert half == disk.f_blocks * disk.f_frsize // 2
    for good in ("0", "20Gi", "0%", "100%", "12.5%", 1 << 30):
        assert checked(good) == str(good)
    for bad in ("", "-1", "101%", "-1%", "nan%", "%", "much", True, None, []):
        with pytest.raises(ValueError, match="is neither a size"):
            checked(bad)
