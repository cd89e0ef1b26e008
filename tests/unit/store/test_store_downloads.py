"""What is left of a transfer is found by the next, belongs to one process at a time, and goes away in the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from appc.store import origins
from appc.store.downloads import Download
from appc.store.images import ImageStore

KEY = "sha256:" + "0" * 64


def test_what_was_there_is_there_again(tmp_path: Path) -> None:
    first = Download(str(tmp_path), KEY)
    first.append(b"01234")
    first.close()
    again = Download(str(tmp_path), KEY)
    assert again.size == 5
    again.append(b"56789")
    assert b"".join(again.chunks()) == b"0123456789"
    again.truncate()
    assert list(again.chunks()) == []
    again.discard()
    assert Download(str(tmp_path), KEY).size == 0


def test_the_second_waits_for_the_first_and_sees_what_it_did(tmp_path: Path) -> None:
    first = Download(str(tmp_path), KEY)
    sizes: list[int] = []

    def other() -> None:
        sizes.append(Download(str(tmp_path), KEY).size)

    thread = threading.Thread(target=other)
    thread.start()
    first.append(b"0123")
    assert sizes == []
    first.close()
    thread.join(10)
    assert sizes == [4]


def test_gc_removes_what_nobody_goes_on_with(tmp_path: Path) -> None:
    store = ImageStore(str(tmp_path))
    held = Download(str(tmp_path), KEY)
    left = Download(str(tmp_path), KEY.replace("0", "1"))
    young = Download(str(tmp_path), KEY.replace("0", "2"))
    for one in (held, left, young):
        one.append(b"x")
    left.close()
    young.close()
    directory = tmp_path / "store" / "downloads"
    for path in directory.iterdir():
        if "2222" not in path.name:
            os.utime(path, (1, 1))
    assert [(one.kind, one.name) for one in store.gc(dry_run=True)] == [("download", "sha256-" + "1" * 64)]
    assert len(list(directory.iterdir())) == 3
    store.gc()
    assert sorted(path.name[:8] for path in directory.iterdir()) == ["sha256-0", "sha256-2"]


def test_what_a_reference_was(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert origins.recall(root, "r.io/a:1") == {}
    origins.remember(root, "r.io/a:1", {"image": "sha512-1", "digest": KEY})
    assert origins.recall(root, "r.io/a:1")["digest"] == KEY
    assert origins.recall(root, "r.io/a:2") == {}
    (record,) = (tmp_path / "store" / "origins").iterdir()
    record.write_bytes(b"{")
    assert origins.recall(root, "r.io/a:1") == {}


def test_references_to_images_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    origins.remember(str(tmp_path), "r.io/a:1", {"image": "sha512-1"})
    ImageStore(str(tmp_path)).gc()
    assert origins.recall(str(tmp_path), "r.io/a:1") == {}
