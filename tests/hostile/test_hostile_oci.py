"""Hostile layouts, docker archives and bundles: refused in one clear line, nothing written outside, nothing left."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appc.cli.main import main
from oci_kit import CONFIG, INDEX, LAYER, MANIFEST, Layout, digest, docker_save, layer, old_docker_save, write_files

PLAIN = layer(("a", "1"))
Make = Callable[[Path], str]


class Case:
    """What is written below a directory, what it is called there, and what the refusal says."""

    def __init__(self, name: str, refusal: str, make: Make) -> None:
        self.name = name
        self.refusal = refusal
        self.make = make


def layers(name: str, refusal: str, *entries: list[tuple[str, Any]]) -> Case:
    """An image with these layers, sound in all else."""

    def make(path: Path) -> str:
        layout = Layout()
        layout.tag(layout.image([layer(*one) for one in entries]))
        layout.write(path / "src")
        return f"oci:{path}/src"

    return Case(name, refusal, make)


def layout(name: str, refusal: str, change: Callable[[Layout], None]) -> Case:
    """A layout that `change` makes."""

    def make(path: Path) -> str:
        made = Layout()
        change(made)
        files = made.finished()
        write_files(path / "src", {name: data for name, data in files.items() if data != b"(missing)"})
        return f"oci:{path}/src"

    return Case(name, refusal, make)


def image(name: str, refusal: str, change: Callable[[Layout, dict[str, Any], dict[str, Any]], None]) -> Case:
    """An image whose manifest and configuration `change` may change; then the digests are right again."""

    def build(made: Layout) -> None:
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(PLAIN)]}}
        manifest: dict[str, Any] = {"schemaVersion": 2, "layers": [made.blob(gzip.compress(PLAIN), LAYER + "+gzip")]}
        change(made, manifest, config)
        manifest.setdefault("config", made.blob(config, CONFIG))
        made.tag(made.blob(manifest, MANIFEST))

    return layout(name, refusal, build)


def docker(name: str, refusal: str, files: dict[str, bytes] | bytes) -> Case:
    """A docker archive of these files, or of these bytes."""

    def make(path: Path) -> str:
        (path / "src").write_bytes(files if isinstance(files, bytes) else layer(*files.items()))
        return f"docker-archive:{path}/src"

    return Case(name, refusal, make)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from in_layers()
    yield from in_documents()
    yield from in_archives()


def in_layers() -> Iterator[Case]:
    """Layers that lead elsewhere, or contradict themselves."""
    yield layers("parent", 'name contains ".."', [("../evil", "x")])
    yield layers("parent-inside", 'name contains ".."', [("a/../../evil", "x")])
    yield layers("whiteout-of-the-parent", "whiteout of nothing", [("a", "1")], [(".wh...", "")])
    yield layers("whiteout-of-itself", "whiteout of nothing", [("a", "1")], [(".wh..", "")])
    yield layers("whiteout-without-name", "whiteout of nothing", [("a", "1")], [("a/.wh.", "")])
    yield layers("whiteout-outside", 'name contains ".."', [("a", "1")], [("../.wh.etc", "")])
    yield layers("whiteout-as-a-directory", "is a whiteout, but a dir", [("a", "1")], [(".wh.a", ("dir", 0o755))])
    yield layers("whiteout-as-a-link", "is a whiteout, but a symlink", [("a", "1")], [(".wh.a", ("link", "/etc"))])
    yield layers("below-a-whiteout", "below the name of a whiteout", [("a", "1")], [(".wh.a/b", "x")])
    yield layers("opaque-as-a-directory", "is a whiteout, but a dir", [("a", "1")], [(".wh..wh..opq", ("dir", 0o755))])
    yield layers("below-an-opaque", "below the name of a whiteout", [("a", "1")], [(".wh..wh..opq/x", "1")])
    yield layers("hard-link-outside", 'that name contains ".."', [("a", ("hard", "../../etc/passwd"))])
    yield layers("hard-link-to-nothing", "which is not there", [("a", ("hard", "/etc/passwd"))])
    yield layers("hard-link-to-the-hidden", "which is not there", [("a", "1")], [(".wh.a", ""), ("b", ("hard", "a"))])
    yield layers("hard-link-to-a-directory", "which is a directory", [("d", ("dir", 0o755)), ("a", ("hard", "d"))])
    yield layers("hard-link-to-itself", "which is not there", [("a", ("hard", "a"))])
    yield layers("link-loop", "leads through too many", [("a", ("link", "b")), ("b", ("link", "a")), ("a/x", "1")])
    yield layers("below-a-file", "which the layer has as a file", [("a", "1"), ("a/b", "2")])
    yield layers("file-over-own-directory", "made it a directory", [("a/b", "2"), ("a", "1")])
    yield layers("root-as-a-file", "root directory belongs", [(".", ("fifo",))])
    yield layers("deep", "directories deep", [("a/" * 400 + "b", "1")])
    yield layers("terminal", 'name contains ".."', [("../\x1b]0;evil\x07", "1")])


def _garbage(made: Layout, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    manifest["layers"] = [made.blob(b"garbage" * 200, LAYER)]
    config["rootfs"]["diff_ids"] = [digest(b"garbage" * 200)]


def _truncated(made: Layout, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    short = layer(("a", "x" * 5000))[:2048]
    manifest["layers"] = [made.blob(short, LAYER)]
    config["rootfs"]["diff_ids"] = [digest(short)]


def _cut_gzip(made: Layout, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    manifest["layers"] = [made.blob(gzip.compress(PLAIN)[:-20], LAYER + "+gzip")]


def _bomb(made: Layout, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    """1.2 GB of zeros behind the end of a layer, in little."""
    out = io.BytesIO()
    with gzip.open(out, "wb", 9) as packed:
        packed.write(PLAIN)
        for _ in range(1200):
            packed.write(bytes(1 << 20))
    manifest["layers"] = [made.blob(out.getvalue(), LAYER + "+gzip")]


def _longer(made: Layout) -> None:
    """A layer's blob holds something else."""
    made.tag(made.image([PLAIN], compress="none"))
    made.files["blobs/" + digest(PLAIN).replace(":", "/")] += b"x"


