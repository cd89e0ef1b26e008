"""OCI images and docker archives become ACIs: what is visible, by which rules, and in which form they may come."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from appc.cli.main import main
from oci_kit import MTIME, Layout, docker_save, layer, old_docker_save, read_aci, simple, write_files
from oci_kit import layer as tar_of


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))


def convert(*words: str) -> None:
    assert main(["image", "convert", *words]) == 0


def files(path: str = "x.aci") -> dict[str, bytes]:
    """Contents of the regular files, without what conversion adds."""
    return {name.removeprefix("rootfs/"): data for name, data in read_aci(Path(path))[2].items()}


def manifest(path: str = "x.aci") -> dict[str, Any]:
    return read_aci(Path(path))[0]


def app(config: dict[str, Any]) -> dict[str, Any]:
    simple(Path("src"), layer(("etc/passwd", "u:x:7:9::/:\n"), ("etc/group", "g:x:9:\n")), config=config)
    convert("oci:src", "x.aci", "--overwrite")
    found: dict[str, Any] = manifest()["app"]
    return found


# -- layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param([[("a", "1")], [("a", "2")]], {"a": b"2"}, id="the-upper-layer-wins"),
        pytest.param([[("a", "1"), ("b", "2")], [(".wh.a", "")]], {"b": b"2"}, id="whiteout"),
        pytest.param([[("d/a", "1"), ("d/b/c", "2")], [(".wh.d", "")]], {}, id="whiteout-of-a-directory"),
        pytest.param([[("d/a", "1")], [("d/.wh.a", ""), ("d/a", "2")]], {"d/a": b"2"}, id="whiteout-spares-its-layer"),
        pytest.param(
            [[("d/a", "1")], [("d/a", "2"), ("d/.wh.a", "")]], {"d/a": b"2"}, id="whiteout-after-what-it-spares"
        ),
        pytest.param([[("a", "1")], [(".wh.a", "")], [("a", "3")]], {"a": b"3"}, id="there-again"),
        pytest.param(
            [[("d/a", "1"), ("d/s/b", "2"), ("e", "3")], [("d/n", "4"), ("d/.wh..wh..opq", "")]],
            {"d/n": b"4", "e": b"3"},
            id="opaque-last",
        ),
        pytest.param(
            [[("d/s/b", "2")], [("d/.wh..wh..opq", ""), ("d/s/n", "4")]], {"d/s/n": b"4"}, id="opaque-below-a-new-entry"
        ),
        pytest.param([[("a", "1")], [(".wh..wh..opq", ""), ("b", "2")]], {"b": b"2"}, id="opaque-root"),
        pytest.param([[("a", "1")], [(".wh.b", ""), ("x/.wh.y", "")]], {"a": b"1"}, id="whiteout-of-nothing"),
        pytest.param([[("a", "1")], [(".wh..wh.plnk/1.2", ""), (".wh..wh.aufs", "")]], {"a": b"1"}, id="aufs-records"),
        pytest.param([[("d/a", "1")], [("d", "file")]], {"d": b"file"}, id="file-over-directory"),
        pytest.param([[("d", "file")], [("d/a", "1")]], {"d/a": b"1"}, id="directory-over-file"),
        pytest.param([[("a", "1")], [("./a", "2"), ("/b", "3")]], {"a": b"2", "b": b"3"}, id="names-with-dot-or-slash"),
        pytest.param([[("a", "1"), ("a", "2")]], {"a": b"2"}, id="the-later-of-two"),
        pytest.param(
            [[("usr/bin/x", "1"), ("bin", ("link", "usr/bin"))], [("bin/y", "2")]],
            {"usr/bin/x": b"1", "usr/bin/y": b"2"},
            id="through-a-link-from-below",
        ),
        pytest.param(
            [[("usr/bin/x", "1"), ("bin", ("link", "usr/bin"))], [("bin", ("dir", 0o755)), ("bin/y", "2")]],
            {"usr/bin/x": b"1", "bin/y": b"2"},
            id="a-directory-replaces-a-link",
        ),
        pytest.param(
            [[("up", ("link", "../../..")), ("etc/a", "1")], [("up/etc/a", "2")]],
            {"etc/a": b"2"},
            id="a-link-upwards-ends-at-the-root",
        ),
        pytest.param([[("a", "1")], [], [(("b"), "2")]], {"a": b"1", "b": b"2"}, id="an-empty-layer"),
    ],
)
def test_what_layers_come_to(layers: list[list[tuple[str, Any]]], expected: dict[str, bytes]) -> None:
    simple(Path("src"), *[layer(*entries) for entries in layers])
    convert("oci:src", "x.aci")
    assert files() == expected


def test_a_hard_link_to_a_lower_layer_is_a_link_again() -> None:
    simple(Path("src"), layer(("a", "1")), layer(("b", ("hard", "a"))))
    convert("oci:src", "x.aci")
    entries = read_aci(Path("x.aci"))[1]
    assert entries["rootfs/a"].isfile()
    assert (entries["rootfs/b"].islnk(), entries["rootfs/b"].linkname) == (True, "rootfs/a")


def test_a_hard_link_keeps_a_content_that_its_first_name_lost() -> None:
    simple(Path("src"), layer(("a", "1")), layer(("b", ("hard", "a"))), layer(("a", "new")))
    convert("oci:src", "x.aci")
    assert files() == {"a": b"new", "b": b"1"}


def test_a_hard_link_whose_target_is_hidden_is_a_file() -> None:
    simple(Path("src"), layer(("a", "1"), ("b", ("hard", "a")), ("c", ("hard", "b"))), layer((".wh.a", "")))
    convert("oci:src", "x.aci")
    assert files() == {"b": b"1"}
    assert read_aci(Path("x.aci"))[1]["rootfs/c"].linkname == "rootfs/b"


def test_directories_take_the_mode_of_the_uppermost_layer_that_lists_them() -> None:
    simple(
        Path("src"),
        layer(("d", ("dir", 0o700)), ("d/a", "1"), ("e", ("dir", 0o711))),
        layer(("d", ("dir", 0o750)), ("e/b", "2")),
    )
    convert("oci:src", "x.aci")
    entries = read_aci(Path("x.aci"))[1]
    assert (entries["rootfs/d"].mode, entries["rootfs/e"].mode) == (0o750, 0o711)
    assert entries["rootfs/d"].mtime == MTIME
    assert list(entries)[:2] == ["manifest", "rootfs"]


def test_metadata_is_kept() -> None:
    odd = (
        "file",
        "x",
        {"uid": 5, "gid": 6, "mode": 0o6751, "mtime": 12.5, "pax_headers": {"SCHILY.xattr.user.a": "b"}},
    )
    simple(Path("src"), layer(("f", odd), ("p", ("fifo",)), ("l", ("link", "/nowhere"))))
    convert("oci:src", "x.aci")
    entries = read_aci(Path("x.aci"))[1]
    one = entries["rootfs/f"]
    assert (one.uid, one.gid, one.mode, float(one.mtime)) == (5, 6, 0o6751, 12.5)
    assert one.pax_headers["SCHILY.xattr.user.a"] == "b"
    assert entries["rootfs/p"].isfifo()
    assert entries["rootfs/l"].linkname == "/nowhere"


def test_standard_streams_get_links_unless_they_are_there() -> None:
    simple(Path("src"), layer(("dev/stdin", "mine")))
    convert("oci:src", "x.aci")
    entries = read_aci(Path("x.aci"))[1]
    links = {name: info.linkname for name, info in entries.items() if info.issym()}
    assert links == {
        "rootfs/dev/fd": "/proc/self/fd",
        "rootfs/dev/stderr": "/dev/console",
        "rootfs/dev/stdout": "/dev/console",
    }


def test_no_links_go_below_a_dev_that_is_no_directory() -> None:
    simple(Path("src"), layer(("dev", ("link", "elsewhere"))))
    convert("oci:src", "x.aci")
    assert [name for name in read_aci(Path("x.aci"))[1] if "dev" in name] == ["rootfs/dev"]


@pytest.mark.parametrize("kind", ["gzip", "none", "zstd"])
def test_layers_may_be_compressed_in_every_way_of_the_specification(kind: str) -> None:
    layout = Layout()
    one = layer(("a", "1"))
    if kind == "zstd":
        zstd = pytest.importorskip("backports.zstd")
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layout.blob(one)["digest"]]},
        }
        body = {
            "schemaVersion": 2,
            "config": layout.blob(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [layout.blob(zstd.compress(one), "application/vnd.oci.image.layer.v1.tar+zstd")],
        }
        layout.tag(layout.blob(body, "application/vnd.oci.image.manifest.v1+json"))
    else:
        layout.tag(layout.image([one], compress=kind))
    layout.write(Path("src"))
    convert("oci:src", "x.aci")
    assert files() == {"a": b"1"}


def test_the_same_image_gives_the_same_bytes() -> None:
    simple(Path("src"), layer(("a", "1"), ("d/b", "2")), layer(("c", "3")))
    convert("oci:src", "x.aci")
    convert("oci:src", "y.aci")
    assert Path("x.aci").read_bytes() == Path("y.aci").read_bytes()


def test_a_layer_each(capsys: pytest.CaptureFixture[str]) -> None:
    simple(
        Path("src"), layer(("d/a", "1"), ("b", "2")), layer(("d/c", ("hard", "b"))), layer((".wh.b", ""), ("e", "3"))
    )
    convert("--layers", "oci:src", "x.aci")
    ids = capsys.readouterr().out.split()
    top, middle, base = manifest("x.aci"), manifest("x-1.aci"), manifest("x-2.aci")
    assert "dependencies" not in base
    assert base["name"].startswith("src-sha256-")
    assert middle["dependencies"][0]["imageID"] == ids[0]
    assert top["dependencies"] == [{"imageName": middle["name"], "imageID": ids[1], "labels": middle["labels"]}]
    assert top["name"] == "src"
    assert "app" not in base
    assert "app" in top
    assert "pathWhitelist" not in middle
    assert sorted(path for path in top["pathWhitelist"] if not path.startswith("/dev")) == [
        "/",
        "/d",
        "/d/a",
        "/d/c",
        "/e",
    ]
    assert files("x-1.aci") == {"d/c": b"2"}
    assert files("x.aci") == {"e": b"3"}


# -- manifests --------------------------------------------------------------------------------------


def test_a_name_that_is_no_text_is_in_no_whitelist(capsys: pytest.CaptureFixture[str]) -> None:
    simple(Path("src"), layer(("odd-\udcff", "1"), ("b", "2")), layer((".wh.b", "")))
    assert main(["image", "convert", "--layers", "oci:src", "out.aci"]) == 1
    assert "whose name is not UTF-8" in capsys.readouterr().err
    assert not list(Path().glob("*.aci"))
    convert("oci:src", "x.aci")
    assert files() == {"odd-\udcff": b"1"}


def test_a_layout_that_gives_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    simple(Path("|"), layer(("a", "1")))
    assert main(["image", "convert", "oci:|", "x.aci"]) == 1
    assert "hint: --name gives it a name" in capsys.readouterr().err


def test_the_rules_for_an_app() -> None:
    found = app(
        {
            "Entrypoint": ["/run"],
            "Cmd": ["a", "b"],
            "Env": ["A=1", "nothing", "B=x=y", "A=2", "bad name=1"],
            "WorkingDir": "work",
            "User": "1:2",
            "Labels": {"Who": "me"},
            "Volumes": {"/var/lib/X": {}, "/a/b": {}, "/a-b": {}},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9000": {}, "8000-8010/tcp": {}},
        }
    )
    assert found["exec"] == ["/run", "a", "b"]
    assert found["environment"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "x=y"}]
    assert found["workingDirectory"] == "/work"
    assert (found["user"], found["group"]) == ("1", "2")
    assert found["userLabels"] == {"Who": "me"}
    assert found["mountPoints"] == [
        {"name": "volume-a-b", "path": "/a-b"},
        {"name": "volume-a-b-1", "path": "/a/b"},
        {"name": "volume-var-lib-x", "path": "/var/lib/X"},
    ]
    assert found["ports"] == [
        {"name": "53-udp", "protocol": "udp", "port": 53},
        {"name": "80-tcp", "protocol": "tcp", "port": 80},
        {"name": "8000-8010-tcp", "protocol": "tcp", "port": 8000, "count": 11},
        {"name": "9000", "protocol": "tcp", "port": 9000},
    ]


@pytest.mark.parametrize(
    ("text", "user", "group"),
    [
        ("", "0", "0"),
        ("g", "g", "g"),
        ("u", "u", "9"),
        ("7", "7", "9"),
        ("1000", "1000", "1000"),
        ("u:5", "u", "5"),
        ("3:g", "3", "g"),
    ],
)
def test_user_and_group(text: str, user: str, group: str) -> None:
    found = app({"User": text})
    assert (found["user"], found["group"]) == (user, group)


def test_null_and_missing_fields_are_alike() -> None:
    found = app({"Cmd": None, "Entrypoint": None, "Env": None, "ExposedPorts": None, "Volumes": None, "Labels": None})
    assert found == {"user": "0", "group": "0"}


def test_labels_and_annotations() -> None:
    layout = Layout()
    one = layout.image([], {"Entrypoint": ["/e"], "Cmd": ["c"], "StopSignal": "SIGINT"}, architecture="arm64")
    layout.tag(one, "docker.io/library/thing:2.0")
    layout.write(Path("src"))
    convert("oci:src", "x.aci")
    found = manifest()
    assert found["name"] == "docker.io/library/thing"
    labels = {"version": "2.0", "os": "linux", "arch": "aarch64"}
    assert {label["name"]: label["value"] for label in found["labels"]} == labels
    notes = {note["name"]: note["value"] for note in found["annotations"]}
    assert notes["appc.io/docker/originalname"] == "docker.io/library/thing:2.0"
    assert notes["appc.io/docker/registryurl"] == "docker.io"
    assert notes["appc.io/docker/repository"] == "library/thing"
    assert notes["appc.io/docker/tag"] == "2.0"
    assert notes["appc.io/docker/manifesthash"] == one["digest"]
    assert json.loads(notes["appc.io/docker/entrypoint"]) == ["/e"]
    assert json.loads(notes["appc.io/docker/cmd"]) == ["c"]


def test_a_name_may_be_given() -> None:
    simple(Path("src"), layer(("a", "1")))
    convert("--name", "example.com/mine", "oci:src", "x.aci")
    assert manifest()["name"] == "example.com/mine"


# -- where images come in ---------------------------------------------------------------------------


def _two_platforms() -> Layout:
    layout = Layout()
    arm = layout.image([layer(("arch", "arm"))], architecture="arm64")
    amd = layout.image([layer(("arch", "amd"))])
    unknown = {"os": "unknown", "architecture": "unknown"}
    layout.tag(
        layout.index(
            {**arm, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            layout.index({**amd, "platform": {"os": "linux", "architecture": "amd64"}}),
            {**amd, "platform": unknown},
        ),
        "1.0",
    )
    return layout


@pytest.mark.parametrize(
    ("platform", "expected"), [("linux/arm64", b"arm"), ("linux/aarch64", b"arm"), ("linux/amd64", b"amd")]
)
def test_an_index_holds_several_platforms(platform: str, expected: bytes) -> None:
    _two_platforms().write(Path("src"))
    convert("--platform", platform, "oci:src:1.0", "x.aci")
    assert files() == {"arch": expected}


def test_a_platform_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    _two_platforms().write(Path("src"))
    assert main(["image", "convert", "--platform", "linux/s390x", "oci:src", "x.aci"]) == 1
    assert "no image for linux/s390x" in capsys.readouterr().err


def test_one_of_several_tags_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout()
    layout.tag(layout.image([layer(("a", "1"))]), "one")
    layout.tag(layout.image([layer(("a", "2"))]), "two")
    layout.write(Path("src"))
    assert main(["image", "convert", "oci:src", "x.aci"]) == 1
    assert "one, two" in capsys.readouterr().err
    convert("oci:src:two", "x.aci")
    assert files() == {"a": b"2"}
    assert main(["image", "convert", "oci:src:three", "y.aci"]) == 1
    assert "has no image three" in capsys.readouterr().err


@pytest.mark.parametrize("compressed", [False, True])
def test_a_layout_may_be_an_archive(compressed: bool) -> None:
    layout = Layout()
    layout.tag(layout.image([layer(("a", "1"))]), "1.0")
    layout.archive(Path("src.tar"))
    if compressed:
        Path("src.tar").write_bytes(gzip.compress(Path("src.tar").read_bytes()))
    convert("oci-archive:src.tar", "x.aci")
    assert files() == {"a": b"1"}
    assert manifest()["name"] == "src"


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("as_directory", [False, True])
def test_docker_archives_of_both_ages(old: bool, as_directory: bool) -> None:
    layers = [layer(("a", "1"), ("b", "2")), layer((".wh.a", ""), ("c", "3"))]
    saved = (old_docker_save if old else docker_save)(layers, {"Cmd": ["/c"]})
    if as_directory:
        write_files(Path("src"), saved)
    else:
        Path("src").write_bytes(tar_of(*saved.items()))
    convert("docker-archive:src", "x.aci")
    assert files() == {"b": b"2", "c": b"3"}
    found = manifest()
    assert (found["name"], found["app"]["exec"]) == ("app", ["/c"])
    assert {"name": "version", "value": "1.0"} in found["labels"]


def test_layers_of_a_docker_archive_may_be_links_to_each_other() -> None:
    one = layer(("a", "1"))
    saved = docker_save([one, one])
    second = f"{1:064x}/layer.tar"
    entries = [(name, ("link", f"../{0:064x}/layer.tar") if name == second else data) for name, data in saved.items()]
    Path("src").write_bytes(tar_of(*entries))
    convert("docker-archive:src", "x.aci")
    assert files() == {"a": b"1"}


def test_an_image_of_a_docker_archive_by_its_tag(capsys: pytest.CaptureFixture[str]) -> None:
    saved = docker_save([layer(("a", "1"))], tags=("example.com:5000/app:1", "other:latest"))
    Path("src.tar").write_bytes(tar_of(*saved.items()))
    convert("docker-archive:src.tar:other", "x.aci")
    assert manifest()["name"] == "other"
    convert("docker-archive:src.tar:example.com:5000/app:1", "y.aci")
    assert manifest("y.aci")["name"] == "example.com_5000/app"
    assert main(["image", "convert", "docker-archive:src.tar:nope", "z.aci"]) == 1
    assert "example.com:5000/app:1, other:latest" in capsys.readouterr().err


def test_what_is_there_is_kept_unless_it_is_to_be_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    simple(Path("src"), layer(("a", "1")))
    Path("x.aci").write_text("mine")
    assert main(["image", "convert", "oci:src", "x.aci"]) == 2
    assert Path("x.aci").read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    convert("--overwrite", "oci:src", "x.aci")
    assert tarfile.is_tarfile("x.aci")


def test_what_is_left_out_is_said_when_an_image_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simple(tmp_path / "src", layer(("a", "1")), config={"Volumes": {"relative": {}}})
    for said in (1, 0):
        assert main(["--root", str(tmp_path / "data"), "fetch", "--insecure", "image", f"oci:{tmp_path}/src"]) == 0
        assert capsys.readouterr().err.count("its volume 'relative' is no absolute path and was left out") == said
