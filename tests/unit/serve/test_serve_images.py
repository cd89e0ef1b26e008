"""Images are found by what their manifests say, whatever their files are called, and served as HTTP wants it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_kit import aci
from serve_kit import IMAGES, PLATFORM, Hosting

APP = f"{IMAGES}example.com/app-1.0-linux-amd64.aci"


@pytest.fixture
def hosting(images: Path) -> Iterator[Hosting]:
    with Hosting(images) as hosting:
        yield hosting


def test_a_template_leads_to_the_image_whatever_its_file_is_called(hosting: Hosting, images: Path) -> None:
    (images / "deep/er").mkdir(parents=True)
    image_id = aci(images / "deep/er/whatever.aci", {}, version="1.0", labels=PLATFORM)
    answer = hosting.get(APP)
    assert answer.status == 200
    assert answer.body == (images / "deep/er/whatever.aci").read_bytes()
    assert answer.fields["etag"].startswith(f'"{image_id}')
    assert hosting.get(f"{IMAGES}{image_id}.aci").body == answer.body


def test_latest_is_the_highest_release(hosting: Hosting, images: Path) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1", "edge"):
        aci(images / f"{version}.aci", {"v": version}, version=version, labels=PLATFORM)
    aci(images / "none.aci", {"v": "none"}, labels=PLATFORM)
    answer = hosting.get(f"{IMAGES}example.com/app-latest-linux-amd64.aci")
    assert answer.body == (images / "1.10.0.aci").read_bytes()


def test_an_image_that_is_called_latest_is_latest(hosting: Hosting, images: Path) -> None:
    for version in ("latest", "1.0.0"):
        aci(images / f"{version}.aci", {"v": version}, version=version, labels=PLATFORM)
    answer = hosting.get(f"{IMAGES}example.com/app-latest-linux-amd64.aci")
    assert answer.body == (images / "latest.aci").read_bytes()


def test_further_labels_can_be_asked_for_but_need_not(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=(*PLATFORM, ("channel", "beta")))
    exact = hosting.get(f"{IMAGES}example.com/app-1.0-linux-amd64-beta.aci")
    assert exact.status == 200
    assert hosting.get(APP).body == exact.body
    aci(images / "b.aci", {"plain": ""}, version="1.0", labels=PLATFORM)
    assert hosting.get(f"{IMAGES}example.com/app-1.0-linux-amd64-gamma.aci").status == 404
    assert hosting.get(APP).body == (images / "b.aci").read_bytes()
    assert hosting.get(f"{IMAGES}example.com/app-1.0-linux-amd64-beta.aci").body == exact.body


def test_an_image_for_one_platform_is_not_one_for_any(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    aci(images / "b.aci", {}, "example.com/script", version="1.0")
    assert hosting.get(f"{IMAGES}example.com/script-1.0.aci").status == 200
    assert hosting.get(f"{IMAGES}example.com/app-1.0.aci").status == 404


def test_files_come_and_go_without_a_restart(hosting: Hosting, images: Path) -> None:
    assert hosting.get(APP).status == 404
    aci(images / "a.aci", {"first": ""}, version="1.0", labels=PLATFORM)
    first = hosting.get(APP)
    assert first.status == 200
    aci(images / ".new", {"second": ""}, version="1.0", labels=PLATFORM)
    os.rename(images / ".new", images / "a.aci")
    second = hosting.get(APP)
    assert second.status == 200
    assert second.body != first.body
    assert second.fields["etag"] != first.fields["etag"]
    os.unlink(images / "a.aci")
    assert hosting.get(APP).status == 404


def test_the_same_image_compressed_in_another_way_has_another_tag(hosting: Hosting, images: Path) -> None:
    """A resumed transfer must never join halves of two files."""
    image_id = aci(images / "a.aci", {}, version="1.0", labels=PLATFORM, compress="gzip")
    first = hosting.get(APP).fields["etag"]
    os.unlink(images / "a.aci")
    assert aci(images / "a.aci", {}, version="1.0", labels=PLATFORM, compress="xz") == image_id
    assert hosting.get(APP).fields["etag"] != first


def test_an_image_is_read_once(hosting: Hosting, images: Path) -> None:
    """A second look at an unchanged file does not open it to read it: unreadable by then, it is still known."""
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    before = hosting.get(APP)
    atime = os.stat(images / "a.aci").st_atime_ns
    os.utime(images, None)
    assert hosting.get(f"{IMAGES}nothing.aci").status == 404
    assert hosting.get(APP, if_none_match=before.fields["etag"]).status == 304
    assert os.stat(images / "a.aci").st_atime_ns == atime


def test_what_was_read_is_remembered(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart nothing is read again but what has changed."""
    from appc.serve import index

    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        before = hosting.get(APP)
        page = hosting.get("/app", "example.com").body
    read: list[str] = []
    real = index.read_image
    monkeypatch.setattr(index, "read_image", lambda *words: (read.append(words[1]), real(*words))[1])
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        assert hosting.get(APP).body == before.body
        assert hosting.get("/app", "example.com").body.splitlines()[:9] == page.splitlines()[:9]
        assert read == []
        aci(images / "b.aci", {}, version="2.0", labels=PLATFORM)
        assert hosting.get(f"{IMAGES}example.com/app-2.0-linux-amd64.aci").status == 200
        assert read == ["b.aci"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":1,"images":[{}]}', b'{"version":9,"images":[]}'])
def test_a_memory_that_makes_no_sense_is_forgotten(images: Path, tmp_path: Path, content: bytes) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        assert hosting.get(APP).status == 200
    (memory,) = (tmp_path / "cache").glob("index-*.json")
    memory.write_bytes(content)
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        assert hosting.get(APP).status == 200
    assert b'"manifest"' in memory.read_bytes()


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-4", 0, 5), ("bytes=5-", 5, None), ("bytes=-7", -7, None), ("bytes=3-999999", 3, None)],
)
def test_a_part_can_be_asked_for(hosting: Hosting, images: Path, asked: str, begin: int, end: int | None) -> None:
    aci(images / "a.aci", {"x": os.urandom(100)}, version="1.0", labels=PLATFORM)
    whole = (images / "a.aci").read_bytes()
    answer = hosting.get(APP, range=asked)
    assert answer.status == 206
    assert answer.body == whole[begin:end]
    first = begin if begin >= 0 else len(whole) + begin
    assert answer.fields["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=5-2", "bytes=x-", "items=0-1", "bytes=", "bytes=-"])
