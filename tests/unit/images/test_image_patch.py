"""`appc image patch`: another manifest, and every other byte as it was (actool patch-manifest, acbuild's edits)."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import image_kit
import oci_kit
from appc.cli.main import main
from appc.store.images import ImageStore
from hostile.tarbuild import END, directory, file, pax, tar

APP = {"exec": ["/bin/app", "-v"], "user": "0", "group": "0"}
ODD = b"\1trailing"
FILES: dict[str, image_kit.Entry] = {
    "bin/app": ("file", b"app" * 1000, {"mode": 0o755}),
    "bin/link": ("link", "app"),
    "bin/hard": ("hard", "bin/app"),
    "etc/ünïcode": "x",
}
Patch = Callable[..., dict[str, Any]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def patch(place: Path) -> Patch:
    """Patch an image with that manifest and return the new manifest."""

    def run(*words: str, **fields: Any) -> dict[str, Any]:
        made(place, **fields)
        assert main(["image", "patch", "in.aci", "out.aci", "--overwrite", *words]) == 0
        return manifest_of(place / "out.aci")

    return run


def made(place: Path, **fields: Any) -> Path:
    """An image with an app, unless `app` is None."""
    fields = {name: value for name, value in {"app": APP, **fields}.items() if value is not None}
    image_kit.aci(place / "in.aci", FILES, **fields)
    return place / "in.aci"


def plain(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def manifest_of(path: Path) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(plain(path))) as archive:
        member = archive.extractfile("manifest")
        assert member is not None
        found: dict[str, Any] = json.loads(member.read())
        return found


# -- edits ----------------------------------------------------------------------------------------


def test_name_and_labels(patch: Patch) -> None:
    found = patch(
        "--name", "example.com/other", "--label", "version=2", "--label", "os=linux", "--remove-label", "arch",
        version="1", labels=[("os", "linux"), ("arch", "amd64")],
    )  # fmt: skip
    assert found["name"] == "example.com/other"
    assert found["labels"] == [{"name": "version", "value": "2"}, {"name": "os", "value": "linux"}]


def test_removing_the_last_of_a_list_removes_the_list(patch: Patch) -> None:
    assert "labels" not in patch("--remove-label", "version", version="1")


def test_commands_are_words_or_split_as_a_shell_does(patch: Patch) -> None:
    assert patch("--exec", "/bin/sh -c 'a  b' \"$X\"")["app"]["exec"] == ["/bin/sh", "-c", "a  b", "$X"]
    assert patch("--", "/bin/sh", "--name", "a b")["app"]["exec"] == ["/bin/sh", "--name", "a b"]
    assert patch("--exec", "/bin/sh", "--", "-c", "x")["app"]["exec"] == ["/bin/sh", "-c", "x"]


def test_an_image_without_an_app_gets_one_with_its_command(patch: Patch) -> None:
    assert patch("--user", "1", "--group", "2", "--", "/x", app=None)["app"] == {
        "exec": ["/x"], "user": "1", "group": "2",
    }  # fmt: skip


def test_identity_directory_and_environment(patch: Patch) -> None:
    found = patch(
        "--user", "www-data", "--group", "/srv", "--supplementary-gids", "10,20", "--working-dir", "/srv",
        "--env", "A=1", "--env", "B==", "--env", "A=2", "--remove-env", "C",
        app={**APP, "environment": [{"name": "C", "value": "c"}, {"name": "B", "value": "old"}]},
    )["app"]  # fmt: skip
    assert (found["user"], found["group"], found["supplementaryGIDs"]) == ("www-data", "/srv", [10, 20])
    assert found["workingDirectory"] == "/srv"
    assert found["environment"] == [{"name": "B", "value": "="}, {"name": "A", "value": "2"}]


def test_empty_groups_and_directory_are_removed(patch: Patch) -> None:
    app = {**APP, "supplementaryGIDs": [1], "workingDirectory": "/x"}
    assert patch("--supplementary-gids", "", "--working-dir", "", app=app)["app"] == APP


def test_mount_points_go_by_name_or_path(patch: Patch) -> None:
    points = [{"name": "data", "path": "/data"}, {"name": "logs", "path": "/var/log"}]
    found = patch(
        "--mount", "data,path=/d,readOnly=true", "--remove-mount", "/var/log", app={**APP, "mountPoints": points}
    )
    assert found["app"]["mountPoints"] == [{"name": "data", "path": "/d", "readOnly": True}]


def test_ports_go_by_name_or_number(patch: Patch) -> None:
    ports = [{"name": "http", "protocol": "tcp", "port": 80}, {"name": "dns", "protocol": "udp", "port": 53}]
    found = patch(
        "--remove-port", "53", "--port", "http,protocol=tcp,port=8080,count=2", "--port", "https,protocol=tcp,port=443",
        app={**APP, "ports": ports},
    )  # fmt: skip
    assert [(port["name"], port["port"], port.get("count")) for port in found["app"]["ports"]] == [
        ("http", 8080, 2), ("https", 443, None),
    ]  # fmt: skip
    assert "ports" not in patch("--remove-port", "http", "--remove-port", "dns", app={**APP, "ports": ports})["app"]


def test_isolators_replace_those_of_their_name_and_their_rivals(patch: Patch) -> None:
    isolators = [
        {"name": "resource/memory", "value": {"limit": "1G"}},
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
        {"name": "os/linux/seccomp-retain-set", "value": {"set": ["read"]}},
        {"name": "example.com/unknown", "value": [1]},
    ]
    found = patch(
        "--isolator", "resource/memory,limit=2G", "--isolator", "resource/cpu,limit=500m",
        "--caps-remove", "chown,CAP_KILL", "--seccomp", "mode=remove,errno=EPERM,reboot",
        app={**APP, "isolators": isolators},
    )["app"]["isolators"]  # fmt: skip
    assert found == [
        {"name": "resource/memory", "value": {"limit": "2G"}},
        {"name": "example.com/unknown", "value": [1]},
        {"name": "resource/cpu", "value": {"limit": "500m"}},
        {"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_CHOWN", "CAP_KILL"]}},
        {"name": "os/linux/seccomp-remove-set", "value": {"errno": "EPERM", "set": ["reboot"]}},
    ]
    left = patch("--remove-isolator", "example.com/unknown", app={**APP, "isolators": isolators})
    assert [one["name"] for one in left["app"]["isolators"]] == [one["name"] for one in isolators[:3]]


def test_handlers(patch: Patch) -> None:
    handlers = [{"name": "post-stop", "exec": ["/bin/clean"]}]
    found = patch("--handler", "pre-start=/bin/prepare 'a b'", app={**APP, "eventHandlers": handlers})
    assert found["app"]["eventHandlers"] == [*handlers, {"name": "pre-start", "exec": ["/bin/prepare", "a b"]}]
    assert patch("--remove-handler", "post-stop", app={**APP, "eventHandlers": handlers})["app"] == APP


def test_dependencies(patch: Patch) -> None:
    image_id = "sha512-" + "a" * 128
    found = patch(
        "--dependency", f"example.com/base:1.0,os=linux,imageID={image_id},size=77", "--dependency", "example.com/lib",
        "--remove-dependency", "example.com/old",
        dependencies=[{"imageName": "example.com/old"}, {"imageName": "example.com/lib", "size": 1}],
    )  # fmt: skip
    assert found["dependencies"] == [
        {"imageName": "example.com/lib"},
        {
            "imageName": "example.com/base", "imageID": image_id, "size": 77,
            "labels": [{"name": "version", "value": "1.0"}, {"name": "os", "value": "linux"}],
        },
    ]  # fmt: skip


def test_annotations_user_maps_and_whitelist(patch: Patch) -> None:
    found = patch(
        "--annotation", "homepage=https://example.com", "--remove-annotation", "authors",
        "--user-annotation", "a=b", "--user-label", "tier=web", "--remove-user-label", "old",
        "--path-whitelist", "/bin/app", "--remove-path-whitelist", "/etc",
        annotations=[{"name": "authors", "value": "x"}], pathWhitelist=["/etc", "/bin"],
        app={**APP, "userLabels": {"old": "1"}},
    )  # fmt: skip
    assert found["annotations"] == [{"name": "homepage", "value": "https://example.com"}]
    assert found["app"]["userAnnotations"] == {"a": "b"}
    assert found["app"]["userLabels"] == {"tier": "web"}
    assert found["pathWhitelist"] == ["/bin", "/bin/app"]


def test_unknown_fields_their_order_and_spellings_survive(patch: Patch) -> None:
    app = {"future": {"x": [1, None]}, **APP, "WorkingDirectory": "/old"}
    found = patch("--working-dir", "/new", "--user", "5", app=app, later=1)
    assert list(found) == ["acKind", "acVersion", "name", "app", "later"]
    assert list(found["app"].items()) == [
        ("future", {"x": [1, None]}), ("exec", APP["exec"]), ("user", "5"), ("group", "0"),
        ("WorkingDirectory", "/new"),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["json", "yaml", "toml"])
def test_a_whole_manifest_replaces_the_old_one_and_can_be_edited_further(
    place: Path, patch: Patch, suffix: str
) -> None:
    text = {
        "json": '{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "new"}',
        "yaml": "acKind: ImageManifest\nacVersion: 0.8.11\nname: new\n",
        "toml": 'acKind = "ImageManifest"\nacVersion = "0.8.11"\nname = "new"\n',
    }[suffix]
    (place / f"m.{suffix}").write_text(text)
    found = patch("--manifest", f"m.{suffix}", "--label", "version=3", version="1")
    assert found == {**json.loads(image_kit.manifest("new")), "labels": [{"name": "version", "value": "3"}]}


# -- refusals -------------------------------------------------------------------------------------


def refused(place: Path, capsys: pytest.CaptureFixture[str], *words: str, **fields: Any) -> list[str]:
    made(place, **fields)
    before = sorted(os.listdir(place))
    assert main(["image", "patch", "in.aci", "out.aci", *words]) == 1
    assert sorted(os.listdir(place)) == before
    return capsys.readouterr().err.splitlines()


def test_removing_what_is_not_there_is_an_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(place, capsys, "--remove-env", "X", "--remove-label", "os", "--remove-port", "80") == [
        'appc: in.aci: labels: there is no label "os" to remove',
        'appc: in.aci: app.environment: there is no variable "X" to remove',
        'appc: in.aci: app.ports: there is no port "80" to remove',
    ]


def test_all_faults_of_the_result_are_named_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = refused(
        place, capsys, "--name", "Not A Name", "--label", "name=x", "--env", "1X=y", "--handler", "mid-run=/x",
        "--working-dir", "relative", "--remove-annotation", "none",
    )  # fmt: skip
    assert len(lines) == 6
    for path in (
        "name",
        "labels[0]",
        "app.environment[0]",
        "app.eventHandlers[0]",
        "app.workingDirectory",
        "annotations",
    ):
        assert any(line.startswith(f"appc: in.aci: {path}") for line in lines), path


def test_app_edits_need_an_app(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(place, capsys, "--env", "A=1", app=None) == [
        "appc: in.aci: app: is missing: an image without a command has no app to change"
    ]
    lines = refused(place, capsys, "--exec", "/x", app=None)
    assert lines == ["appc: in.aci: app.user: is required", "appc: in.aci: app.group: is required"]


@pytest.mark.parametrize(
    "words",
    [
        ("in.aci", "out.aci"),
        ("in.aci", "--name", "x"),
        ("in.aci", "out.aci", "--replace", "--name", "x"),
        ("in.aci", "out.aci", "--mount", "data"),
        ("in.aci", "out.aci", "--dependency", "base,imageID"),
        ("in.aci", "out.aci", "--caps-retain", "A", "--caps-remove", "B"),
        ("in.aci", "out.aci", "--exec", "'open"),
        ("in.aci", "out.tar", "--name", "x"),
        ("in.aci", "there.aci", "--name", "x"),
    ],
)
def test_wrong_words_are_usage_errors(place: Path, words: tuple[str, ...]) -> None:
    made(place)
    (place / "there.aci").write_text("old")
    assert main(["image", "patch", *words]) == 2
    assert (place / "there.aci").read_text() == "old"
    assert not (place / "out.aci").exists()


# -- the archive ----------------------------------------------------------------------------------


def test_every_other_byte_is_copied(place: Path) -> None:
    """Odd but valid: other headers' formats, times, owners, trailing data, the manifest in the middle."""
    manifest = image_kit.manifest(app=APP)
    before = directory(b"rootfs", mtime=5) + file(b"rootfs/a", b"x" * 700, uid=12345)
    after = pax(comment="kept", mtime="1.25") + file(b"rootfs/b", b"y") + END * 20 + ODD
    (place / "in.aci").write_bytes(before + file(b"manifest", manifest, mtime=77, uid=9, mode=0o600) + after)
    assert main(["image", "patch", "in.aci", "out.aci", "--name", "example.com/very/much/longer/" + "x" * 600]) == 0
    new = (place / "out.aci").read_bytes()
    assert new.startswith(before)
    assert new.endswith(after)
    with tarfile.open("out.aci") as archive:
        info = archive.getmember("manifest")
        assert (info.mtime, info.uid, info.mode) == (77, 9, 0o600)
        assert len(new) == len(before) + 512 + info.size + -info.size % 512 + len(after)


