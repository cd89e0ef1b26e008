"""Building by single commands: the manifest, the files, the lock and the exit statuses; nothing here needs root."""

from __future__ import annotations

import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

import image_kit
from appc.build.session import DIRECTORY, Session
from appc.cli.build_verbs import arranged
from appc.cli.main import main


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def build(*words: str) -> int:
    return main(["build", *words])


def written(out: str = "out.aci") -> tuple[dict[str, Any], dict[str, tarfile.TarInfo]]:
    """The manifest and the entries of an image file."""
    with tarfile.open(out) as archive:
        members = {member.name.removeprefix("rootfs/"): member for member in archive}
        file = archive.extractfile("manifest")
        assert file is not None
        return json.load(file), members


def test_a_build_from_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "app").write_text("#!/bin/sh\n")
    (place / "tree/sub").mkdir(parents=True)
    (place / "tree/sub/file").write_text("x")
    (place / "limit").write_text('{"limit": "1Gi"}')
    for line in (
        "begin", "set-name example.com/app", "copy app /bin/app", "copy tree /srv", "copy-to-dir app tree /opt/",
        "set-exec -- /bin/app -v", "set-user 5", "set-group 6", "set-supp-groups 7 8", "set-wd /srv",
        "set-eh pre-start /bin/app check", "set-tag 1.0", "label add channel beta", "annotation add authors me",
        "env add A 1", "environment add A 2", "port add http tcp 80 --count 2 --socket-activated",
        "mount add data /data --read-only", "dep add example.com/base:2 --label os=linux --size 5",
        "isolator add resource/memory limit",
    ):  # fmt: skip
        assert build(*line.split()) == 0, line
    assert build("dep", "rm", "example.com/base") == 0
    capsys.readouterr()
    assert build("write", "out.aci") == 0
    said = capsys.readouterr().out
    assert said.startswith("sha512-")
    manifest, members = written()
    app = manifest["app"]
    assert (app["exec"], app["user"], app["group"]) == (["/bin/app", "-v"], "5", "6")
    assert (app["supplementaryGIDs"], app["workingDirectory"]) == ([7, 8], "/srv")
    assert app["environment"] == [{"name": "A", "value": "2"}]
    assert app["ports"] == [{"name": "http", "protocol": "tcp", "port": 80, "count": 2, "socketActivated": True}]
    assert app["mountPoints"] == [{"name": "data", "path": "/data", "readOnly": True}]
    assert app["eventHandlers"] == [{"name": "pre-start", "exec": ["/bin/app", "check"]}]
    assert app["isolators"] == [{"name": "resource/memory", "value": {"limit": "1Gi"}}]
    labels = {label["name"]: label["value"] for label in manifest["labels"]}
    assert labels["version"] == "1.0"
    assert labels["channel"] == "beta"
    assert "dependencies" not in manifest
    assert {"bin/app", "srv/sub/file", "opt/app", "opt/tree/sub/file"} <= set(members)
    assert {member.mtime for member in members.values()} == {0}
    # Nothing depends on when or where.
    assert build("write", "out.aci") == 2
    assert build("write", "--overwrite", "out.aci") == 0
    assert capsys.readouterr().out == said
    assert build("end") == 0
    assert not (place / DIRECTORY).exists()


