"""What is exported holds everything a client asks for, at the paths it asks for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from appc.errors import HostError, UsageError
from appc.serve.export import export
from image_kit import aci, listing
from serve_kit import PLATFORM


def test_pages_templates_and_links_lead_to_files(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    image_id = aci(images / "x.aci", {}, "example.com/team/app", "1.0", labels=PLATFORM)
    export(str(images), str(out))
    for page in ("index.html", "team/index.html", "team/app/index.html"):
        text = (out / page).read_text()
        (template,) = re.findall(r'<meta name="ac-discovery" content="\S+ https://example.com(\S+)">', text)
        for version in ("1.0", "latest"):
            path = template.replace("{name}", "example.com/team/app").replace("{version}", version)
            path = path.replace("{os}", "linux").replace("{arch}", "amd64").replace("{ext}", "aci")
            assert (out / path.lstrip("/")).read_bytes() == (images / "x.aci").read_bytes()
    links = re.findall(r'href="(/[^"]*)"', (out / "team/app/index.html").read_text())
    assert f"/-/image/{image_id}" in links
    for link in links:
        found = out / link.strip("/")
        assert found.is_file() or (found / "index.html").is_file(), link


def test_one_domain_at_a_time(tmp_path: Path) -> None:
    aci(tmp_path / "a.aci", {}, "example.com/a", "1.0")
    aci(tmp_path / "b.aci", {}, "other.example/b", "1.0")
    with pytest.raises(UsageError, match=r"example\.com, other\.example"):
        export(str(tmp_path), str(tmp_path / "out"))
    export(str(tmp_path), str(tmp_path / "out"), prefixes=("other.example",), url="https://cdn.example")
    assert "other.example https://cdn.example/-/aci/" in (tmp_path / "out/index.html").read_text()
    assert not (tmp_path / "out/a").exists()


def test_nothing_is_left_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aci(tmp_path / "a.aci", {}, "example.com/a", "1.0")
    before = listing(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("appc.serve.export._Export._image", full)
    with pytest.raises(HostError, match="No space left"):
        export(str(tmp_path), str(tmp_path / "out"))
    assert listing(tmp_path) == before


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export(str(tmp_path), str(tmp_path / "out"))


def test_no_name_leads_out(tmp_path: Path) -> None:
    aci(tmp_path / "a.aci", {}, "example.com/a/../../../../evil", "../../../1")
    (tmp_path / "deep").mkdir()
    export(str(tmp_path), str(tmp_path / "deep/out"))
    assert [path for path in listing(tmp_path) if "evil" in path] == []
    assert list((tmp_path / "deep/out/-/aci").glob("sha512-*.aci"))


def test_an_image_that_is_called_like_a_file_does_not_keep_the_others_from_being_exported(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    odd = ("example.com/index.html", "example.com/app-1.0-linux-amd64.aci/x", "example.com/app")
    ids = [aci(images / f"{index}.aci", {}, name, "1.0", labels=PLATFORM) for index, name in enumerate(odd)]
    export(str(images), str(out))
    for index, image_id in enumerate(ids):
        assert (out / f"-/aci/{image_id}.aci").read_bytes() == (images / f"{index}.aci").read_bytes()
    assert b"ac-discovery" in (out / "index.html").read_bytes()
    assert (out / "app/index.html").is_file()
