"""Exporting, checking, repairing, removing and collecting."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import time
from pathlib import Path

import pytest

import image_kit
from appc.errors import AppcError, StoreError
from appc.formats.aci import read_aci
from appc.store import trees
from appc.store.images import ImageStore, StoredImage
from appc.store.layout import store_path
from appc.store.records import HEADER, read_records
from appc.store.staging import Staging

FILES: dict[str, image_kit.Entry] = {
    "bin/app": ("file", b"program" * 1000, {"mode": 0o755}),
    "bin/same": ("hard", "bin/app"),
    "etc/conf": "setting=1\n",
    "etc/link": ("link", "conf"),
    "tmp": ("dir", 0o1777),
    "run/pipe": ("file", b"", {"type": b"6"}),
}


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


def add(
    store: ImageStore,
    path: Path,
    name: str = "example.com/app",
    keep: str = "never",
    compress: str = "gzip",
    **fields: object,
) -> StoredImage:
    image_kit.aci(path, FILES | {"name": name}, name, compress=compress, **fields)  # type: ignore[arg-type]
    with path.open("rb") as stream:
        return store.import_file(stream, where=str(path), keep=keep)


def age(image: StoredImage, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(f"{image.path}/used", (then, then))


# -- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", ["none", "gzip", "bzip2", "xz"])
def test_an_exported_archive_is_the_imported_one(tmp_path: Path, store: ImageStore, compress: str) -> None:
    image = add(store, tmp_path / "app.aci", compress=compress)
    out = io.BytesIO()
    assert store.export(image, out) == b""
    out.seek(0)
    found = read_aci(out)
    assert (found.image_id, found.compression) == (image.id, compress)
    plain = io.BytesIO()
    store.export(image, plain, "none")
    assert f"sha512-{hashlib.sha512(plain.getvalue()).hexdigest()}" == image.id


def test_a_kept_file_is_given_back_to_the_byte(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci", keep="always")
    out = io.BytesIO()
    store.export(image, out)
    assert out.getvalue() == (tmp_path / "app.aci").read_bytes()


def test_a_damaged_image_is_not_exported_in_silence(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")
    Path(image.tree, "etc/conf").write_text("setting=2\n")
    with pytest.raises(StoreError, match="contents changed"):
        store.export(image, io.BytesIO())


# -- check and repair -----------------------------------------------------------------------------


def test_an_untouched_image_has_no_faults(tmp_path: Path, store: ImageStore) -> None:
    assert store.check(add(store, tmp_path / "app.aci")) == []


def damage(image: StoredImage, how: str) -> str:
    """Damage an image and return the path that should be named."""
    tree = Path(image.tree)
    conf = tree / "etc/conf"
    status = conf.stat()
    if how == "content":
        conf.write_text("setting=2\n")
        os.utime(conf, ns=(status.st_atime_ns, status.st_mtime_ns))
        return "/etc/conf"
    if how == "length":
        conf.write_text("")
        return "/etc/conf"
    if how == "mode":
        (tree / "bin/app").chmod(0o4755)
        return "/bin/app"
    if how == "time":
        os.utime(conf)
        return "/etc/conf"
    if how == "directory mode":
        (tree / "tmp").chmod(0o755)
        return "/tmp"
    if how == "missing":
        conf.unlink()
        return "/etc/conf"
    if how == "type":
        conf.unlink()
        conf.symlink_to("/etc/passwd")
        return "/etc/conf"
    if how == "link":
        (tree / "etc/link").unlink()
        (tree / "etc/link").symlink_to("/etc/passwd")
        return "/etc/link"
    if how == "hard link":
        data = (tree / "bin/same").read_bytes()
        (tree / "bin/same").unlink()
        (tree / "bin/same").write_bytes(data)
        return "/bin/same"
    if how == "link target":
        (tree / "bin/app").unlink()
        return "/bin/same"
    assert how == "extra"
    (tree / "bin/extra").write_text("x")
    return "/bin/extra"


DAMAGE = [
    "link target",
    "content",
    "length",
    "mode",
    "time",
    "directory mode",
    "missing",
    "type",
    "link",
    "hard link",
    "extra",
]


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_found_and_repaired(tmp_path: Path, store: ImageStore, how: str) -> None:
    image = add(store, tmp_path / "app.aci", keep="always")
    path = damage(image, how)
    assert path in [found for found, _ in store.check(image)]
    store.repair(image)
    assert store.check(image) == []
    assert os.listdir(f"{store.root}/store/staging") == []


@pytest.mark.parametrize("name", ["entries", "tar", "manifest"])
@pytest.mark.parametrize("how", ["missing", "cut", "changed"])
def test_damaged_records_are_found_and_repaired(tmp_path: Path, store: ImageStore, name: str, how: str) -> None:
    image = add(store, tmp_path / "app.aci", keep="always")
    path = Path(image.path, name)
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:-20] + bytes(byte ^ 1 for byte in data[-20:]))
    assert store.check(image)
    store.repair(image)
    assert store.check(image) == []


def test_what_was_not_kept_cannot_be_repaired(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")
    damage(image, "content")
    with pytest.raises(StoreError, match="was not kept"):
        store.repair(image)


def test_a_kept_file_that_is_damaged_repairs_nothing(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci", keep="always")
    damage(image, "mode")
    Path(image.path, "original").write_bytes(b"junk" * 200)
    with pytest.raises(StoreError, match="cannot be repaired"):
        store.repair(image)
    assert Path(image.tree, "etc/conf").read_text() == "setting=1\n"


def test_an_image_in_use_is_not_repaired_under_its_users(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci", keep="always")
    with pytest.raises(AppcError, match="is in use by pod 1234"):
        store.repair(image, lambda: {str(image.id): "pod 1234"})


def test_records_say_when_they_are_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "entries"
    for data, reason in (
        (b"", "version"),
        (b"appc entries 2\n0\n", "version"),
        (HEADER, "cut short"),
        (HEADER + b"1\n", "damaged"),
        (HEADER + b'["file","a"]\n', "cut short"),
        (HEADER + b'["file","a"]\n1\n["file","b"]\n', "damaged"),
        (HEADER + b"nonsense\n", "damaged"),
    ):
        path.write_bytes(data)
        with pytest.raises(StoreError, match=reason):
            list(read_records(str(path)))


# -- removing -------------------------------------------------------------------------------------


def test_a_removed_image_is_gone_with_all_its_traces(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")
    store.remove(image)
    store.gc()
    files = [path for path in image_kit.listing(Path(store.root)) if not os.path.isdir(f"{store.root}/{path}")]
    assert [path for path in files if "/locks/" not in path] == []
    with (tmp_path / "app.aci").open("rb") as stream:
        assert store.recall(stream.fileno()) is None


def test_an_image_in_use_is_removed_only_by_force(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")
    with pytest.raises(AppcError, match="is in use by pod 1234") as caught:
        store.remove(image, lambda: {str(image.id): "pod 1234"})
    assert caught.value.exit_status == 1
    assert store.check(image) == []
    store.remove(image, lambda: {str(image.id): "pod 1234"}, force=True)
    assert store.list() == []


def test_unwritable_directories_of_an_image_are_no_obstacle(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": ("dir", 0o500), "a/b": ("dir", 0), "a/b/c": "x"}, parents=False)
    with (tmp_path / "app.aci").open("rb") as stream:
        image = store.import_file(stream, where="app.aci")
    store.remove(image)
    assert os.listdir(f"{store.root}/store/staging") == []


# -- collecting -----------------------------------------------------------------------------------


def test_only_images_that_were_not_used_lately_are_collected(tmp_path: Path, store: ImageStore) -> None:
    old, new = add(store, tmp_path / "a.aci", "a"), add(store, tmp_path / "b.aci", "b")
    age(old, 3600)
    assert store.gc(grace=None) == []
    found = store.gc(grace=1800, dry_run=True)
    assert [(entry.kind, entry.name) for entry in found] == [("image", old.id)]
    assert found[0].size > 7000
    assert len(store.list()) == 2
    store.gc(grace=1800)
    assert [image.id for image in store.list()] == [new.id]


def test_images_of_pods_and_their_dependencies_stay(tmp_path: Path, store: ImageStore) -> None:
    base = add(store, tmp_path / "base.aci", "base")
    middle = add(store, tmp_path / "middle.aci", "middle", dependencies=[{"imageName": "base"}])
    app = add(store, tmp_path / "app.aci", "app", dependencies=[{"imageName": "middle"}])
    other = add(store, tmp_path / "other.aci", "other", dependencies=[{"imageName": "base"}])
    for image in (base, middle, app, other):
        age(image, 3600)
    store.gc(lambda: {str(app.id): "pod 1"}, grace=60)
    assert {image.name for image in store.list()} == {"base", "middle", "app"}
    store.gc(grace=60)
    assert store.list() == []


def test_damaged_images_are_no_obstacle_to_collecting(tmp_path: Path, store: ImageStore) -> None:
    old, new = add(store, tmp_path / "a.aci", "a"), add(store, tmp_path / "b.aci", "b")
    age(old, 3600)
    for image in (old, new):
        Path(image.path, "meta").write_text("{")
    store.gc(grace=60)
    assert [image.id for image in store.list()] == [new.id]


def test_who_uses_what_is_asked_after_images_are_locked(tmp_path: Path, store: ImageStore) -> None:
    """A pod prepared while gc looks around either holds the image or is in the answer."""
    image = add(store, tmp_path / "app.aci")
    age(image, 3600)

    def in_use() -> dict[str, str]:
        fd = os.open(image.path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(fd)
        return {str(image.id): "pod 1"}

    assert store.gc(in_use, grace=60) == []


def test_the_work_of_the_dead_is_collected_and_that_of_the_living_not(tmp_path: Path, store: ImageStore) -> None:
    add(store, tmp_path / "app.aci")
    staging = Path(store.root, "store/staging")
    for name in ("dead", "alive"):
        (staging / name / "image/rootfs/etc").mkdir(parents=True)
        (staging / name / "image/rootfs/etc/passwd").write_text("x")
    fd = os.open(staging / "alive", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert [(entry.kind, entry.name) for entry in store.gc()] == [("staging", "dead")]
    assert os.listdir(staging) == ["alive"]
    os.close(fd)
    store.gc()
    assert os.listdir(staging) == []


def test_the_index_is_cleared_of_images_that_are_gone(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")
    names = Path(store.root, "store/names")
    (names / "example.com,ghost").mkdir()
    (names / "example.com,ghost" / ("sha512-" + "0" * 128)).touch()
    (names / "example.com,app" / ("sha512-" + "0" * 128)).touch()
    assert store.find("example.com/app").id == image.id
    store.gc()
    assert image_kit.listing(names) == ["example.com,app", f"example.com,app/{image.id}"]


def test_rendered_trees_go_with_their_images_and_with_time(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")

    def fill(path: str) -> None:
        Path(path, "file").write_text("x" * 5000)

    kept = trees.make(store.root, "kept", (image.id,), fill)
    orphan = trees.make(store.root, "orphan", (image.id, "sha512-" + "0" * 128), fill)
    assert trees.find(store.root, "kept") == kept
    assert [(entry.kind, entry.name) for entry in store.gc(grace=60)] == [("tree", "orphan")]
    assert not os.path.exists(orphan)
    os.utime(f"{os.path.dirname(kept)}/used", (1000, 1000))
    assert store.gc(lambda: {str(image.id): "pod 1"}, grace=60) == []
    assert [(entry.kind, entry.name) for entry in store.gc(grace=60)] == [("tree", "kept")]
    assert trees.find(store.root, "kept") is None


def _between(store: ImageStore, tmp_path: Path) -> tuple[StoredImage, Path]:
    """An image with files in directories that its archive has no entries for, and the deeper one of those."""
    image_kit.aci(tmp_path / "app.aci", {"etc/conf.d/one": "1"}, parents=False)
    with (tmp_path / "app.aci").open("rb") as stream:
        image = store.import_file(stream, where="app.aci")
    assert list(store.verify(image)) == []
    return image, Path(image.tree, "etc/conf.d")


def test_a_directory_that_the_archive_does_not_list_is_checked(tmp_path: Path, store: ImageStore) -> None:
    image, directory = _between(store, tmp_path)
    directory.chmod(0o777)
    for find in (store.verify, store.check):
        assert list(find(image)) == [("/etc/conf.d", "has mode 0777, not 0755")]


def test_a_link_cannot_stand_in_for_a_directory_that_the_archive_does_not_list(
    tmp_path: Path, store: ImageStore
) -> None:
    image, directory = _between(store, tmp_path)
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    assert ("/etc/conf.d", "is no longer a dir") in store.verify(image)


def test_what_paths_cannot_reach_is_collected_too(tmp_path: Path, store: ImageStore) -> None:
    """A build that was killed may have left a tree that a hostile command made."""
    with Staging(store.root) as staging:
        left = f"{staging.path}-left"
        os.mkdir(left)
    here = os.open(left, os.O_RDONLY)
    for _ in range(45):
        os.close(os.open("f" * 200, os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert [one.kind for one in store.gc()] == ["staging"]
    assert not os.path.exists(left)


def test_what_gc_frees_counts_files_with_names_elsewhere_not(tmp_path: Path, store: ImageStore) -> None:
    image = add(store, tmp_path / "app.aci")
    age(image, 100)
    os.link(f"{image.tree}/bin/app", tmp_path / "kept")
    (removed,) = store.gc(grace=10, dry_run=True)
    os.unlink(tmp_path / "kept")
    (alone,) = store.gc(grace=10, dry_run=True)
    assert alone.size - removed.size == 8192


@pytest.mark.parametrize("sweep", ["sources", "remotes", "names"])
def test_two_collectors_do_not_trip_over_each_other(
    tmp_path: Path, store: ImageStore, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one has listed the other may have removed."""
    directory = store_path(store.root, sweep)
    os.makedirs(directory)
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*listed(path), "gone"] if path == directory else listed(path))
    assert list(store.gc()) == []
