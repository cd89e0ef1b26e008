"""ACIs become OCI images and docker archives, and the same ACIs again: identity, edits, dependencies, whitelists."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from appc.build import convert_oci
from appc.cli.main import main
from image_kit import aci
from oci_kit import Layout, layer, read_aci, simple

APP = {
    "exec": ["/bin/server", "-v"],
    "user": "5",
    "group": "6",
    "workingDirectory": "/srv",
    "environment": [{"name": "A", "value": "1"}],
    "ports": [
        {"name": "http", "protocol": "tcp", "port": 80},
        {"name": "many", "protocol": "udp", "port": 90, "count": 2},
    ],
    "mountPoints": [{"name": "data", "path": "/data", "readOnly": True}],
    "isolators": [{"name": "resource/memory", "value": {"limit": "64Mi"}}],
    "eventHandlers": [{"name": "pre-start", "exec": ["/bin/prepare"]}],
    "userLabels": {"Tier": "one"},
}
FILES: dict[str, Any] = {
    "bin/server": ("file", "program", {"mode": 0o4755, "uid": 3, "pax_headers": {"SCHILY.xattr.user.k": "v"}}),
    "bin/other": ("hard", "bin/server"),
    "etc/ä": "name",
    "big": b"x" * 3_000_000,
    "empty": "",
    "link": ("link", "bin"),
}
TARGETS = [
    "oci:layout",
    "oci:layout:tag",
    "oci-archive:layout.tar",
    "docker-archive:saved.tar",
    "docker-archive:saved.tar:a/b:c",
]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))


def appc(*words: str) -> None:
    assert main(list(words)) == 0


def image_id(path: str) -> str:
    data = Path(path).read_bytes()
    return "sha512-" + hashlib.sha512(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).hexdigest()


def documents(directory: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and configuration of the only image of a layout."""
    (entry,) = json.loads(Path(directory, "index.json").read_bytes())["manifests"]
    manifest = json.loads(_blob(directory, entry["digest"]))
    return manifest, json.loads(_blob(directory, manifest["config"]["digest"]))


def _blob(directory: str, digest: str) -> bytes:
    return Path(directory, "blobs", *digest.split(":")).read_bytes()


def rewrite_config(directory: str, change: dict[str, Any]) -> None:
    """Edit an image as umoci or buildah would: other settings, the same layers."""
    manifest, config = documents(directory)
    config["config"].update(change)
    layout = Layout()
    manifest["config"] = layout.blob(config, manifest["config"]["mediaType"])
    layout.tag(layout.blob(manifest, manifest["mediaType"]), "edited")
    for name, data in layout.finished().items():
        Path(directory, name).write_bytes(data)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("manifest_first", [False, True])
def test_an_aci_comes_back_as_it_was(target: str, manifest_first: bool) -> None:
    """Written by others (here tarfile), so that its headers are not those we would write."""
    before = aci(Path("a.aci"), FILES, "example.com/a", "1.0", app=APP, manifest_first=manifest_first)
    appc("image", "convert", "a.aci", target)
    appc("image", "convert", target.partition(":tag")[0], "b.aci")
    assert image_id("b.aci") == before


def copied(directory: str) -> None:
    """Leave in a layout what tools copy: manifest, configuration and layers."""
    manifest, _ = documents(directory)
    (entry,) = json.loads(Path(directory, "index.json").read_bytes())["manifests"]
    kept = {entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    for blob in Path(directory, "blobs/sha256").iterdir():
        if f"sha256:{blob.name}" not in kept:
            blob.unlink()


def test_an_aci_of_others_survives_copying(capsys: pytest.CaptureFixture[str]) -> None:
    before = aci(Path("a.aci"), FILES, "example.com/a", app=APP)
    appc("image", "convert", "a.aci", "oci:layout")
    assert "another tool" not in capsys.readouterr().err
    copied("layout")
    appc("image", "convert", "oci:layout", "b.aci")
    assert image_id("b.aci") == before


def test_where_its_headers_are_too_many_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_oci, "MOST_HEADERS", 100)
    before = aci(Path("a.aci"), FILES, "example.com/a", app=APP)
    appc("image", "convert", "a.aci", "oci:layout")
    assert "where other tools copy the image, it comes back with another ID" in capsys.readouterr().err
    appc("image", "convert", "oci:layout", "b.aci")
    assert image_id("b.aci") == before
    copied("layout")
    appc("image", "convert", "oci:layout", "c.aci")
    assert image_id("c.aci") != before
    assert "is not the ACI any more that it was made of" in capsys.readouterr().err