def test_what_is_no_single_range_is_answered_with_everything(hosting: Hosting, images: Path, asked: str) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    answer = hosting.get(APP, range=asked)
    assert (answer.status, answer.body) == (200, (images / "a.aci").read_bytes())


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
def test_a_part_that_is_not_there_is_refused(hosting: Hosting, images: Path, asked: str) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    answer = hosting.get(APP, range=asked)
    assert answer.status == 416
    assert answer.fields["content-range"] == f"bytes */{(images / 'a.aci').stat().st_size}"


def test_a_part_of_another_file_is_not_given(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    tag = hosting.get(APP).fields["etag"]
    assert hosting.get(APP, range="bytes=1-2", if_range=tag).status == 206
    assert hosting.get(APP, range="bytes=1-2", if_range='"other"').status == 200
    assert hosting.get(APP, range="bytes=1-2", if_range=f"W/{tag}").status == 200


def test_what_the_client_has_is_not_sent_again(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    first = hosting.get(APP)
    tag, modified = first.fields["etag"], first.fields["last-modified"]
    for fields in ({"if_none_match": f'"x", W/{tag}'}, {"if_none_match": "*"}, {"if_modified_since": modified}):
        answer = hosting.get(APP, **fields)
        assert (answer.status, answer.body, answer.fields["etag"]) == (304, b"", tag)
    assert hosting.get(APP, if_match='"other"').status == 412
    assert hosting.get(APP, if_match=tag).status == 200
    assert hosting.get(APP, if_none_match='"x"', if_modified_since=modified).status == 200


def test_head_says_what_get_would(hosting: Hosting, images: Path) -> None:
    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    got, asked = hosting.get(APP), hosting.get(APP, method="HEAD")
    assert asked.body == b""
    assert {**asked.fields, "date": ""} == {**got.fields, "date": ""}
    assert asked.fields["accept-ranges"] == "bytes"


def test_the_files_hash_is_told(hosting: Hosting, images: Path) -> None:
    import base64

    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    answer = hosting.get(APP)
    digest = base64.b64encode(hashlib.sha256(answer.body).digest()).decode()
    assert answer.fields["repr-digest"] == f"sha-256=:{digest}:"


def test_a_link_may_stay_inside_and_not_leave(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    aci(tmp_path / "secret.aci", {}, "example.com/secret", "1.0", labels=PLATFORM)
    (images / "absolute.aci").symlink_to(tmp_path / "secret.aci")
    (images / "relative.aci").symlink_to("../secret.aci")
    (images / "outside").symlink_to(tmp_path)
    assert hosting.get(f"{IMAGES}example.com/secret-1.0-linux-amd64.aci").status == 404
    (images / ".hidden").mkdir()
    aci(images / ".hidden/real", {}, version="1.0", labels=PLATFORM)
    (images / "inside.aci").symlink_to(".hidden/real")
    assert hosting.get(APP).status == 200
    page = hosting.get("/").text
    assert page.count("is a link that leads out of the directory") == 2


def test_what_is_no_image_is_listed_and_not_served(hosting: Hosting, images: Path) -> None:
    (images / "text.aci").write_text("hello")
    aci(images / "named.aci", {}, "Not A Name", "1.0")
    os.mkfifo(images / "pipe.aci")
    aci(images / "good.aci", {}, version="1.0", labels=PLATFORM)
    assert hosting.get(APP).status == 200
    page = hosting.get("/").text
    for file in ("text.aci", "named.aci", "pipe.aci"):
        assert f"<code>{file}</code>" in page
    assert "<code>good.aci</code>" not in page


def test_a_file_that_cannot_be_read_just_now_is_tried_again(
    hosting: Hosting, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from appc.host import libc

    real = libc.openat2

    def exhausted(directory: int, path: str, flags: int, **how: int) -> int:
        if path == "a.aci":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(directory, path, flags, **how)

    with monkeypatch.context() as patch:
        patch.setattr(libc, "openat2", exhausted)
        aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
        assert hosting.get(APP).status == 404
        assert "Too many open files" in hosting.get("/").text
    assert hosting.get(APP).status == 200


def test_reading_an_image_does_not_outlive_the_server(images: Path) -> None:
    """It may be one that takes minutes."""
    from appc.serve.files import Directory, Unservable
    from appc.serve.image import read_image

    aci(images / "a.aci", {}, version="1.0", labels=PLATFORM)
    directory = Directory(str(images))
    assert read_image(directory, "a.aci", None, []).version == "1.0"
    directory.closing = True
    with pytest.raises(Unservable, match="the server ends"):
        read_image(directory, "a.aci", None, [])
    directory.close()


def test_only_names_below_a_prefix_are_served(images: Path) -> None:
    aci(images / "a.aci", {}, "example.com/app", "1.0", labels=PLATFORM)
    aci(images / "b.aci", {}, "example.com/application", "1.0", labels=PLATFORM)
    with Hosting(images, prefixes=("example.com/app",)) as hosting:
        assert hosting.get(APP).status == 200
        assert hosting.get(f"{IMAGES}example.com/application-1.0-linux-amd64.aci").status == 404
        assert "which is not below example.com/app" in hosting.get("/").text