def _same_size(made: Layout) -> None:
    made.tag(made.image([PLAIN], compress="none"))
    made.files["blobs/" + digest(PLAIN).replace(":", "/")] = bytes(len(PLAIN))


def _missing_layer(made: Layout) -> None:
    made.tag(made.image([PLAIN], compress="none"))
    made.files["blobs/" + digest(PLAIN).replace(":", "/")] = b"(missing)"


def _size(made: Layout, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    manifest["layers"][0]["size"] += 1


def _changed_manifest(made: Layout) -> None:
    one = made.image([PLAIN])
    path = "blobs/" + one["digest"].replace(":", "/")
    made.files[path] = made.files[path].replace(b'"schemaVersion": 2', b'"schemaVersion":02')
    made.tag(one)


def _loop(made: Layout) -> None:
    """An index that is its own part can only have a wrong digest."""
    name = "sha256:" + 64 * "a"
    body = {"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": name, "size": 999}]}
    data = json.dumps(body).encode().ljust(999)
    made.files["blobs/" + name.replace(":", "/")] = data
    made.tag({"mediaType": INDEX, "digest": name, "size": 999})


def _nested(made: Layout) -> None:
    one = made.image([PLAIN])
    for _ in range(20):
        one = made.index(one)
    made.tag(one)


def _wide(made: Layout) -> None:
    indexes = [
        made.blob({"schemaVersion": 2, "manifests": [], "annotations": {"n": str(n)}}, INDEX) for n in range(200)
    ]
    made.tag(made.index(*indexes))