def test_statuses_and_reasons(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(line: str, status: int, reason: str) -> None:
        capsys.readouterr()
        assert build(*line.split()) == status, line
        assert reason in capsys.readouterr().err, line

    refused("end", 2, "no build is in progress")
    refused("set-user 0", 2, "no build is in progress")
    refused("begin --work-path nowhere", 125, "No such file")
    assert build("begin") == 0
    refused("begin", 2, "a build is in progress")
    refused("write x.aci", 2, "has no name")
    refused("set-name Bad/Name", 1, "name")
    for what in ("annotation", "label", "env", "port", "mount", "dep", "isolator"):
        refused(f"{what} remove absent", 2, "there is no")
    refused("port add http tcp", 2, "PORT is missing")
    refused("port add http tcp 99999", 1, "99999")
    refused("env add A", 2, "VALUE is missing")
    refused("label rm os x", 2, "is enough")
    refused("copy absent /x", 1, "there is no such file")
    refused("copy . /x/", 2, "does not end with /")
    refused("copy . x", 2, "not an absolute path")
    refused("isolator add resource/memory absent", 1, "absent")
    refused("set-exec", 2, "COMMAND is missing")
    refused("set-supp-groups x", 2, "not a whole number")
    refused("what", 2, "no such command")
    with Session.open(""):
        refused("set-user 5", 1, "another command is working on this build")
    (place / DIRECTORY).chmod(0o777)
    refused("set-user 5", 2, "was not made by this user")
    (place / DIRECTORY).chmod(0o700)
    (place / DIRECTORY / "manifest").unlink()
    refused("set-user 5", 2, "was not begun completely")
    assert build("end") == 0


def test_what_a_build_begins_with(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_kit.aci(place / "base.aci", {"bin/app": "x", "l": ("link", "bin")}, "example.com/base", app={
        "exec": ["/bin/app"], "user": "5", "group": "5"})  # fmt: skip
    assert build("begin", "./base.aci") == 1
    assert not (place / DIRECTORY).exists()
    assert build("begin", "--insecure", "image", "./base.aci") == 0
    assert build("write", "same.aci") == 0
    manifest, members = written("same.aci")
    assert (manifest["name"], manifest["app"]["user"]) == ("example.com/base", "5")
    assert members["l"].issym()
    assert members["bin/app"].mtime == image_kit.MTIME
    assert build("end") == 0
    rootfs = place / "rootfs"
    (rootfs / "dir").mkdir(parents=True)
    (rootfs / "dir/a").write_text("x")
    (rootfs / "dir/b").hardlink_to(rootfs / "dir/a")
    with tarfile.open(place / "rootfs.tar.gz", "w:gz") as archive:
        archive.add(rootfs, ".")
    for start in ("./rootfs", "rootfs.tar.gz"):
        assert build("begin", start) == 0
        assert build("set-name", "example.com/x") == 0
        assert build("write", "--overwrite", "x.aci") == 0
        manifest, members = written("x.aci")
        assert members["dir/b"].islnk(), start
        assert "app" not in manifest
        assert build("end") == 0


def test_neither_the_clock_nor_the_umask_is_part_of_an_image(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "rootfs").mkdir()
    (place / "rootfs/file").write_text("x")
    os.utime(place / "rootfs", (5, 5))
    with tarfile.open(place / "rootfs.tar", "w") as archive:
        archive.add(place / "rootfs/file", "deep/er/file")
    for start in ((), ("./rootfs",), ("rootfs.tar",)):
        ids = []
        for umask in (0o022, 0o077):
            before = os.umask(umask)
            try:
                for words in (
                    ("begin", *start),
                    ("set-name", "example.com/x"),
                    ("write", "--overwrite", "x.aci"),
                    ("end",),
                ):
                    assert build(*words) == 0
            finally:
                os.umask(before)
            _, members = written("x.aci")
            assert members["rootfs"].mode == 0o755
            ids.append((capsys.readouterr().out, sorted((name, one.mode, one.mtime) for name, one in members.items())))
            time.sleep(1.1)
        assert ids[0] == ids[1], start


def test_the_manifest_can_be_replaced_and_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "m.json").write_bytes(image_kit.manifest("example.com/other", "3"))
    assert build("begin") == 0
    assert build("replace-manifest", "m.json") == 0
    capsys.readouterr()
    assert build("cat-manifest", "--pretty-print") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((place / "m.json").read_text())
    (place / "m.json").write_text('{"acKind": "ImageManifest"}')
    assert build("replace-manifest", "m.json") == 1
    assert build("end") == 0


SCRIPT = """\
# acbuild's own way of writing it
acbuild --debug begin
appc build set-name example.com/app   # a name
copy "a file" /srv/a\\
  --no-history
set-exec -- /bin/sh -c "a 'b' c"

write --overwrite out.aci
end
"""


def test_a_script(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "a file").write_text("x")
    (place / "script").write_text(SCRIPT)
    assert build("script", "script") == 0
    manifest, members = written()
    assert manifest["app"]["exec"] == ["/bin/sh", "-c", "a 'b' c"]
    assert "srv/a" in members
    assert not (place / DIRECTORY).exists()


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("label rm x", 2, "script: line 2: build label remove: there is no label"),
        ("copy absent /x", 1, "script: line 2: absent: there is no such file"),
        ("nonsense", 2, "script: line 2: nonsense: no such command"),
        ("script script", 2, "script: line 2: script: no such command"),
        ("set-name 'x", 2, "script: line 2: cannot be split into words"),
        ("set-name x\\", 2, "script: line 2: ends with a backslash"),
        ("set-name Bad/Name", 1, "script: line 2: name"),
    ],
)
def test_a_failing_line_ends_the_build(
    line: str, status: int, reason: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "script").write_text(f"begin\n{line}")
    assert build("script", "script") == status
    assert reason in capsys.readouterr().err
    assert not (place / DIRECTORY).exists()


def test_options_may_stand_before_the_command() -> None:
    assert arranged(["--work-path", "x", "--debug", "dep", "add"]) == [
        "dependency",
        "--work-path",
        "x",
        "--debug",
        "add",
    ]
    assert arranged(["--help"]) == ["--help"]
