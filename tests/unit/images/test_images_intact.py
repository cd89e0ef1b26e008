"""`run --verify`: an app starts from what was imported or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import image_kit
from appc.errors import TamperedImage
from appc.images.intact import verify
from appc.images.render import rootfs_for
from appc.store.images import ImageStore, StoredImage


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


def add(store: ImageStore, path: Path, files: dict[str, image_kit.Entry], name: str, **fields: Any) -> StoredImage:
    image_kit.aci(path / f"{name}.aci", files, name, **fields)
    with (path / f"{name}.aci").open("rb") as stream:
        return store.import_file(stream, where=name)


@pytest.fixture
def stack(store: ImageStore, tmp_path: Path) -> tuple[StoredImage, StoredImage]:
    """An image and what it depends on, of more files than are compared at once."""
    files: dict[str, image_kit.Entry] = {f"many/{number}": f"{number}" for number in range(300)}
    base = add(store, tmp_path, {**files, "big": os.urandom(9 << 20), "link": ("link", "/x")}, "base")
    return add(store, tmp_path, {"etc/conf": "x"}, "top", dependencies=[{"imageName": "base"}]), base


def test_what_is_untouched_is_accepted(store: ImageStore, stack: tuple[StoredImage, StoredImage]) -> None:
    verify(store, stack[0])


@pytest.mark.parametrize("path", ["many/0", "many/299", "big"])
def test_one_changed_byte_is_refused(store: ImageStore, stack: tuple[StoredImage, StoredImage], path: str) -> None:
    """Also one that leaves size and time as they were, in a dependency."""
    file = Path(stack[1].tree, path)
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(TamperedImage) as caught:
        verify(store, stack[0])
    assert str(caught.value) == (
        f"image {stack[1].id.short} (base): is not as it was imported: /{path} has another content"
    )
    assert caught.value.exit_status == 1


def test_manifest_modes_and_extra_files_count_too(store: ImageStore, stack: tuple[StoredImage, StoredImage]) -> None:
    top = stack[0]
    (Path(top.tree) / "etc/extra").touch()
    os.chmod(f"{top.tree}/etc/conf", 0o666)
    with pytest.raises(TamperedImage, match=r": /etc was modified: .* \(and 2 more\)$"):
        verify(store, top)
    again = ImageStore(store.root).get(top.id)
    Path(top.path, "manifest").write_bytes(again.manifest_bytes.replace(b'"top"', b'"TOP"'))
    assert ("", "its manifest is not the one that was imported") in store.verify(top)


@pytest.mark.parametrize("how", ["content", "extra", "mode", "none"])
def test_a_rendered_tree_is_compared_with_what_it_was_rendered_of(store: ImageStore, tmp_path: Path, how: str) -> None:
    files: dict[str, image_kit.Entry] = {"etc/a": "x" * 100, "etc/b": ("hard", "etc/a"), "etc/l": ("link", "a")}
    image = add(store, tmp_path, files, "listed", pathWhitelist=["/etc/a", "/etc/b", "/etc/l"])
    (tree,) = rootfs_for(store, image).lowers
    verify(store, image)
    if how == "content":
        # Not through the link that the store has of the same file.
        os.unlink(f"{tree}/etc/a")
        Path(tree, "etc/a").write_text("y" * 100)
    elif how == "extra":
        Path(tree, "etc/c").symlink_to("a")
    elif how == "mode":
        os.chmod(f"{tree}/etc", 0o777)
    else:
        return
    with pytest.raises(TamperedImage, match="rendered tree of listed: is not as it was imported: /etc"):
        verify(store, image)


def test_records_that_were_changed_together_with_the_tree_are_found_by_check(
    store: ImageStore, stack: tuple[StoredImage, StoredImage]
) -> None:
    """`verify` believes the records; `check` compares them with the archive that has the image's ID."""
    top = stack[0]
    os.chmod(f"{top.tree}/etc/conf", 0o4644)
    entries = Path(top.path, "entries")
    assert entries.read_bytes().count(b'"etc/conf",420,') == 1
    entries.write_bytes(entries.read_bytes().replace(b'"etc/conf",420,', b'"etc/conf",2468,'))
    assert store.verify(top) == []
    assert store.check(top) == [("/etc/conf", "is not recorded as the archive has it")]
