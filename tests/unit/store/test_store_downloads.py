"""What is left of a transfer is found by the next, belongs to one process at a time, and goes away in the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from appc.store import downloads
from appc.store.images import ImageStore

BLOB = "sha256:" + "0" * 64


def test_what_was_there_is_there_again(tmp_path: Path) -> None:
    with downloads.download(str(tmp_path), BLOB) as first, first.open() as stream:
        first.begin({"etag": "x"})
        stream.write(b"01234")
    with downloads.download(str(tmp_path), BLOB) as again:
        assert (again.size, again.about) == (5, {"etag": "x"})
        again.forget()
    with downloads.download(str(tmp_path), BLOB) as anew:
        assert (anew.size, anew.about) == (0, {})


def test_the_second_waits_for_the_first_and_sees_what_it_did(tmp_path: Path) -> None:
    sizes: list[int] = []

    def other() -> None:
        with downloads.download(str(tmp_path), BLOB) as second:
            sizes.append(second.size)

    thread = threading.Thread(target=other)
    with downloads.download(str(tmp_path), BLOB) as first, first.open() as stream:
        thread.start()
        stream.write(b"0123")
        assert sizes == []
    thread.join(10)
    assert sizes == [4]


def test_gc_removes_what_nobody_goes_on_with(tmp_path: Path) -> None:
    root = str(tmp_path)
    store = ImageStore(root)
    for name in ("old", "young", "held"):
        with downloads.download(root, name) as one, one.open() as stream:
            stream.write(b"x")
            path = one.path
        if name != "young":
            os.utime(path, (1, 1))
    with downloads.download(root, "held"):
        assert [one.kind for one in store.gc(dry_run=True)] == ["download"]
        store.gc()
    for name, size in (("old", 0), ("young", 1), ("held", 1)):
        with downloads.download(root, name) as one:
            assert one.size == size


def test_where_images_that_are_gone_came_from_is_forgotten(tmp_path: Path) -> None:
    root = str(tmp_path)
    image_id = "sha512-" + "0" * 128
    downloads.remember(root, "docker://r.io/a:1", image_id, {"digest": BLOB})
    assert downloads.recall(root, "docker://r.io/a:1")["digest"] == BLOB
    assert downloads.recall(root, "docker://r.io/a:2") == {}
    ImageStore(root).gc()
    assert downloads.recall(root, "docker://r.io/a:1") == {}


def test_who_has_forgotten_a_download_does_not_remove_that_of_the_next(tmp_path: Path) -> None:
    first = downloads.download(str(tmp_path), BLOB)
    first.begin({})
    first.forget()
    with downloads.download(str(tmp_path), BLOB) as second:
        first.close()
        second.begin({"etag": "x"})
        assert os.path.isdir(second.directory)
