"""`appc image diff` and `appc image tree`, as people type them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import image_kit
import oci_kit
from appc.cli.main import main
from appc.errors import ArchiveError
from appc.images.snapshot import of_directory
from appc.store.deletion import delete_tree
from hostile.tarbuild import header
from oci_kit import docker_save, layer

APP = {"exec": ["/bin/app"], "user": "0", "group": "0"}
FILES: dict[str, image_kit.Entry] = {
    "bin/app": ("file", b"app", {"mode": 0o755}), "bin/same": ("hard", "bin/app"), "bin/link": ("link", "app"),
    "etc/conf": "one\n", "etc/gone": "x",
}  # fmt: skip
Diff = Callable[..., list[str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def diff(place: Path, capsys: pytest.CaptureFixture[str]) -> Diff:
    """The lines that comparing two images' files with these words prints."""

    def run(*words: str, status: int = 0) -> list[str]:
        capsys.readouterr()
        assert main(["image", "diff", *words]) == status
        return capsys.readouterr().out.splitlines()

    return run


def fetch(name: str, files: dict[str, image_kit.Entry], **fields: Any) -> str:
    image_id = image_kit.aci(Path(f"{name}.aci"), files, name, **fields)
    assert main(["fetch", "--insecure", "image", f"{name}.aci"]) == 0
    return image_id


# -- diff -----------------------------------------------------------------------------------------


def test_every_way_to_differ_has_its_word(place: Path, diff: Diff) -> None:
    image_kit.aci(Path("a.aci"), FILES, app=APP)
    changed: dict[str, image_kit.Entry] = {
        "bin/app": ("file", b"app", {"mode": 0o4755, "uid": 7, "mtime": 5}),
        "bin/same": b"app",
        "bin/link": ("link", "other"),
        "etc/conf": "two\n",
        "etc/new": ("dir", 0o700),
        "etc/a\nb": "escaped",
        "var": ("file", b"", {"pax_headers": {"SCHILY.xattr.user.x": "1"}}),
    }
    image_kit.aci(Path("b.aci"), changed, app=APP)
    image_kit.aci(Path("c.aci"), {**changed, "var": ("dir", 0o755)}, app=APP)
    assert diff("a.aci", "b.aci", "--ignore", "owner") == [
        "C /bin/app: mode 0755 → 4755, link bin/app → (none), mtime 1400000000 → 5",
        "C /bin/link: target app → other",
        "C /bin/same: mode 0755 → 0644, link bin/app → (none)",
        "A /etc/a\\nb",
        "C /etc/conf: content",
        "D /etc/gone",
        "A /etc/new",
        "A /var",
    ]
    assert (
        diff("a.aci", "b.aci", "--ignore", "mode,mtime,link")[0]
        == f"C /bin/app: owner {os.geteuid()}:{os.getegid()} → 7:{os.getegid()}"
    )
    assert diff("b.aci", "c.aci") == ["C /var: type file → dir"]
    plain = {**changed, "var": ("file", b"", {})}
    image_kit.aci(Path("d.aci"), plain, app=APP)
    assert diff("b.aci", "d.aci") == ["C /var: user.x 0x31 → (none)"]


def test_equal_images_differ_in_nothing_however_they_are_kept(place: Path, diff: Diff) -> None:
    image_id = fetch("example.com/app".replace("/", "-"), FILES, app=APP)
    image_kit.aci(Path("other.aci"), FILES, "example.com-app", app=APP, compress="xz", manifest_first=True)
    assert main(["image", "extract", image_id, "layout"]) == 0
    for one in ("example.com-app", "example.com-app.aci", image_id, "layout", "other.aci"):
        for other in ("other.aci", "layout"):
            assert diff(one, other, "--exit-code") == []
    assert diff("layout/rootfs", image_id, "--exit-code") == []


