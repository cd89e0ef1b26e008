"""What images, rendered trees and pods take on disk, against `du`, and whose the bytes are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import image_kit
from appc.cli.main import main
from appc.store import trees
from appc.store.blocks import measure
from appc.store.images import ImageStore, StoredImage
from appc.store.usage import usage

FILES: dict[str, image_kit.Entry] = {"bin/app": b"\x01" * 300_000, "bin/same": ("hard", "bin/app"), "etc/c": "c" * 5000}


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


def add(store: ImageStore, path: Path, name: str, keep: str = "never") -> StoredImage:
    image_kit.aci(path, FILES | {"name": name}, name)
    with path.open("rb") as stream:
        return store.import_file(stream, where=str(path), keep=keep)


def du(path: str | Path) -> int:
    return int(subprocess.run(["du", "-sxB1", path], capture_output=True, check=True, text=True).stdout.split()[0])


def test_the_sum_is_that_of_du_and_each_image_has_its_part(tmp_path: Path, store: ImageStore) -> None:
    one = add(store, tmp_path / "one.aci", "example.com/one", keep="always")
    add(store, tmp_path / "two.aci", "example.com/two")
    found = usage(store)
    assert found.total == du(f"{store.root}/store")
    shares = {image.id: share for image, share in found.images}
    share = shares[one.id]
    assert share.total == du(one.path)
    assert share.files == du(one.tree)
    assert share.original == du(f"{one.path}/original") > 0
    # Two names of one file within the image are shared with nobody.
    assert (share.shared, share.unique) == (0, share.total)
    assert found.total == found.other + sum(share.total for share in shares.values())


def test_what_a_rendered_tree_links_is_shared_and_counted_once(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "one.aci", "example.com/one")

    def fill(target: str) -> None:
        os.link(f"{image.tree}/bin/app", f"{target}/app")
        Path(target, "own").write_bytes(b"x" * 20_000)

    trees.make(store.root, "key", [image.id], fill)
    found = usage(store)
    ((_, share),) = found.images
    ((_, _, tree),) = found.trees
    linked = os.stat(f"{image.tree}/bin/app").st_blocks * 512
    assert linked >= 300_000
    assert share.shared == tree.shared == linked
    assert found.total == du(f"{store.root}/store") == found.other + share.unique + tree.unique + linked


def test_sparse_files_deep_directories_and_what_is_not_there(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(3000):  # far beyond the longest path, and the descriptors a process may have
            os.mkdir("directory", dir_fd=here)
            below = os.open("directory", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here))
    finally:
        os.close(here)
    try:
        assert measure(str(tmp_path)).total == du(tmp_path) < 1 << 28
    finally:
        subprocess.run(["rm", "-r", tmp_path / "directory"], check=True)
    assert measure(str(tmp_path / "absent")).total == 0


def test_links_and_other_file_systems_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/big").write_bytes(b"x" * 100_000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to("../out")
    (tmp_path / "in/loop").symlink_to(".")
    assert measure(str(tmp_path / "in")).total < 50_000


def test_df_shows_images_trees_and_pods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ImageStore(str(tmp_path / "data"))
    image = add(store, tmp_path / "one.aci", "example.com/one")
    trees.make(store.root, "0123abcd", [image.id], lambda target: os.link(f"{image.tree}/bin/app", f"{target}/app"))
    pod = Path(store.root, "pods/exited/01234567-89ab-4cde-8f01-23456789abcd")
    for name in ("apps/web/upper", "logs", "volumes/data"):
        (pod / name).mkdir(parents=True)
    (pod / "lock").touch()
    (pod / "logs/web.log").write_bytes(b"x" * 70_000)
    root = ["--root", store.root]

    assert main([*root, "image", "df", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["images"]] == ["example.com/one"]
    assert found["trees"][0]["images"] == [image.id]
    assert found["images"][0]["shared"] == found["trees"][0]["shared"] > 300_000
    assert found["total"] == du(f"{store.root}/store")
    assert 0 < found["available"] <= found["free"]
    assert main([*root, "image", "df", "--full", "--no-legend"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == [image.id, "tree-0123abcd"]
    assert rows[1].split()[1:3] == ["rendered:", "example.com/one"]

    assert main([*root, "df", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["pods"]
    assert (one["uuid"], one["state"], one["logs"]) == (pod.name, "exited", du(pod / "logs"))
    assert one["size"] == one["roots"] + one["logs"] + one["volumes"] + one["other"]
    assert found["total"] == found["podsTotal"] + found["imagesTotal"]
    assert main([*root, "df"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("pods: ")


def test_df_of_an_empty_and_of_a_damaged_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path / "data")]
    assert main([*root, "image", "df"]) == 0
    assert main([*root, "df"]) == 0
    image = add(ImageStore(str(tmp_path / "data")), tmp_path / "one.aci", "example.com/one")
    Path(image.path, "meta").write_text("{")
    capsys.readouterr()
    assert main([*root, "image", "df"]) == 0
    found = capsys.readouterr()
    assert image.id[:19] in found.out
    assert "its record is damaged" in found.err