def _set(**fields: Any) -> Callable[[Layout, dict[str, Any], dict[str, Any]], None]:
    return lambda made, manifest, config: manifest.update(fields)


def _configure(**fields: Any) -> Callable[[Layout, dict[str, Any], dict[str, Any]], None]:
    return lambda made, manifest, config: config.update(fields)


def _tagged(descriptor: dict[str, Any]) -> Callable[[Layout], None]:
    return lambda made: made.tag(descriptor)


def _file(name: str, data: bytes) -> Callable[[Layout], None]:
    def change(made: Layout) -> None:
        made.tag(made.image([PLAIN]))
        made.files[name] = data

    return change


def in_documents() -> Iterator[Case]:
    """Manifests, indexes and configurations that lie."""
    yield layout("layer-of-another-size", "bytes instead of", _longer)
    yield layout("layer-of-another-content", "has the digest", _same_size)
    yield layout("layer-missing", "is missing", _missing_layer)
    yield image("layer-size-wrong", "bytes instead of", _size)
    yield image("layer-is-garbage", "tar archive", _garbage)
    yield image("layer-truncated", "truncated", _truncated)
    yield image("gzip-truncated", "truncated", _cut_gzip)
    yield image("gzip-bomb", "expands to more than", _bomb)
    yield image(
        "diff-id-wrong",
        "but the configuration names",
        _configure(rootfs={"type": "layers", "diff_ids": ["sha256:" + 64 * "0"]}),
    )
    yield image("diff-ids-too-few", "names 0", _configure(rootfs={"type": "layers", "diff_ids": []}))
    yield image(
        "rootfs-of-another-type",
        'must be "layers"',
        _configure(rootfs={"type": "windows", "diff_ids": [digest(PLAIN)]}),
    )
    yield image("two-documents-in-one", "could be read in two ways", _set(manifests=[]))
    yield image("manifest-called-index", "which this document is not", _set(mediaType=INDEX))
    yield image("schema-version-1", "schemaVersion", _set(schemaVersion=1))
    yield image("fs-layers", "could be read in two ways", _set(fsLayers=[]))
    yield image("layers-not-a-list", "layers: must be a list", _set(layers={}))
    yield image(
        "layer-of-another-type",
        "which is no layer",
        _set(layers=[{"mediaType": "text/html", "digest": digest(b""), "size": 0}]),
    )
    yield image(
        "encrypted-layer",
        "which is no layer",
        _set(layers=[{"mediaType": LAYER + "+gzip+encrypted", "digest": digest(b""), "size": 0}]),
    )
    yield image(
        "artifact",
        "is no container image",
        _set(config={"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2}),
    )
    yield image(
        "config-missing", "is missing", _set(config={"mediaType": CONFIG, "digest": digest(b"nowhere"), "size": 7})
    )
    yield image(
        "config-huge",
        "more than the 4194304 allowed",
        _set(config={"mediaType": CONFIG, "digest": digest(b"nowhere"), "size": 1 << 40}),
    )
    yield image(
        "too-many-layers",
        "more than 1000 layers",
        _set(layers=[{"mediaType": LAYER, "digest": digest(PLAIN), "size": 1}] * 1001),
    )
    yield image("port-that-is-none", "exposes the port", _configure(config={"ExposedPorts": {"80000000/tcp": {}}}))
    yield image("port-range-backwards", "exposes the port", _configure(config={"ExposedPorts": {"90-80/tcp": {}}}))
    yield image("environment-not-a-list", "config.Env: must be a list", _configure(config={"Env": {"A": "1"}}))
    yield layout(
        "digest-that-leads-outside",
        "is not a digest",
        _tagged({"mediaType": MANIFEST, "digest": "sha256:../../../etc/passwd", "size": 1}),
    )
    yield layout(
        "digest-with-a-slash",
        "is not a digest",
        _tagged({"mediaType": MANIFEST, "digest": "sha256:" + "a/" * 32, "size": 1}),
    )
    yield layout(
        "digest-of-another-algorithm",
        "is not a digest",
        _tagged({"mediaType": MANIFEST, "digest": "md5:" + 32 * "a", "size": 1}),
    )
    yield layout("negative-size", "must be from 0", _tagged({"mediaType": MANIFEST, "digest": digest(b""), "size": -1}))
    yield layout(
        "size-as-text", "must be a whole number", _tagged({"mediaType": MANIFEST, "digest": digest(b""), "size": "1"})
    )
    yield layout("manifest-changed", "has the digest", _changed_manifest)
    yield layout("index-loop", "has the digest", _loop)
    yield layout("indexes-nested", "nested more than", _nested)
    yield layout("indexes-by-the-hundred", "more than 100 indexes", _wide)
    yield layout("no-image", "holds no image", lambda made: None)
    yield layout(
        "other-things-only",
        "leads to no image manifest",
        _tagged({"mediaType": "text/plain", "digest": digest(b""), "size": 0}),
    )
    yield layout("index-huge", "more than the 4194304 allowed", _file("index.json", b" " * (5 << 20)))
    yield layout("index-deep", "index.json", _file("index.json", b"[" * 100_000))
    yield layout("index-not-json", "line 1", _file("index.json", b"{"))
    yield layout(
        "layout-of-another-version", "imageLayoutVersion", _file("oci-layout", b'{"imageLayoutVersion":"2.0.0"}')
    )
    yield layout("no-layout", "there is no oci-layout", _file("oci-layout", b"(missing)"))


def _link(made: Path) -> str:
    layout = Layout()
    layout.tag(layout.image([PLAIN]))
    layout.write(made / "src")
    (made / "src" / "index.json").unlink()
    (made / "src" / "index.json").symlink_to("/etc/passwd")
    return f"oci:{made}/src"


def _fifo(made: Path) -> str:
    layout = Layout()
    layout.tag(layout.image([PLAIN]))
    layout.write(made / "src")
    (made / "src" / "index.json").unlink()
    os.mkfifo(made / "src" / "index.json")
    return f"oci:{made}/src"


def _blobs_elsewhere(made: Path) -> str:
    layout = Layout()
    layout.tag(layout.image([PLAIN]))
    layout.write(made / "src")
    (made / "src" / "blobs").rename(made / "blobs")
    (made / "src" / "blobs").symlink_to("../blobs")
    return f"oci:{made}/src"


def _bundle(root: str, **fields: Any) -> Make:
    def make(path: Path) -> str:
        config = {
            "ociVersion": "1.0.2",
            "root": {"path": root},
            "process": {"args": ["/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        }
        write_files(path / "src", {"config.json": json.dumps({**config, **fields}).encode(), "rootfs/a": b"1"})
        (path / "src" / "link").symlink_to("/etc")
        return f"bundle:{path}/src"

    return make


def _config(data: bytes | str, target: str = "") -> Make:
    """A bundle with this config.json, or with a link to `target` in its place."""

    def make(path: Path) -> str:
        write_files(path / "src", {"rootfs/a": b"1"})
        if target:
            (path / "src/config.json").symlink_to(target)
        else:
            (path / "src/config.json").write_bytes(data if isinstance(data, bytes) else data.encode())
        return f"bundle:{path}/src"

    return make


def _bundle_fifo(path: Path) -> str:
    write_files(path / "src", {"rootfs/a": b"1"})
    os.mkfifo(path / "src/config.json")
    return f"bundle:{path}/src"


def _bundle_process(**fields: Any) -> Make:
    return _bundle("rootfs", process={"args": ["/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, **fields})


def _with(**changes: Any) -> dict[str, bytes]:
    files = docker_save([PLAIN])
    (saved,) = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps([{**saved, **changes}]).encode()
    return files


def _twice() -> bytes:
    files = list(docker_save([PLAIN]).items())
    return layer(*files, ("manifest.json", b"[]"))


def _parents_in_a_circle() -> dict[str, bytes]:
    files = old_docker_save([PLAIN, PLAIN])
    first = json.loads(files[f"{1:064x}/json"])
    files[f"{1:064x}/json"] = json.dumps({**first, "parent": f"{2:064x}"}).encode()
    return files


def _old(**changes: Any) -> dict[str, bytes]:
    files = old_docker_save([PLAIN])
    top = json.loads(files[f"{1:064x}/json"])
    return {**files, f"{1:064x}/json": json.dumps({**top, **changes}).encode()}


def _linked(target: str) -> bytes:
    files = docker_save([PLAIN])
    entries = [(name, ("link", target) if name.endswith("layer.tar") else data) for name, data in files.items()]
    return layer(*entries)


def _wrong_config() -> dict[str, bytes]:
    files = docker_save([PLAIN])
    name = next(name for name in files if len(name) == 69)
    return {**files, name: files[name].replace(b"amd64", b"arm64")}


def in_archives() -> Iterator[Case]:
    """Archives and directories that lead elsewhere, and bundles."""
    yield Case("link-out-of-the-layout", "is a link that leaves", _link)
    yield Case("fifo-in-the-layout", "is not a regular file", _fifo)
    yield Case("blobs-outside", "cannot be read", _blobs_elsewhere)
    yield docker("manifest-twice", "is in the archive twice", _twice())
    yield docker("archive-truncated", "truncated", layer(*docker_save([PLAIN]).items())[:3000])
    yield docker("archive-of-nothing", "is no docker archive", layer(("a", "1")))
    yield docker("not-an-archive", "tar archive", b"#!/bin/sh\n" * 100)
    yield docker("layer-outside", "is absolute", _with(Layers=["/etc/passwd"]))
    yield docker("layer-above", 'contains ".."', _with(Layers=["../../etc/passwd"]))
    yield docker("config-outside", 'contains ".."', _with(Config="../x.json"))
    yield docker("layer-not-there", "is missing", _with(Layers=["nowhere/layer.tar"]))
    yield docker("layers-too-many", "but its configuration names 1", _with(Layers=["a", "b"]))
    yield docker("config-changed", "has the digest", _wrong_config())
    yield docker("layer-link-outside", "is a link that leaves", _linked("/etc/passwd"))
    yield docker("layer-link-above", "is a link that leaves", _linked("../../../etc/passwd"))
    yield docker("layer-link-loop", "link to itself", _linked("layer.tar"))
    yield docker("manifest-of-another-kind", "should be a list of images", {"manifest.json": b'{"a":1}'})
    yield docker("no-images", "holds no images", {"manifest.json": b"[]"})
    yield docker("parents-in-a-circle", "is its own ancestor", _parents_in_a_circle())
    yield docker("parent-outside", "is no ID of a layer", _old(parent="../../../etc"))
    yield docker("layer-id-outside", "is no ID of a layer", {"repositories": b'{"a":{"b":"../../etc"}}'})
    yield docker("layer-id-of-another", "says that it is layer", _old(id=64 * "f"))
    yield docker("parent-missing", "is missing", _old(parent=64 * "e"))
    yield docker("repositories-of-another-kind", "should map names", {"repositories": b"[1]"})
    yield Case("bundle-root-is-the-host", "is not below the bundle", _bundle("/"))
    yield Case("bundle-root-above", "is not below the bundle", _bundle("../.."))
    yield Case("bundle-root-by-link", "cannot be opened", _bundle("link"))
    yield Case("bundle-without-root", "cannot be opened", _bundle("nowhere"))
    yield Case("bundle-of-another-form", "process", _bundle("rootfs", process=[1]))
    yield Case("bundle-root-is-a-file", "cannot be opened", _bundle("config.json"))
    yield Case("bundle-root-in-the-root-above", "is not below the bundle", _bundle("rootfs/../.."))
    yield Case("bundle-root-is-the-bundle", "is not below the bundle", _bundle("."))
    yield Case("bundle-root-with-nul", "NUL", _bundle("rootfs\0x"))
    yield Case("bundle-config-missing", "cannot be read", lambda path: f"bundle:{path}")
    yield Case("bundle-config-is-a-fifo", "is not a regular file", _bundle_fifo)
    yield Case("bundle-config-is-a-device", "is not a regular file", _config("", "/dev/zero"))
    yield Case("bundle-config-huge", "is longer than", _config(b" " * (5 << 20)))
    yield Case("bundle-config-deep", "nested", _config("[" * 100_000))
    yield Case("bundle-config-not-utf-8", "config.json", _config(b'{"a": "\xff"}'))
    yield Case("bundle-config-a-list", "config.json", _config("[]"))
    yield Case("bundle-argument-with-nul", "process.args[1]", _bundle_process(args=["/x", "a\0b"]))
    yield Case("bundle-user-too-large", "process.user.uid", _bundle_process(user={"uid": 1 << 40, "gid": 0}))
    yield Case("bundle-directory-relative", "process.cwd", _bundle_process(cwd="../../etc"))
    yield Case(
        "bundle-memory-as-text", "memory.limit", _bundle("rootfs", linux={"resources": {"memory": {"limit": "1"}}})
    )
    yield Case("bundle-hook-relative", "hooks.prestart[0].path", _bundle("rootfs", hooks={"prestart": [{"path": "x"}]}))


CASES = list(cases())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    return tmp_path


def _all(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*"))


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_in_one_line_and_nothing_is_left(case: Case, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = case.make(place / "in")
    before = _all(place)
    assert main(["image", "convert", source, "x.aci"]) == 1
    _one_line(capsys.readouterr().err, case)
    assert _all(place) == before
    kind, _, path = source.partition(":")
    if kind != "bundle":
        assert main(["image", "validate", "--type", kind, path]) == 1
        _one_line(capsys.readouterr().err, case)
    # Bundles are not fetched, and a bomb takes its time.
    if kind == "bundle" or case.name == "gzip-bomb":
        return
    assert main(["fetch", "--insecure", "image", source]) == 1
    _one_line(capsys.readouterr().err, case)
    store = place / "root" / "store"
    assert [path for path in _all(store) if "/images/" in path or "/staging/" in path] == []


def _one_line(said: str, case: Case) -> None:
    lines = said.splitlines()
    assert case.refusal in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2
    assert all(line.isprintable() and len(line) < 600 for line in lines)


@pytest.mark.parametrize("target", ["oci:x", "oci-archive:x", "docker-archive:x"])
@pytest.mark.parametrize("name", ["layer-of-another-content", "diff-id-wrong", "layer-missing", "gzip-truncated"])
def test_copies_are_checked_as_well(name: str, target: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in CASES if case.name == name)
    source = case.make(place / "in")
    before = _all(place)
    assert main(["image", "convert", source, target]) == 1
    _one_line(capsys.readouterr().err, case)
    assert _all(place) == before


def test_links_that_stay_inside_do_no_harm(place: Path) -> None:
    """Links into the host from a lower layer are followed within the image's own root, never outside."""
    layout = Layout()
    outside = place / "outside"
    outside.mkdir()
    lower = layer(("esc", ("link", str(outside))), ("up", ("link", "../" * 20 + str(outside)[1:])))
    layout.tag(layout.image([lower, layer(("esc/a", "1"), ("up/b", "2"))]))
    layout.write(place / "in" / "src")
    assert main(["image", "convert", f"oci:{place}/in/src", "x.aci"]) == 0
    assert list(outside.iterdir()) == []
    with tarfile.open("x.aci") as archive:
        inside = f"rootfs{outside}"
        assert {f"{inside}/a", f"{inside}/b"} <= set(archive.getnames())
