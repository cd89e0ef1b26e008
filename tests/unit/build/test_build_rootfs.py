"""Root file systems of others as images: directories and archives, whole and refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from appc.cli.main import main
from appc.cli.output import Progress


def _build(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[str, str]:
    status = main(["image", "build", "from-rootfs", *map(str, words)])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out.strip(), said.err


def _members(aci: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(aci) as archive:
        return {member.name: member for member in archive}


def _tree(directory: Path) -> Path:
    (directory / "etc").mkdir(parents=True)
    (directory / "etc/hostname").write_text("here\n")
    os.link(directory / "etc/hostname", directory / "etc/same")
    (directory / "etc/link").symlink_to("/etc/hostname")
    os.mkfifo(directory / "pipe")
    for path in (*directory.rglob("*"), directory):
        os.utime(path, ns=(0, 1_234_567_890_000_000_000), follow_symlinks=False)
    return directory


def _tar(directory: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(directory, ".")
    return out.getvalue()


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("tar", bytes), ("tar.gz", gzip.compress), ("tar.bz2", bz2.compress), ("tar.xz", lzma.compress)],
)
def test_a_directory_and_its_archive_give_the_same_image(
    ending: str, compress: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = _tree(tmp_path / "tree")
    (tmp_path / f"tree.{ending}").write_bytes(compress(_tar(tree)))
    one, _ = _build(capsys, tree, tmp_path / "one.aci")
    two, _ = _build(capsys, tmp_path / f"tree.{ending}", tmp_path / "two.aci")
    if os.geteuid() == 0:
        assert one == two
    members = _members(tmp_path / "two.aci")
    assert members["rootfs/etc/same"].islnk()
    assert members["rootfs/pipe"].isfifo()
    assert members["rootfs/etc/hostname"].mtime == 1_234_567_890


def test_the_manifest_comes_from_options_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = _tree(tmp_path / "Tree_1")
    given = tmp_path / "app.json"
    given.write_text('{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/given"}')
    _build(capsys, tree, tmp_path / "one.aci", "--", "/bin/sh", "-c", "true")
    _build(capsys, "--manifest", given, "--label", "version=2", tree, tmp_path / "two.aci")
    manifests = []
    for name in ("one", "two"):
        with tarfile.open(tmp_path / f"{name}.aci") as archive:
            file = archive.extractfile("manifest")
            assert file is not None
            manifests.append(json.load(file))
    assert manifests[0]["name"] == "tree_1"
    assert manifests[0]["app"]["exec"] == ["/bin/sh", "-c", "true"]
    assert manifests[1]["name"] == "example.com/given"
    assert manifests[1]["labels"] == [{"name": "version", "value": "2"}]
    assert "app" not in manifests[1]


def test_sockets_stay_behind_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = _tree(tmp_path / "tree")
    monkeypatch.chdir(tree)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("./sock")
    _, said = _build(capsys, tree, tmp_path / "out.aci")
    assert "sock: is a socket and was left out" in said
    assert "rootfs/sock" not in _members(tmp_path / "out.aci")


def _hostile(*entries: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        _hostile(("../evil", tarfile.REGTYPE, "")),
        _hostile(("/etc/../../evil", tarfile.REGTYPE, "")),
        _hostile(("out", tarfile.SYMTYPE, "/tmp"), ("out/evil", tarfile.REGTYPE, "")),
        _hostile(("evil", tarfile.LNKTYPE, "../../etc/passwd")),
        _hostile(("evil", tarfile.LNKTYPE, "missing")),
        _hostile(("file", tarfile.REGTYPE, ""), ("file/evil", tarfile.REGTYPE, "")),
        b"just some text",
        b"",
        gzip.compress(b"x" * 2000),
        gzip.compress(_hostile(("a", tarfile.REGTYPE, "")))[:-20],
    ],
)
def test_hostile_archives_leave_nothing(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "in.tar").write_bytes(data)
    assert main(["image", "build", "from-rootfs", str(inner / "in.tar"), str(inner / "out.aci")]) == 1
    said = capsys.readouterr().err
    assert "in.tar" in said
    assert "internal error" not in said
    assert os.listdir(inner) == ["in.tar"]
    assert os.listdir(tmp_path) == ["inner"]


def test_what_cannot_be_a_source_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = _tree(tmp_path / "tree")
    layout = tmp_path / "layout"
    (layout / "rootfs").mkdir(parents=True)
    (layout / "manifest").write_text("{}")
    for source, out, status, reason in (
        (tree, tree / "out.aci", 2, "would be part of itself"),
        (layout, tmp_path / "out.aci", 2, "is a layout"),
        (tmp_path / "none", tmp_path / "out.aci", 1, "none"),
        (tree, tmp_path / "out.tar", 2, "must end with .aci"),
    ):
        assert main(["image", "build", "from-rootfs", str(source), str(out)]) == status
        assert reason in capsys.readouterr().err
        assert not out.exists()


def test_packing_is_shown_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(bytes(5_000_000))
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(Progress, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["image", "build", "from-rootfs", f"{tmp_path}/tree", f"{tmp_path}/out.aci"]) == 0
    assert "packing" in screen.getvalue()
    assert "/5.0 MB" in screen.getvalue()
