"""`appc image build|validate|manifest|id|extract` as people type them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import image_kit
import oci_kit
from appc.build import newfile
from appc.cli import output_directory
from appc.cli.main import main
from appc.errors import SignatureError, UsageError
from appc.formats import compress
from capabilities import need
from hostile.tarbuild import directory, file, gz, image, tar

MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/app",
    "app": {"exec": ["/bin/app"], "user": "0", "group": "0"},
}
Said = Callable[[], str]


def _merging(levels: int) -> str:
    """A YAML text whose mappings take over ten times what the one before has."""
    first = "a: &a {" + ", ".join(f"{letter}: 1" for letter in "klmnopqrst") + "}\n"
    names = "abcdefghij"
    lines = [f"{names[n + 1]}: &{names[n + 1]} {{<<: [{', '.join(['*' + names[n]] * 10)}]}}\n" for n in range(levels)]
    return first + "".join(lines)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to work in, with a layout and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "layout" / "rootfs" / "bin").mkdir(parents=True)
    (tmp_path / "layout" / "rootfs" / "bin" / "app").write_bytes(b"app\n")
    (tmp_path / "layout" / "manifest").write_text(json.dumps(MANIFEST))
    yield tmp_path
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], "temporary files are left"


@pytest.fixture
def err(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().err


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().out


def tar_of(path: str) -> bytes:
    with gzip.open(path) as archive:
        return archive.read()


# -- build ----------------------------------------------------------------------------------------


def test_build_prints_the_image_id(place: Path, out: Said) -> None:
    assert main(["image", "build", "layout", "app.aci"]) == 0
    assert out() == f"sha512-{hashlib.sha512(tar_of('app.aci')).hexdigest()}\n"
    assert main(["image", "validate", "app.aci"]) == 0


def test_build_again_gives_identical_bytes(place: Path) -> None:
    assert main(["image", "build", "layout", "one.aci"]) == 0
    os.rename("layout", "elsewhere")
    assert main(["image", "build", "elsewhere", "two.aci"]) == 0
    assert Path("one.aci").read_bytes() == Path("two.aci").read_bytes()


def test_build_respects_the_umask(place: Path) -> None:
    umask = os.umask(0o027)
    try:
        assert main(["image", "build", "layout", "app.aci"]) == 0
    finally:
        os.umask(umask)
    assert Path("app.aci").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("named", [False, True])
def test_build_does_not_replace_unless_told(
    place: Path, err: Said, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named:
        # As on a file system without files that have no name.
        monkeypatch.setattr(newfile, "_TMPFILE", 0)
    Path("app.aci").write_text("precious")
    assert main(["image", "build", "layout", "app.aci"]) == 2
    assert err() == "appc: app.aci: exists already\nhint: --overwrite replaces it\n"
    assert Path("app.aci").read_text() == "precious"
    assert main(["image", "build", "layout", "app.aci", "--overwrite"]) == 0
    assert main(["image", "validate", "app.aci"]) == 0
    assert main(["image", "build", "layout", "new.aci"]) == 0
    assert Path("new.aci").read_bytes() == Path("app.aci").read_bytes()


@pytest.mark.parametrize("named", [False, True])
def test_a_failed_build_leaves_nothing(place: Path, err: Said, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if named:
        monkeypatch.setattr(newfile, "_TMPFILE", 0)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(newfile.os, "fsync", full)
    Path("old.aci").write_text("precious")
    for words in (["new.aci"], ["old.aci", "--overwrite"]):
        assert main(["image", "build", "layout", *words]) == 125
        assert err() == f"appc: {words[0]}: cannot be written: No space left on device\nhint: free some space\n"
    assert sorted(os.listdir()) == ["layout", "old.aci"]
    assert Path("old.aci").read_text() == "precious"


def test_somebody_else_may_be_faster(place: Path, err: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newfile.os, "fsync", lambda fd: Path("app.aci").write_text("theirs"))
    assert main(["image", "build", "layout", "app.aci"]) == 2
    assert Path("app.aci").read_text() == "theirs"


def test_build_says_all_that_is_wrong_with_a_layout(place: Path, err: Said) -> None:
    Path("layout/extra").write_text("")
    Path("layout/README").write_text("")
    Path("layout/manifest").write_text(json.dumps({**MANIFEST, "name": "Not A Name", "acVersion": "one"}))
    assert main(["image", "build", "layout", "app.aci"]) == 1
    lines = err().splitlines()
    assert len(lines) == 4
    assert lines[0] == 'appc: layout: README: is neither "manifest" nor "rootfs"'
    assert lines[1] == 'appc: layout: extra: is neither "manifest" nor "rootfs"'
    assert {line.split(": ")[3] for line in lines[2:]} == {"name", "acVersion"}
    assert os.listdir() == ["layout"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda: os.unlink("layout/manifest"), "layout: manifest: is missing"),
        (lambda: os.rename("layout/rootfs", "gone"), "layout: rootfs: is missing"),
        (lambda: (os.rename("layout/rootfs", "gone"), os.symlink("../gone", "layout/rootfs")), "is not a directory"),
        (lambda: (os.unlink("layout/manifest"), os.mkfifo("layout/manifest")), "manifest: is not a regular file"),
        (lambda: Path("layout/manifest").write_text(" " * 5_000_000), "longer than the 4194304 bytes"),
        (lambda: os.rename("layout", "gone"), "layout: cannot be read: No such file or directory"),
    ],
)
def test_layouts_that_are_none(place: Path, err: Said, damage: Callable[[], object], message: str) -> None:
    damage()
    assert main(["image", "build", "layout", "app.aci"]) == 1
    assert message in err()
    assert not Path("app.aci").exists()


def test_a_layouts_manifest_may_be_a_link(place: Path) -> None:
    os.rename("layout/manifest", "manifest.json")
    os.symlink("../manifest.json", "layout/manifest")
    assert main(["image", "build", "layout", "app.aci"]) == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", json.dumps(MANIFEST)),
        (
            "m.yaml",
            "acKind: ImageManifest\nacVersion: 0.8.11\nname: example.com/app\n"
            "app: {exec: [/bin/app], user: '0', group: '0'}\n"
            "annotations: [{name: created, value: 2020-01-01T00:00:00Z}]\n",
        ),
        (
            "m.toml",
            'acKind = "ImageManifest"\nacVersion = "0.8.11"\nname = "example.com/app"\n'
            'app = {exec = ["/bin/app"], user = "0", group = "0"}\n'
            '[[annotations]]\nname = "created"\nvalue = 2020-01-01T00:00:00Z\n',
        ),
    ],
)
def test_build_from_a_root_file_system_with_a_manifest(place: Path, out: Said, name: str, text: str) -> None:
    Path(name).write_text(text)
    assert main(["image", "build", "--manifest", name, "layout/rootfs", "app.aci"]) == 0
    out()
    assert main(["image", "manifest", "app.aci"]) == 0
    found = json.loads(out())
    created = found.pop("annotations", [{"value": "2020-01-01T00:00:00Z"}])[0]["value"]
    assert created in ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00+00:00")
    assert found == MANIFEST


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.yaml", "a: [1", "appc: m.yaml: line "),
        ("m.yaml", "a: " + "&a [" * 1 + "x" + "]\nb: !!python/object:os.system {}", "is not YAML"),
        ("m.yaml", _merging(6), "more than 100000 values"),
        ("m.yaml", "- a", "must be an object"),
        ("m.toml", "a = ", "is not TOML"),
        ("m.json", "{", "appc: m.json: "),
        (
            "m.yaml",
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)),
            "has more than 100000 values",
        ),
    ],
)
def test_manifests_that_are_none(place: Path, err: Said, name: str, text: str, message: str) -> None:
    Path(name).write_text(text)
    assert main(["image", "build", "--manifest", name, "layout/rootfs", "app.aci"]) == 1
    assert message in err()


def test_without_pyyaml_it_is_said_what_is_missing(place: Path, err: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    Path("m.yaml").write_text("{}")
    assert main(["image", "build", "--manifest", "m.yaml", "layout/rootfs", "app.aci"]) == 1
    assert "install the Python package PyYAML" in err()


def test_times(place: Path, monkeypatch: pytest.MonkeyPatch, err: Said) -> None:
    os.utime("layout/rootfs/bin/app", (1000, 1000))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5000")
    assert main(["image", "build", "layout", "bounded.aci"]) == 0
    assert main(["image", "build", "layout", "set.aci", "--mtime", "77"]) == 0
    import tarfile

    with tarfile.open("bounded.aci") as archive:
        assert {info.name: info.mtime for info in archive} == {
            "manifest": 5000,
            "rootfs": 5000,
            "rootfs/bin": 5000,
            "rootfs/bin/app": 1000,
        }
    with tarfile.open("set.aci") as archive:
        assert {info.mtime for info in archive} == {77}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert main(["image", "build", "layout", "no.aci"]) == 2
    assert "SOURCE_DATE_EPOCH=yesterday: a time is a whole number of seconds" in err()


@pytest.mark.parametrize(
    "words",
    [
        ["layout", "app.tar"],
        ["layout", "app.aci", "--compress", "lzo"],
        ["layout", "app.aci", "--level", "x"],
        ["layout", "app.aci", "--compress", "none", "--level", "1"],
        ["layout", "app.aci", "--mtime", "now"],
        ["layout", "layout/rootfs/app.aci"],
        ["layout"],
        [],
    ],
)
def test_wrong_words(place: Path, err: Said, words: list[str]) -> None:
    assert main(["image", "build", *words]) == 2
    assert err().startswith("appc: ")
    assert os.listdir() == ["layout"]


def test_signed_or_not_at_all(place: Path, err: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def sign(path: str, key: str) -> bytes:
        asked.append((path, key))
        if key == "nobody":
            raise SignatureError("gpg has no such key", key)
        return b"signature of " + Path(path).read_bytes()[:2]

    monkeypatch.setattr("appc.trust.sign.sign_file", sign)
    assert main(["image", "build", "--sign", "layout", "app.aci"]) == 0
    assert Path("app.aci.asc").read_bytes() == b"signature of \x1f\x8b"
    assert main(["image", "build", "--sign=nobody", "layout", "other.aci"]) == 1
    assert [key for _, key in asked] == ["", "nobody"]
    assert err() == "appc: nobody: gpg has no such key\n"
    assert sorted(os.listdir()) == ["app.aci", "app.aci.asc", "layout"]
    assert main(["image", "build", "--overwrite", "layout", "app.aci"]) == 0
    assert err().startswith("appc: warning: app.aci.asc: may be of the image that was replaced")


def test_encrypted_and_signed_or_not_at_all(place: Path, err: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    need("gpg")

    def sign(path: str, key: str) -> bytes:
        if key == "nobody":
            raise SignatureError("could not be signed", path)
        return Path(path).read_bytes()

    monkeypatch.setattr("appc.trust.sign.sign_file", sign)
    Path("pass").write_text("secret\n")
    words = ["image", "build", "layout", "app.aci", "--encrypt", "--passphrase-file", "pass"]
    assert main([*words, "--sign=nobody"]) == 1
    assert err() == "appc: app.aci: could not be signed\n"
    assert sorted(os.listdir()) == ["layout", "pass"]
    assert main([*words, "--sign"]) == 0
    # The signature is over what is distributed.
    assert Path("app.aci.asc").read_bytes() == Path("app.aci").read_bytes()
    assert compress.detect(Path("app.aci").read_bytes()[:512]) == "pgp"
    assert main(["image", "build", "layout", "plain.aci"]) == 0
    assert main(["image", "decrypt", "app.aci", "again.aci", "--passphrase-file", "pass"]) == 0
    assert Path("again.aci").read_bytes() == Path("plain.aci").read_bytes()
    before = Path("app.aci").read_bytes()
    assert main([*words, "--overwrite", "--sign=nobody"]) == 1
    assert Path("app.aci").read_bytes() == before
    err()
    assert main([*words[:-2], "--passphrase-file", "absent", "--overwrite"]) == 1
    assert err() == "appc: absent: cannot be read: No such file or directory\n"
    assert Path("app.aci").read_bytes() == before


def test_a_place_that_cannot_be_written(place: Path, err: Said) -> None:
    assert main(["image", "build", "layout", "none/app.aci"]) == 125
    assert err() == "appc: none/app.aci: cannot be written: No such file or directory\n"


# -- validate -------------------------------------------------------------------------------------


def test_valid_files_are_passed_over_in_silence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.aci").write_bytes(gz(image(file(b"rootfs/a"))))
    Path("pod.json").write_text('{"acKind": "PodManifest", "acVersion": "0.8.11", "apps": []}')
    assert main(["image", "validate", "good.aci", "layout", "layout/manifest", "pod.json"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["--log-level", "debug", "image", "validate", "good.aci", "layout", "pod.json"]) == 0
    said = capsys.readouterr().err
    assert [line.rpartition(": ")[2] for line in said.splitlines()] == [
        "is a valid image",
        "is a valid image layout",
        "is a valid pod manifest",
    ]


def test_validate_says_everything_about_every_file(place: Path, err: Said) -> None:
    bad = json.dumps({**MANIFEST, "name": "A B", "labels": [{"name": "X Y", "value": "1"}]}).encode()
    Path("bad.aci").write_bytes(tar(file(b"manifest", bad), directory(b"rootfs"), file(b"evil"), file(b"rootfs/../x")))
    Path("text").write_text("hello")
    assert main(["image", "validate", "bad.aci", "none", "text", "layout/rootfs", "layout"]) == 1
    lines = err().splitlines()
    assert lines[:2] == [
        'appc: bad.aci: evil: is neither "manifest" nor below "rootfs"',
        'appc: bad.aci: rootfs/../x: name contains ".."',
    ]
    assert lines[2].startswith("appc: bad.aci: manifest: name: ")
    assert lines[3].startswith("appc: bad.aci: manifest: labels[0].name: ")
    assert lines[4] == "appc: none: cannot be read: No such file or directory"
    assert lines[5] == "appc: text: is neither an image, nor a layout, nor a manifest"
    assert lines[6] == "hint: --type says what it should be"
    assert [line for line in lines[7:] if not line.startswith("appc: layout/rootfs: ")] == []
    assert len(lines) > 7


def test_validate_warns_of_what_ends_containment(place: Path, err: Said) -> None:
    isolators = [
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_BPF"]}},
        {"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"]}},
    ]
    app = {"exec": ["/a"], "user": "0", "group": "0", "isolators": isolators}
    image_kit.aci(Path("greedy.aci"), app=app)
    Path("layout/manifest").write_bytes(image_kit.manifest(app=app))
    pod = {"acKind": "PodManifest", "acVersion": "0.8.11"}
    entry = {"name": "web", "image": {"id": f"sha512-{'a' * 128}"}, "app": app}
    Path("pod.json").write_text(json.dumps({**pod, "apps": [entry]}))
    files = {"greedy.aci": "its app", "layout": "its app", "layout/manifest": "its app", "pod.json": "app web"}
    assert main(["image", "validate", *files]) == 0
    assert err().splitlines() == [
        f"appc: warning: {name}: makes {who} {what}"
        for name, who in files.items()
        for what in (
            "keep CAP_BPF, CAP_SYS_ADMIN, with which it can take over the host",
            "run without a filter of system calls (@appc.io/all)",
        )
    ]


def test_validate_goes_by_type_when_told(place: Path, err: Said) -> None:
    Path("text").write_text(json.dumps(MANIFEST))
    assert main(["image", "validate", "--type", "manifest", "text"]) == 0
    assert main(["image", "validate", "--type", "appimage", "text"]) == 1
    assert main(["image", "validate", "--type", "layout", "text"]) == 1
    assert main(["image", "validate", "--type", "appimage", "layout"]) == 1
    assert main(["image", "validate", "--type", "manifest", "layout"]) == 1
    assert main(["image", "validate", "--type", "zip", "layout"]) == 2
    assert "Traceback" not in err()


# -- manifest and id ------------------------------------------------------------------------------


def test_the_manifest_is_printed_as_it_stands(place: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    odd = b'{ "acKind":"ImageManifest",\t"acVersion":"0.8.11","name":"example.com/a", "x": "\xc3\xa4" }'
    Path("a.aci").write_bytes(tar(directory(b"rootfs"), file(b"manifest", odd)))
    assert main(["image", "manifest", "a.aci"]) == 0
    assert capsysbinary.readouterr().out == odd + b"\n"
    assert main(["image", "manifest", "--pretty-print", "a.aci"]) == 0
    assert capsysbinary.readouterr().out.startswith(b'{\n    "acKind": "ImageManifest",\n')


def test_an_invalid_manifest_is_printed_and_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.aci").write_bytes(tar(file(b"manifest", b'{"acKind": "Other"}'), directory(b"rootfs")))
    assert main(["image", "manifest", "a.aci"]) == 1
    said = capsys.readouterr()
    assert said.out == '{"acKind": "Other"}\n'
    assert said.err.startswith("appc: a.aci: ")


def test_ids_of_several_files_come_as_sha512sum_gives_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = image(file(b"rootfs/a"))
    Path("a.aci").write_bytes(gz(data))
    Path("b.aci").write_bytes(data)
    image_id = "sha512-" + hashlib.sha512(data).hexdigest()
    assert main(["image", "id", "a.aci"]) == 0
    assert capsys.readouterr().out == image_id + "\n"
    assert main(["image", "id", "a.aci", "none.aci", "b.aci"]) == 1
    said = capsys.readouterr()
    assert said.out == f"{image_id}  a.aci\n{image_id}  b.aci\n"
    assert said.err == "appc: none.aci: cannot be read: No such file or directory\n"


# -- extract --------------------------------------------------------------------------------------


def test_extracted_it_can_be_built_again(place: Path) -> None:
    assert main(["image", "build", "layout", "one.aci"]) == 0
    assert main(["image", "extract", "one.aci", "copy"]) == 0
    assert main(["image", "build", "copy", "two.aci"]) == 0
    assert Path("one.aci").read_bytes() == Path("two.aci").read_bytes()


def test_the_root_file_system_alone(place: Path) -> None:
    assert main(["image", "build", "layout", "one.aci"]) == 0
    Path("root").mkdir()
    assert main(["image", "extract", "--rootfs-only", "one.aci", "root"]) == 0
    assert os.listdir("root") == ["bin"]
    assert Path("root/bin/app").read_bytes() == b"app\n"


def test_extract_does_not_mix_with_what_is_there(place: Path, err: Said) -> None:
    assert main(["image", "build", "layout", "one.aci"]) == 0
    Path("dir/sub").mkdir(parents=True)
    Path("dir/sub/file").write_text("")
    Path("dir/link").symlink_to(".")
    assert main(["image", "extract", "one.aci", "dir"]) == 2
    assert err() == "appc: dir: is not empty\nhint: --overwrite removes what is in it\n"
    assert main(["image", "extract", "--overwrite", "one.aci", "dir"]) == 0
    assert sorted(os.listdir("dir")) == ["manifest", "rootfs"]


@pytest.mark.parametrize("there", [False, True])
def test_a_failed_extraction_leaves_the_directory_as_it_was(place: Path, err: Said, there: bool) -> None:
    Path("bad.aci").write_bytes(image(file(b"rootfs/a/b"), file(b"rootfs/c"), file(b"evil")))
    if there:
        Path("dir").mkdir()
    assert main(["image", "extract", "bad.aci", "dir"]) == 1
    assert err() == 'appc: bad.aci: evil: is neither "manifest" nor below "rootfs"\n'
    assert Path("dir").exists() == there
    assert not there or os.listdir("dir") == []


@pytest.mark.parametrize("path", ["/", "//", "/usr/..", "link"])
def test_nothing_is_unpacked_over_the_root_directory(place: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """--overwrite would first remove what is there."""
    monkeypatch.setattr(output_directory, "_empty", lambda path: pytest.fail(f"{path} was to be emptied"))
    Path("link").symlink_to("/")
    with (
        pytest.raises(UsageError, match="nothing is put over the root directory"),
        output_directory.output_directory(path, overwrite=True),
    ):
        pytest.fail("it was prepared")


def test_a_layout_of_another_kind_is_extracted_too(place: Path, err: Said) -> None:
    oci_kit.simple(Path("oci"), oci_kit.layer(("etc", ("dir", 0o755)), ("etc/conf", "x")))
    assert main(["--root", "data", "image", "extract", "oci:oci", "dir"]) == 0
    assert Path("dir/rootfs/etc/conf").read_text() == "x"
    assert err() == ""


def test_junk_behind_an_image_is_let_pass_with_a_warning(place: Path, err: Said) -> None:
    Path("a.aci").write_bytes(gz(image()) + b"junk")
    assert main(["image", "extract", "a.aci", "dir"]) == 0
    assert err() == "appc: warning: a.aci: 4 bytes of other data follow the gzip stream\n"


def test_a_killed_build_leaves_no_image(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(newfile.os, "fsync", lambda fd: os.kill(os.getpid(), signal.SIGKILL))
        main(["image", "build", "layout", "app.aci"])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not Path("app.aci").exists()
    for name in os.listdir():
        # Only a file system that has no nameless files shows that something was under way.
        if name != "layout":
            assert name.startswith(".app.aci.")
            os.unlink(name)