def test_the_manifests_extended_header_is_kept_but_for_name_and_size(place: Path) -> None:
    manifest = image_kit.manifest(app=APP)
    header = pax(path="./manifest", size=str(len(manifest)), mtime="3.5")
    (place / "in.aci").write_bytes(tar(directory(b"rootfs"), header, file(b"m", manifest)))
    assert main(["image", "patch", "in.aci", "out.aci", "--name", "example.com/other"]) == 0
    with tarfile.open("out.aci") as archive:
        info = archive.getmember("manifest")
        assert info.mtime == 3.5
        assert info.pax_headers == {"mtime": "3.5"}
    assert manifest_of(place / "out.aci")["name"] == "example.com/other"


def test_nothing_changed_is_the_same_image(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(place, version="1")
    assert main(["image", "patch", "in.aci", "out.aci", "--label", "version=1", "--compress", "none"]) == 0
    assert (place / "out.aci").read_bytes() == plain(path)
    assert main(["image", "id", "in.aci"]) == 0
    assert len(set(capsys.readouterr().out.split())) == 1


@pytest.mark.parametrize("kind", ["none", "gzip", "bzip2", "xz"])
def test_the_compression_stays_unless_another_is_asked_for(
    place: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    made(place, compress=kind)
    magic = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ"}
    assert main(["image", "patch", "in.aci", "same.aci", "--user", "7"]) == 0
    assert main(["image", "patch", "in.aci", "xz.aci", "--user", "7", "--compress", "xz", "--level", "0"]) == 0
    assert (place / "same.aci").read_bytes().startswith(magic.get(kind, b"rootfs"))
    assert (place / "xz.aci").read_bytes().startswith(magic["xz"])
    assert len(set(capsys.readouterr().out.split())) == 1


def test_a_file_is_replaced_whole_and_keeps_its_mode(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(place)
    path.chmod(0o600)
    os.symlink("in.aci", place / "link.aci")
    (place / "in.aci.asc").write_text("signature")
    assert main(["image", "patch", "link.aci", "--replace", "--name", "example.com/other"]) == 0
    assert (place / "link.aci").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert manifest_of(path)["name"] == "example.com/other"
    assert "in.aci.asc: does not hold for the new image" in capsys.readouterr().err
    assert main(["image", "patch", "in.aci", "--replace", "--name", "Wrong"]) == 1
    assert manifest_of(path)["name"] == "example.com/other"


def test_a_broken_image_is_refused_without_a_trace(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "in.aci"
    image_kit.aci(path, {"big": os.urandom(200_000)}, app=APP)
    path.write_bytes(path.read_bytes()[:-1000])
    assert main(["image", "patch", "in.aci", "out.aci", "--name", "x"]) == 1
    assert main(["image", "patch", "in.aci", "--replace", "--name", "x"]) == 1
    assert capsys.readouterr().err.count("truncated") == 2
    assert os.listdir(place) == ["in.aci"]


# -- the store ------------------------------------------------------------------------------------


def test_an_image_of_the_store_becomes_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(place)
    assert main(["fetch", "--insecure", "image", "in.aci"]) == 0
    assert main(["image", "patch", "example.com/app", "stored.aci", "--user", "5"]) == 0
    assert main(["image", "patch", "in.aci", "file.aci", "--user", "5"]) == 0
    ids = capsys.readouterr().out.split()
    assert ids[1] == ids[2] != ids[0]
    assert plain(place / "stored.aci") == plain(place / "file.aci")


def test_an_image_of_the_store_is_replaced_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(place)
    assert main(["fetch", "--insecure", "image", "in.aci"]) == 0
    old = capsys.readouterr().out.strip()
    assert main(["image", "patch", "example.com/app", "--replace", "--label", "version=2"]) == 0
    new = capsys.readouterr().out.strip()
    store = ImageStore(str(place / "data"))
    assert [image.id for image in store.list()] == [new] != [old]
    image = store.find("example.com/app")
    assert image.labels.get("version") == "2"
    assert store.check(image) == []
    assert Path(image.tree, "bin/app").read_bytes() == b"app" * 1000
    assert main(["image", "patch", "example.com/app", "--replace", "--name", "Wrong"]) == 1
    assert [image.id for image in store.list()] == [new]


def test_what_others_depend_on_by_its_id_stays_when_it_is_replaced(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(place)
    assert main(["fetch", "--insecure", "image", "in.aci"]) == 0
    old = capsys.readouterr().out.strip()
    image_kit.aci(place / "top.aci", {}, "top", dependencies=[{"imageName": "example.com/app", "imageID": old}])
    assert main(["fetch", "--insecure", "image", "top.aci"]) == 0
    assert main(["image", "patch", old, "--replace", "--label", "version=2"]) == 0
    assert "was not removed: top depends on it by its ID" in capsys.readouterr().err
    assert old in [image.id for image in ImageStore(str(place / "data")).list()]


def test_a_layout_becomes_a_file_with_another_manifest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"Entrypoint": ["/bin/app"], "Env": ["A=1"], "Volumes": {"relative": {}}}
    oci_kit.simple(place / "layout", oci_kit.layer(("bin", ("dir", 0o755)), ("bin/app", "x")), config=config)
    assert main(["image", "patch", "oci:layout:1.0", "out.aci", "--env", "B=2"]) == 0
    # What conversion leaves out is said, as when it is converted.
    assert "oci:layout:1.0: its volume 'relative' is no absolute path and was left out" in capsys.readouterr().err
    found = manifest_of(place / "out.aci")
    assert found["app"]["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert main(["image", "patch", "oci:layout:1.0", "--replace", "--env", "B=2"]) == 2
    assert main(["image", "patch", "oci:absent", "x.aci", "--env", "B=2"]) == 1
    assert not ImageStore("data").list()
    assert sorted(os.listdir(place)) == ["data", "layout", "out.aci"]


def test_a_short_rest_stays_behind_the_end_of_the_archive(place: Path) -> None:
    """An archive that ends with one empty block, and has less than a block of other data behind it."""
    data = tar(directory(b"rootfs"), file(b"manifest", image_kit.manifest(app=APP)))
    (place / "in.aci").write_bytes(data.removesuffix(END) + END[:512] + ODD)
    assert main(["image", "patch", "in.aci", "out.aci", "--name", "example.com/app", "--compress", "none"]) == 0
    assert (place / "out.aci").read_bytes() == (place / "in.aci").read_bytes()
