"""`appc image validate` on OCI layouts, docker archives and runtime bundles."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from appc.cli.main import main
from oci_kit import Layout, docker_save, layer, old_docker_save, write_files

ONE = layer(("a", "1"), ("d", ("dir", 0o755)))
TWO = layer(("b", "2"))


def _layout() -> Layout:
    """Two tags, one of them with two platforms."""
    made = Layout()
    made.tag(made.image([ONE]), "one")
    platforms = [("amd64", ONE), ("arm64", TWO)]
    parts = [
        {**made.image([ONE, top], architecture=arch), "platform": {"os": "linux", "architecture": arch}}
        for arch, top in platforms
    ]
    made.tag(made.index(*parts), "two")
    return made


def _bundle(path: Path, **fields: Any) -> Path:
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"args": ["/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        **fields,
    }
    write_files(path, {"config.json": json.dumps(config).encode(), "rootfs/a": b"1"})
    return path


def _said(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 1) -> list[str]:
    assert main(["image", "validate", *map(str, words)]) == status
    out, err = capsys.readouterr()
    assert out == ""
    if all((Path(word) / "config.json").is_file() for word in words):
        assert main(["oci", "validate", *map(str, words)]) == status
        assert capsys.readouterr().err == ("" if status == 0 else err)
    return err.splitlines()


def test_what_is_sound_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _layout().write(tmp_path / "layout")
    _layout().archive(tmp_path / "oci.tar")
    (tmp_path / "oci.tar.gz").write_bytes(gzip.compress((tmp_path / "oci.tar").read_bytes()))
    (tmp_path / "docker.tar").write_bytes(layer(*docker_save([ONE, TWO]).items()))
    (tmp_path / "old.tar").write_bytes(layer(*old_docker_save([ONE, TWO]).items()))
    write_files(tmp_path / "unpacked", docker_save([ONE]))
    _bundle(tmp_path / "bundle")
    before = sorted(tmp_path.rglob("*"))
    assert _said(capsys, *sorted(tmp_path.iterdir()), status=0) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_every_image_of_a_layout_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = _layout()
    for data in (ONE, TWO):
        (path,) = [name for name, content in made.files.items() if content == gzip.compress(data, mtime=0)]
        made.files[path] = bytes(len(made.files[path]))
    made.write(tmp_path / "layout")
    said = _said(capsys, tmp_path / "layout")
    # The tag `one`, and both platforms of `two`, have the first layer; each image is told once.
    assert len(said) == 3
    assert all(line.startswith(f"appc: {tmp_path}/layout: layer 1") and "has the digest" in line for line in said)
    made = _layout()
    made.tag(made.image([TWO], os="plan9"), "odd")
    made.files["oci-layout"] = b"{}"
    made.write(tmp_path / "other")
    assert "imageLayoutVersion" in _said(capsys, tmp_path / "other")[0]


def test_what_no_manifest_can_say_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Layout()
    made.tag(made.image([ONE], {"ExposedPorts": {"99999/tcp": {}}}), "one")
    made.write(tmp_path / "layout")
    assert "exposes the port" in _said(capsys, tmp_path / "layout")[0]


def test_all_faults_of_a_bundle_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {"args": [], "cwd": "relative", "user": {"uid": -1, "gid": 0}}
    said = _said(capsys, _bundle(tmp_path / "bundle", process=wrong, ociVersion="one"))
    assert {"process.args", "process.cwd", "process.user.uid", "ociVersion"} <= {
        word for line in said for word in line.replace(":", " ").split()
    }
    (tmp_path / "bundle/rootfs/a").unlink()
    (tmp_path / "bundle/rootfs").rmdir()
    _bundle(tmp_path / "other", root={"path": "absent"})
    assert "root.path 'absent' is not a directory" in _said(capsys, tmp_path / "other")[0]
    (tmp_path / "empty").mkdir()
    assert "config.json" in _said(capsys, "--type", "bundle", tmp_path / "empty")[0]
    assert main(["oci", "validate", str(tmp_path / "absent")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_bundle_whose_process_is_not_contained_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = {"args": ["/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    process["capabilities"] = {"bounding": ["CAP_SYS_ADMIN"]}  # type: ignore[assignment]
    (said,) = _said(capsys, _bundle(tmp_path / "bundle", process=process), status=0)
    assert "CAP_SYS_ADMIN" in said


def test_a_type_that_is_named_is_not_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docker.tar").write_bytes(layer(*docker_save([ONE]).items()))
    assert "is no OCI image layout" in _said(capsys, "--type", "oci", tmp_path / "docker.tar")[0]
    os.mkfifo(tmp_path / "config.json")
    assert "is not a regular file" in _said(capsys, tmp_path)[0]