def test_the_exit_status_tells_on_request(place: Path, diff: Diff) -> None:
    image_kit.aci(Path("a.aci"), {"x": "1"})
    image_kit.aci(Path("b.aci"), {"x": "2"})
    image_kit.aci(Path("c.aci"), {"x": "1"}, version="2")
    assert diff("a.aci", "b.aci") == ["C /x: content"]
    assert diff("a.aci", "b.aci", "--exit-code", status=1)
    assert diff("a.aci", "c.aci", "--exit-code", status=1) == [
        'M labels[version]: (none) → {"name":"version","value":"2"}'
    ]


def test_manifests_are_compared_field_by_field(place: Path, diff: Diff) -> None:
    ports = [{"name": "http", "protocol": "tcp", "port": 80}, {"name": "dns", "protocol": "udp", "port": 53}]
    image_kit.aci(Path("a.aci"), {}, "a", app={**APP, "ports": ports})
    moved = [{"name": "dns", "protocol": "udp", "port": 53}, {"name": "http", "protocol": "tcp", "port": 81}]
    image_kit.aci(Path("b.aci"), {}, "b", app={**APP, "user": "1", "exec": ["/x"], "ports": moved}, later=True)
    assert diff("a.aci", "b.aci") == [
        'M name: "a" → "b"',
        'M app.exec: ["/bin/app"] → ["/x"]',
        'M app.user: "0" → "1"',
        'M app.ports: ["http","dns"] → ["dns","http"]',
        "M app.ports[http].port: 80 → 81",
        "M later: (none) → true",
    ]


