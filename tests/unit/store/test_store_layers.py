"""What steps of builds made, kept in the store: found by key, limited, and never taken from who uses it."""

from __future__ import annotations

import os
from pathlib import Path

from appc.store import layers
from appc.store.images import ImageStore
from appc.store.staging import Staging


def put(root: Path, key: str, used: int, size: int = 4096) -> layers.Layer:
    with Staging(str(root)) as staging:
        diff = Path(staging.path) / "diff"
        diff.mkdir()
        (diff / "file").write_bytes(key.encode() * size)
        layer = layers.put(str(root), key, str(diff))
    os.utime(root / "store/layers" / key / "used", (used, used))
    return layer


def keys(root: Path) -> list[str]:
    return sorted(os.listdir(root / "store/layers"))


def test_a_layer_is_found_by_its_key(tmp_path: Path) -> None:
    assert layers.find(str(tmp_path), "a") is None
    made = put(tmp_path, "a", 1)
    assert Path(made.path, "file").read_bytes()[:1] == b"a"
    found = layers.find(str(tmp_path), "a")
    assert found is not None
    assert found.path == made.path
    assert os.stat(tmp_path / "store/layers/a/used").st_mtime > 1
    # Who comes second uses what the first made.
    assert put(tmp_path, "a", 1, size=1).path == made.path
    assert len(Path(made.path, "file").read_bytes()) == 4096
    assert os.listdir(tmp_path / "store/staging") == []


def test_the_limit_takes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    held = put(tmp_path, "a", 1, 40_000)
    for key, used in (("b", 4), ("c", 2), ("d", 3)):
        put(tmp_path, key, used, 40_000)
    layers.trim(str(tmp_path), 100_000)
    assert keys(tmp_path) == ["a", "b"]
    del held
    layers.trim(str(tmp_path), 0)
    assert keys(tmp_path) == []


def test_the_collector_takes_what_nobody_uses(tmp_path: Path) -> None:
    store = ImageStore(str(tmp_path))
    held = put(tmp_path, "a", 1)
    put(tmp_path, "b", 1)
    os.utime(put(tmp_path, "new", 1).path + "/../used")
    failed = tmp_path / "made"
    failed.mkdir()
    name = os.path.basename(layers.keep_build(str(tmp_path), "x", str(failed)))
    os.utime(tmp_path / "store/builds" / name, (1, 1))
    assert store.gc() == []
    assert {(one.kind, one.name) for one in store.gc(grace=60, dry_run=True)} == {("layer", "b"), ("build", "x")}
    store.gc(grace=60)
    assert keys(tmp_path) == ["a", "new"]
    assert layers.builds(str(tmp_path)) == []
    del held


def test_a_failed_build_takes_the_place_of_the_last_of_its_name(tmp_path: Path) -> None:
    for text in ("1", "2"):
        made = tmp_path / "made"
        made.mkdir()
        (made / "file").write_text(text)
        path = layers.keep_build(str(tmp_path), "x", str(made))
    assert layers.builds(str(tmp_path)) == ["x"]
    assert Path(path, "file").read_text() == "2"