@pytest.mark.parametrize("target", TARGETS)
def test_an_aci_of_ours_comes_back_without_any_record_of_headers(target: str, tmp_path: Path) -> None:
    simple(Path("src"), layer(("d/a", "1"), ("d/b", ("hard", "d/a"))), layer(("c", "2")))
    appc("image", "convert", "oci:src", "a.aci")
    appc("image", "convert", "a.aci", target)
    appc("image", "convert", target.partition(":tag")[0], "b.aci")
    assert image_id("b.aci") == image_id("a.aci")
    if target == "oci:layout":
        assert len(os.listdir("layout/blobs/sha256")) == 3


def test_from_docker_archive_by_aci_and_layout_to_the_same_aci() -> None:
    from oci_kit import docker_save

    saved = docker_save([layer(("d/a", "1")), layer(("d/.wh.a", ""), ("d/b", "2"))], {"Cmd": ["/x"]})
    Path("src.tar").write_bytes(layer(*saved.items()))
    appc("image", "convert", "docker-archive:src.tar", "a.aci")
    appc("image", "convert", "a.aci", "oci:layout:1")
    appc("image", "convert", "oci:layout:1", "b.aci")
    appc("image", "convert", "oci:layout:1", "docker-archive:again.tar")
    appc("image", "convert", "docker-archive:again.tar", "c.aci")
    assert image_id("a.aci") == image_id("b.aci") == image_id("c.aci")