def test_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_kit.aci(Path("a.aci"), {"x": "1"}, "a")
    image_kit.aci(Path("b.aci"), {"x": "22", "y": ""}, "b")
    assert main(["image", "diff", "a.aci", "b.aci", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "manifest": [{"path": "name", "before": '"a"', "after": '"b"'}],
        "paths": [
            {"path": "/x", "kind": "changed",
             "changes": [{"what": "content", "before": "1 byte", "after": "2 bytes"}]},
            {"path": "/y", "kind": "added", "changes": []},
        ],
    }  # fmt: skip


def test_rendered_images_are_compared_with_what_they_need(place: Path, diff: Diff) -> None:
    fetch("base", {"lib/a": "a", "lib/b": "b"})
    fetch("top", {"etc/conf": "x"}, dependencies=[{"imageName": "base"}])
    assert "A /etc/conf" in diff("base", "top")
    assert "D /lib/a" in diff("base", "top")
    assert [line for line in diff("base", "top", "--rendered") if line[0] != "M"] == ["A /etc", "A /etc/conf"]
    assert main(["image", "diff", "--rendered", "base.aci", "top"]) == 2


def test_an_overlay_layer_hides_replaces_and_adds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel's documentation of overlayfs has it: whiteouts and opaque directories."""
    for path in ("base/keep", "base/dir/old", "base/file", "base/opaque/hidden"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    for path in ("upper/dir", "upper/opaque"):
        Path(path).mkdir(parents=True)
    Path("upper/dir/new").write_text("new")
    Path("upper/opaque/seen").write_text("seen")
    Path("upper/keep").mkdir()
    try:
        os.setxattr("upper/opaque", "user.overlay.opaque", b"y")
        os.mknod("upper/file", 0o020000, os.makedev(0, 0))
    except OSError as error:
        pytest.skip(f"needs whiteouts and extended attributes: {error.strerror}")
    found = of_directory("base")
    found.cover("upper")
    assert sorted(found.entries) == ["", "dir", "dir/new", "dir/old", "keep", "opaque", "opaque/seen"]
    assert found.sha256("dir/new") != found.sha256("dir/old")


def test_a_broken_image_is_an_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_kit.aci(Path("a.aci"), {"x": "1"})
    Path("b.aci").write_bytes(header(b"rootfs", b"5") + b"junk")
    assert main(["image", "diff", "a.aci", "b.aci"]) == 1
    assert main(["image", "diff", "a.aci", "absent.aci"]) == 1
    assert main(["image", "diff", "pod:00", "a.aci"]) == 1
    assert all(
        line.startswith(("appc: b.aci", "appc: absent.aci", "appc: 00", "appc: pod", "hint: "))
        for line in capsys.readouterr().err.splitlines()
    )


def test_layouts_archives_and_bundles_are_compared_as_what_they_hold(place: Path, diff: Diff) -> None:
    layers = [layer(("etc", ("dir", 0o755)), ("etc/conf", "a"))]
    oci_kit.simple(place / "layout", *layers)
    oci_kit.write_files(place / "saved", docker_save([*layers, layer(("etc/conf", "bb"))]))
    changes = diff("oci:layout:1.0", "docker-archive:saved", "--ignore", "mtime")
    assert "C /etc/conf: content 1 byte → 2 bytes" in changes
    image_id = fetch("app", {"etc/conf": "x"})
    assert main(["image", "export", "--bundle", image_id, "app.bundle"]) == 0
    assert diff("app.bundle", image_id) == []
    # Nothing of it stays in the store.
    assert os.listdir("data/store/staging") == []
    assert os.listdir("data/store/images") == [image_id]


# -- tree -----------------------------------------------------------------------------------------


@pytest.fixture
def stack(place: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """top → [mid → base, base], and a neighbour that needs base too."""
    needs: Callable[..., Any] = lambda *names: [{"imageName": name} for name in names]  # noqa: E731
    ids = {
        "base": fetch(
            "base", {"usr/lib/big": "x" * 5000, "usr/bin/tool": "y" * 100, "usr/bin/same": ("hard", "usr/bin/tool")}
        ),
        "mid": fetch("mid", {"usr/bin/tool": "z" * 50}, dependencies=needs("base"), version="1.2"),
        "neighbour": fetch("neighbour", {}, dependencies=needs("base")),
        "top": fetch("top", {"etc/conf": "c"}, dependencies=needs("mid", "base")),
    }
    capsys.readouterr()
    return ids


def test_the_tree_shows_images_bytes_and_who_shares_them(
    stack: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", "tree", "top", "--depth", "2"]) == 0
    short = {name: image_id[:19] for name, image_id in stack.items()}
    assert capsys.readouterr().out.splitlines() == [
        f"top  {short['top']}  1 B",
        f"├─ mid:1.2  {short['mid']}  50 B",
        f"│  └─ base  {short['base']}  5.0 KiB  shared with neighbour",
        f"└─ base  {short['base']}  5.0 KiB *  shared with neighbour",
        "",
        "files of 3 images: 5.0 KiB, of which 5.0 KiB shared and 51 B only here",
        "rendered root: 5.0 KiB",
        "    5.0 KiB  /usr",
        "    4.9 KiB  /usr/lib",
        "      100 B  /usr/bin",
        "        1 B  /etc",
    ]


def test_the_tree_as_json(stack: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "tree", "top", "--top", "1", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [image["id"] for image in found["images"]] == [stack["top"], stack["mid"], stack["base"]]
    assert found["images"][0]["dependencies"] == [stack["mid"], stack["base"]]
    assert found["images"][2]["sharedWith"] == ["neighbour"]
    # base comes last, so its tool hides that of mid, and its second name costs nothing.
    assert (found["total"], found["shared"], found["root"]) == (5151, 5100, 5101)
    assert found["directories"] == [{"path": "/usr", "size": 5100}]


def test_a_tree_with_a_missing_image_is_refused(stack: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "rm", "--force", "mid"]) == 0
    assert main(["image", "tree", "top"]) == 1
    assert "its dependency mid is not in the store" in capsys.readouterr().err


def test_a_directory_too_deep_for_any_image_is_refused(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(700):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        with pytest.raises(ArchiveError, match="more than 256 directories deep"):
            of_directory(str(tmp_path))
    finally:
        delete_tree(f"{tmp_path}/d")