def test_what_others_see(capsys: pytest.CaptureFixture[str]) -> None:
    aci(Path("a.aci"), FILES, "example.com/a", "1.0", app=APP, labels=[("os", "linux"), ("arch", "armv7l")])
    appc("image", "convert", "a.aci", "oci:layout")
    manifest, config = documents("layout")
    process = config["config"]
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v7")
    assert process["Entrypoint"] == APP["exec"]
    assert process["User"] == "5:6"
    assert process["Env"] == ["A=1"]
    assert process["WorkingDir"] == "/srv"
    assert process["Volumes"] == {"/data": {}}
    assert list(process["ExposedPorts"]) == ["80/tcp", "90/udp", "91/udp"]
    assert process["Labels"]["Tier"] == "one"
    assert manifest["annotations"]["org.opencontainers.image.version"] == "1.0"
    assert manifest["annotations"]["io.appc.name"] == "example.com/a"
    said = capsys.readouterr().err
    assert "isolators" in said
    assert "event handlers" in said
    (entry,) = json.loads(Path("layout/index.json").read_bytes())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "1.0"}
    assert entry["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(_blob("layout", manifest["layers"][0]["digest"])))) as archive:
        names = archive.getnames()
        assert names[0] == "."
        assert "bin/server" in names
        assert archive.getmember("bin/other").linkname == "bin/server"
    assert config["rootfs"]["diff_ids"] == [
        "sha256:" + hashlib.sha256(gzip.decompress(_blob("layout", manifest["layers"][0]["digest"]))).hexdigest()
    ]


def test_entrypoint_and_cmd_come_back_apart() -> None:
    simple(Path("src"), layer(("a", "1")), config={"Entrypoint": ["/e"], "Cmd": ["c"], "StopSignal": "SIGINT"})
    appc("image", "convert", "oci:src", "a.aci")
    appc("image", "convert", "a.aci", "oci:layout")
    process = documents("layout")[1]["config"]
    assert (process["Entrypoint"], process["Cmd"], process["StopSignal"]) == (["/e"], ["c"], "SIGINT")


def test_settings_changed_meanwhile_are_taken_and_the_rest_survives() -> None:
    before = aci(Path("a.aci"), FILES, "example.com/a", "1.0", app=APP)
    appc("image", "convert", "a.aci", "oci:layout")
    rewrite_config("layout", {"Env": ["A=2"], "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}})
    appc("image", "convert", "oci:layout", "b.aci")
    assert image_id("b.aci") != before
    found = read_aci(Path("b.aci"))[0]
    assert found["name"] == "example.com/a"
    assert found["app"]["environment"] == [{"name": "A", "value": "2"}]
    assert found["app"]["isolators"] == APP["isolators"]
    assert found["app"]["eventHandlers"] == APP["eventHandlers"]
    assert [port["name"] for port in found["app"]["ports"]] == ["http", "81-tcp"]
    assert found["app"]["mountPoints"] == APP["mountPoints"]
    assert found["app"]["userLabels"] == {"Tier": "one"}


def test_a_false_record_is_noticed_and_the_files_count(capsys: pytest.CaptureFixture[str]) -> None:
    """The record says that the layer is another image than it is."""
    aci(Path("a.aci"), FILES, "example.com/a", "1.0", app=APP)
    appc("image", "convert", "a.aci", "oci:layout")
    record = documents("layout")[1]["config"]["Labels"]["io.appc.image"]
    forged = json.loads(record)
    forged["images"][0]["id"] = "sha512-" + 128 * "a"
    labels = {**documents("layout")[1]["config"]["Labels"], "io.appc.image": json.dumps(forged)}
    rewrite_config("layout", {"Labels": labels})
    appc("image", "convert", "oci:layout", "b.aci")
    assert "not the ACI any more" in capsys.readouterr().err
    assert image_id("b.aci") != "sha512-" + 128 * "a"
    assert read_aci(Path("b.aci"))[2]["rootfs/big"] == FILES["big"]
    assert os.listdir(".").count("b.aci") == 1


@pytest.mark.parametrize(
    "label", ["", "{}", "[]", "null", '{"version":1,"images":[{}]}', '{"version":2}', "\0", "9" * 5000]
)
def test_a_record_that_is_none_is_passed_over(label: str) -> None:
    simple(Path("src"), layer(("a", "1")), config={"Labels": {"io.appc.image": label, "k": "v"}})
    appc("image", "convert", "oci:src", "a.aci")
    assert read_aci(Path("a.aci"))[0]["app"]["userLabels"] == {"k": "v"}


def test_dependencies_become_layers_and_dependencies_again(capsys: pytest.CaptureFixture[str]) -> None:
    ids = [aci(Path("base.aci"), {"a": "base", "b": "base"}, "example.com/base", "1")]
    ids.append(
        aci(
            Path("top.aci"),
            {"b": "top"},
            "example.com/top",
            "1",
            app=APP,
            dependencies=[{"imageName": "example.com/base"}],
        )
    )
    appc("fetch", "--insecure", "image", "base.aci", "top.aci")
    appc("image", "convert", "example.com/top", "oci:layout")
    assert len(documents("layout")[0]["layers"]) == 2
    capsys.readouterr()
    appc("image", "convert", "oci:layout", "x.aci")
    assert capsys.readouterr().out.split() == ids
    assert (image_id("x-1.aci"), image_id("x.aci")) == (ids[0], ids[1])
    appc("image", "convert", "--name", "example.com/flat", "oci:layout", "flat.aci")
    contents = read_aci(Path("flat.aci"))[2]
    assert (contents["rootfs/a"], contents["rootfs/b"]) == (b"base", b"top")


def test_of_an_image_that_is_not_what_its_record_says_no_part_is_imported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = aci(Path("base.aci"), {"a": "base"}, "example.com/base")
    needs = [{"imageName": "example.com/base"}]
    top = aci(Path("top.aci"), {"b": "top"}, "example.com/top", app=APP, dependencies=needs)
    appc("fetch", "--insecure", "image", "base.aci", "top.aci")
    appc("image", "convert", "example.com/top", "oci:layout:1")
    labels = documents("layout")[1]["config"]["Labels"]
    labels["io.appc.image"] = labels["io.appc.image"].replace(top, f"sha512-{'0' * 128}")
    rewrite_config("layout", {"Labels": labels})
    capsys.readouterr()
    assert main(["--root", "other", "fetch", "--insecure", "image", "oci:layout:edited"]) == 0
    found = capsys.readouterr()
    assert "is not the ACI any more that it was made of" in found.err
    assert os.listdir("other/store/images") == found.out.split()
    assert base not in found.out
    assert os.listdir("other/store/staging") == []


def test_whitelists_become_a_layer_of_their_own() -> None:
    base = aci(Path("base.aci"), {"a": "base", "d/x": "1", "d/y": "2"}, "example.com/base", "1")
    other = aci(Path("other.aci"), {"a": "other", "o": "3"}, "example.com/other", "1", pathWhitelist=["/o"])
    names = [{"imageName": "example.com/base"}, {"imageName": "example.com/other"}]
    top = aci(
        Path("top.aci"),
        {"t": "top"},
        "example.com/top",
        "1",
        dependencies=names,
        pathWhitelist=["/t", "/a", "/d/x", "/o"],
    )
    appc("fetch", "--insecure", "image", "base.aci", "other.aci", "top.aci")
    appc("image", "convert", "example.com/top", "oci:layout")
    assert len(documents("layout")[0]["layers"]) == 4
    appc("image", "convert", "--name", "example.com/flat", "oci:layout", "flat.aci")
    contents = read_aci(Path("flat.aci"))[2]
    assert contents == {"rootfs/a": b"base", "rootfs/d/x": b"1", "rootfs/o": b"3", "rootfs/t": b"top"}
    appc("image", "convert", "oci:layout", "x.aci")
    assert [image_id(name) for name in ("x-2.aci", "x-1.aci", "x.aci")] == [base, other, top]


def test_a_file_with_dependencies_needs_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    aci(Path("top.aci"), {}, dependencies=[{"imageName": "example.com/base"}])
    assert main(["image", "convert", "top.aci", "oci:layout"]) == 2
    assert "appc fetch top.aci" in capsys.readouterr().err
    assert not Path("layout").exists()


def test_names_that_mean_whiteouts_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    aci(Path("a.aci"), {"d/.wh.x": "1"})
    assert main(["image", "convert", "a.aci", "oci:layout"]) == 1
    assert "deleted" in capsys.readouterr().err
    assert sorted(os.listdir(".")) == ["a.aci"]


def test_a_layout_takes_several_images(capsys: pytest.CaptureFixture[str]) -> None:
    aci(Path("a.aci"), {"a": "1"}, "example.com/a", "1")
    aci(Path("b.aci"), {"b": "2"}, "example.com/b", "2")
    appc("image", "convert", "a.aci", "oci:layout")
    appc("image", "convert", "b.aci", "oci:layout")
    before = Path("layout/index.json").read_bytes()
    assert main(["image", "convert", "a.aci", "oci:layout:2"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert Path("layout/index.json").read_bytes() == before
    appc("image", "convert", "--overwrite", "a.aci", "oci:layout:2")
    tags = [
        entry["annotations"]["org.opencontainers.image.ref.name"]
        for entry in json.loads(Path("layout/index.json").read_bytes())["manifests"]
    ]
    assert tags == ["1", "2"]


@pytest.mark.parametrize(
    ("words", "suffix"), [([], "+gzip"), (["--compress", "none"], ""), (["--compress", "zstd"], "+zstd")]
)
def test_layers_are_compressed_as_asked(words: list[str], suffix: str) -> None:
    before = aci(Path("a.aci"), FILES)
    appc("image", "convert", *words, "a.aci", "oci:layout")
    assert documents("layout")[0]["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar" + suffix
    appc("image", "convert", "oci:layout", "b.aci")
    assert image_id("b.aci") == before


def test_from_layout_to_layout_nothing_is_changed() -> None:
    simple(Path("src"), layer(("a", "1")), layer((".wh.a", "")), config={"Cmd": ["/x"]})
    appc("image", "convert", "oci:src", "oci:copy:1.0")
    assert documents("copy") == documents("src")
    appc("image", "convert", "oci:src", "docker-archive:copy.tar")
    appc("image", "convert", "docker-archive:copy.tar", "oci:back:1.0")
    assert documents("back")[1] == documents("src")[1]


def test_the_same_image_gives_the_same_bytes() -> None:
    aci(Path("a.aci"), FILES, app=APP)
    for number in "12":
        appc("image", "convert", "a.aci", f"oci-archive:{number}.tar")
        appc("image", "convert", "a.aci", f"docker-archive:d{number}.tar")
    assert Path("1.tar").read_bytes() == Path("2.tar").read_bytes()
    assert Path("d1.tar").read_bytes() == Path("d2.tar").read_bytes()


def test_layouts_and_archives_are_fetched_like_images(capsys: pytest.CaptureFixture[str]) -> None:
    before = aci(Path("a.aci"), FILES, "example.com/a", "1", app=APP)
    appc("image", "convert", "a.aci", "oci:layout")
    assert main(["fetch", "oci:layout"]) == 1
    assert "not signed" in capsys.readouterr().err
    appc("fetch", "--insecure", "image", "oci:layout")
    assert capsys.readouterr().out.strip() == before
    simple(Path("src"), layer(("a", "1")))
    appc("fetch", "--insecure", "image", "oci:src")
    first = capsys.readouterr().out
    appc("fetch", "--insecure", "image", "--pull", "never", "oci:src")
    assert capsys.readouterr().out == first
    appc("image", "check", first.strip())


def test_wrong_words(capsys: pytest.CaptureFixture[str]) -> None:
    aci(Path("a.aci"), {})
    for words in (
        ["a.aci", "somewhere"],
        ["--layers", "a.aci", "b.aci"],
        ["--name", "example.com/x", "a.aci", "b.aci"],
        ["--compress", "xz", "a.aci", "oci:layout"],
        ["--compress", "gzip", "a.aci", "docker-archive:x.tar"],
        ["--platform", "plan9/mips", "a.aci", "b.aci"],
        ["a.aci", "oci:"],
    ):
        assert main(["image", "convert", *words]) == 2, words
        assert "Traceback" not in capsys.readouterr().err
    assert os.listdir(".") == ["a.aci"]
