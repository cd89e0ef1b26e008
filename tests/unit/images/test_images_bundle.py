"""Image bundles, as they are typed: what goes along, what is verified, and that a bad one leaves nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import image_kit
from appc.cli.main import main

pysequoia = pytest.importorskip("pysequoia")

Files = list[tuple[str, bytes]]


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


class Host:
    """The command line of one of two hosts, each with its own store and keys."""

    def __init__(self, base: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.base, self.capture = base, capture
        (base / "config").mkdir(parents=True)

    def __call__(self, *words: str | Path) -> Result:
        self.capture.readouterr()
        places = ["--root", str(self.base / "data"), "--config", str(self.base / "config")]
        return Result(main([*places, *(str(word) for word in words)]), *self.capture.readouterr())

    def images(self) -> set[str]:
        return {image["id"] for image in json.loads(self("image", "list", "--format", "json").out)}

    def left(self) -> list[str]:
        """Images, and work in progress."""
        store = self.base / "data/store"
        return [str(path) for name in ("images", "names", "staging") for path in (store / name).glob("*")]


@pytest.fixture
def sender(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    return Host(tmp_path / "sender", capsys)


@pytest.fixture
def receiver(sender: Host) -> Host:
    return Host(sender.base.parent / "receiver", sender.capture)


def new_key(name: str) -> str:
    """Key files NAME.secret and NAME.public; the fingerprint."""
    secret = pysequoia.Tsk.generate(user_id=f"{name} <{name}@example.com>")
    Path(f"{name}.secret").write_bytes(bytes(secret))
    Path(f"{name}.public").write_bytes(bytes(secret.extract_certificate()))
    return str(secret.extract_certificate().fingerprint)


class Stock:
    """app → base, each signed with a key of its own, in the sender's store, and the bundle of them."""

    def __init__(self, sender: Host) -> None:
        self.base_key, self.app_key = new_key("base"), new_key("app")
        self.base = image_kit.aci(Path("base.aci"), {"etc/base": "b" * 4000}, "example.com/base")
        needs = [{"imageName": "example.com/base", "imageID": self.base}]
        self.app = image_kit.aci(Path("app.aci"), {"bin/app": "a"}, "example.org/app", dependencies=needs)
        for name, prefix in (("base", "example.com"), ("app", "example.org")):
            assert sender("image", "sign", "--key-file", f"{name}.secret", f"{name}.aci").status == 0
            assert sender("trust", "add", "--prefix", prefix, f"{name}.public").status == 0
            assert sender("fetch", f"{name}.aci").status == 0
        assert sender("image", "export", "--bundle", "example.org/app", "app.bundle").status == 0


@pytest.fixture
def stock(sender: Host) -> Stock:
    return Stock(sender)


def read(path: str = "app.bundle") -> Files:
    with tarfile.open(path) as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def write(files: Files, path: str = "bad.bundle") -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def trust_both(host: Host, stock: Stock) -> None:
    for prefix, key in (("example.com", stock.base_key), ("example.org", stock.app_key)):
        assert host("trust", "add", "--prefix", prefix, "--fingerprint", key, "app.bundle").out == f"{key}\n"


def test_a_bundle_is_a_tar_whose_bytes_follow_from_the_images(sender: Host, stock: Stock) -> None:
    files = dict(read())
    keys = sorted((stock.base_key, stock.app_key))
    assert list(files) == [
        "appc-bundle",
        *(f"keys/{key}.asc" for key in keys),
        *(
            path
            for one in (stock.base, stock.app)
            for path in (f"manifests/{one}.json", f"images/{one}.aci.asc", f"images/{one}.aci")
        ),
    ]
    assert json.loads(files["appc-bundle"]) == {"appcBundle": 1, "images": [stock.base, stock.app], "keys": keys}
    for one, name in ((stock.base, "base"), (stock.app, "app")):
        assert files[f"images/{one}.aci"] == Path(f"{name}.aci").read_bytes()
        assert files[f"images/{one}.aci.asc"] == Path(f"{name}.aci.asc").read_bytes()
    assert not any(b"PRIVATE" in data for data in files.values())
    assert sender("image", "export", "--bundle", "example.org/app", "again.bundle").err == ""
    assert Path("again.bundle").read_bytes() == Path("app.bundle").read_bytes()
    assert sender("image", "export", "--bundle", "example.org/app", "app.bundle").status == 2
    assert sender("image", "export", "--bundle", "--compress", "xz", "example.org/app", "x.bundle").status == 2


def test_a_bundle_brings_everything_once_its_keys_are_trusted(receiver: Host, stock: Stock) -> None:
    refused = receiver("fetch", "app.bundle")
    assert (refused.status, receiver.left()) == (1, [])
    assert refused.err.startswith(f"appc: app.bundle: images/{stock.base}.aci: signed by key ")
    # What the hint says to do is what is to be done.
    command = refused.err.partition("appc trust add ")[2].split()
    assert command == ["--prefix", "example.com/base", "--fingerprint", stock.base_key, "app.bundle"]
    assert receiver("trust", "add", *command).status == 0
    refused = receiver("fetch", "app.bundle")
    assert (refused.status, receiver.left()) == (1, []), "half a bundle"
    assert f"--prefix example.org/app --fingerprint {stock.app_key} app.bundle" in refused.err
    trust_both(receiver, stock)
    fetched = receiver("fetch", "app.bundle")
    assert (fetched.status, fetched.out, fetched.err) == (0, f"{stock.app}\n", "")
    assert receiver.images() == {stock.app, stock.base}
    assert receiver("image", "render", "example.org/app", "out").status == 0
    assert receiver("image", "export", "--bundle", stock.app, "back.bundle").status == 0
    assert Path("back.bundle").read_bytes() == Path("app.bundle").read_bytes()


def test_what_is_in_the_store_is_not_read_again(receiver: Host, stock: Stock) -> None:
    trust_both(receiver, stock)
    assert receiver("fetch", "--pull", "never", "app.bundle").status == 1
    assert receiver("fetch", "base.aci", "app.bundle").status == 0
    files = read()
    write([(name, b"no longer read" if name.startswith("images/") else data) for name, data in files])
    assert receiver("fetch", "--pull", "never", "bad.bundle").out == f"{stock.app}\n"
    assert receiver("image", "rm", "--force", stock.app).status == 0
    assert receiver("fetch", "bad.bundle").status == 1
    assert receiver("fetch", "app.bundle").status == 0
    # A key that was taken back no longer counts.
    assert receiver("trust", "rm", stock.base_key).status == 0
    assert receiver("fetch", "app.bundle").status == 1


def test_unsigned_images_go_along_and_are_said(sender: Host, receiver: Host) -> None:
    base = image_kit.aci(Path("base.aci"), {}, "example.com/base")
    app = image_kit.aci(Path("app.aci"), {}, "example.com/app", dependencies=[{"imageName": "example.com/base"}])
    assert sender("fetch", "--insecure", "image", "base.aci", "app.aci").status == 0
    exported = sender("image", "export", "--bundle", "example.com/app", "app.bundle")
    assert exported.status == 0
    assert "example.com/app is not signed: the receiver needs --insecure image" in exported.err
    refused = receiver("fetch", "app.bundle")
    assert (refused.status, receiver.left()) == (1, [])
    assert f"images/{base}.aci: is not signed" in refused.err
    fetched = receiver("fetch", "--insecure", "image", "app.bundle")
    assert (fetched.status, fetched.out) == (0, f"{app}\n")
    assert "example.com/base: was not verified" in fetched.err
    assert "app.bundle: was not verified" in fetched.err
    assert receiver("trust", "add", "--root", "app.bundle").status == 2


def test_a_key_that_is_not_trusted_any_more_does_not_go_along(sender: Host, stock: Stock) -> None:
    assert sender("trust", "rm", stock.base_key).status == 0
    exported = sender("image", "export", "--bundle", "example.org/app", "less.bundle")
    assert (exported.status, f"the key {stock.base_key} is no longer trusted here" in exported.err) == (0, True)
    assert [name for name, _ in read("less.bundle") if name.startswith("keys/")] == [f"keys/{stock.app_key}.asc"]


def test_which_of_several_keys_has_to_be_said(receiver: Host, stock: Stock) -> None:
    refused = receiver("trust", "add", "--root", "app.bundle")
    assert (refused.status, "holds 2 keys" in refused.err) == (2, True)
    assert receiver("trust", "add", "--root", "--fingerprint", "0" * 40, "app.bundle").status == 1
    assert receiver("trust", "list", "--no-legend").out == ""
    assert receiver("fetch", "--signature", "app.aci.asc", "app.bundle").status == 2


def replaced(name: str, data: bytes | Callable[[bytes], bytes]) -> Callable[[Files], Files]:
    """A change of the files whose path contains `name`."""
    change = data if callable(data) else lambda _: data
    return lambda files: [(path, change(content) if name in path else content) for path, content in files]


def index(**fields: object) -> Callable[[Files], Files]:
    """A change of the index."""
    return replaced("appc-bundle", lambda data: json.dumps({**json.loads(data), **fields}).encode())


def swap_signatures(files: Files) -> Files:
    found = [data for name, data in files if name.endswith("aci.asc")]
    return [(name, found.pop() if name.endswith("aci.asc") else data) for name, data in files]


def swap_images(files: Files) -> Files:
    found = [data for name, data in files if name.endswith(".aci")]
    return [(name, found.pop() if name.endswith(".aci") else data) for name, data in files]


HOSTILE: dict[str, tuple[str, Callable[[Files], Files]]] = {
    "an index that is no JSON": ("appc-bundle: ", replaced("appc-bundle", b"{")),
    "an index that is a list": ("is not of version 1", replaced("appc-bundle", b"[]")),
    "another version": ("is not of version 1", index(appcBundle=2)),
    "no images": ("names no image", index(images=[])),
    "a path as ID": ("images: ", index(images=["../../etc/passwd"])),
    "images that are no list": ("images: is not a list of texts", index(images={"a": 1})),
    "an image twice": ("names something twice", index(images=["sha512-" + "0" * 128] * 2)),
    "too many images": ("more than the 500", index(images=[f"sha512-{number:0128x}" for number in range(501)])),
    "a path as key": ("is no fingerprint", index(keys=["../../../etc/shadow"])),
    "an index of megabytes": ("more than the", replaced("appc-bundle", lambda data: data + b" " * (2 << 20))),
    "an image that is missing": ("is in the index of the bundle, but not in it", lambda files: files[:-1]),
    "a key that is missing": ("but not in it", lambda files: [one for one in files if "keys/" not in one[0]]),
    "a file nobody asked for": ("but not in its index", lambda files: [*files, ("images/evil", b"x")]),
    "a file outside": ('contains ".."', lambda files: [*files, ("../evil", b"x")]),
    "an absolute path": ("absolute", lambda files: [*files, ("/etc/evil", b"x")]),
    "a file twice": ("is in the archive twice", lambda files: [*files, files[-1]]),
    "a manifest of another image": ("is not the manifest of the image", replaced("manifests/", b"{}")),
    "signatures exchanged": ("which is not trusted for example.com/base, only for", swap_signatures),
    "images exchanged": ("which is not trusted for example.org/app, only for", swap_images),
    "a signature that is nonsense": ("its signature", replaced(".aci.asc", b"nonsense")),
    "a signature of megabytes": ("is larger than", replaced(".aci.asc", b"x" * (1 << 20))),
    "an image that is cut": ("", replaced(".aci", lambda data: data[:-30] if data[:2] == b"\x1f\x8b" else data)),
    "an image that is a bomb": ("", replaced(".aci", lambda data: gzip.compress(bytes(1 << 22)))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_in_one_line_and_leaves_nothing(receiver: Host, stock: Stock, name: str) -> None:
    reason, change = HOSTILE[name]
    trust_both(receiver, stock)
    write(change(read()))
    refused = receiver("fetch", "bad.bundle")
    assert (refused.status, refused.out, receiver.left()) == (1, "", [])
    lines = [line for line in refused.err.splitlines() if not line.startswith("hint: ")]
    assert len(lines) == 1, refused.err
    assert lines[0].startswith("appc: bad.bundle: ")
    assert reason in lines[0], lines[0]
    assert not Path("evil").exists()


def test_a_key_under_another_name_is_not_offered(receiver: Host, stock: Stock) -> None:
    """Else somebody would compare one fingerprint and trust another key."""
    index_data = {"appcBundle": 1, "images": [stock.base, stock.app], "keys": ["0" * 40]}
    files = [one for one in read() if not one[0].startswith(("keys/", "appc-bundle"))]
    key = Path("app.public").read_bytes()
    write([("appc-bundle", json.dumps(index_data).encode()), (f"keys/{'0' * 40}.asc", key), *files])
    for refused in (receiver("trust", "add", "--root", "bad.bundle"), receiver("fetch", "bad.bundle")):
        assert (refused.status, "which is not its name" in refused.err) == (1, True)
    assert receiver("trust", "list", "--no-legend").out == ""
    secret = [(f"keys/{stock.app_key}.asc", Path("app.secret").read_bytes())]
    index_data["keys"] = [stock.app_key]
    write([("appc-bundle", json.dumps(index_data).encode()), *secret, *files])
    assert "holds a secret key" in receiver("trust", "add", "--root", "bad.bundle").err


def test_links_and_truncation(receiver: Host, stock: Stock) -> None:
    trust_both(receiver, stock)
    data = Path("app.bundle").read_bytes()
    Path("bad.bundle").write_bytes(data[: len(data) // 2])
    refused = receiver("fetch", "bad.bundle")
    assert (refused.status, receiver.left()) == (1, [])
    assert "truncated" in refused.err
    files = read()
    with tarfile.open("bad.bundle", "w") as archive:
        for name, content in files[:-1]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo(files[-1][0])
        info.type, info.linkname = tarfile.SYMTYPE, "../../../../etc/passwd"
        archive.addfile(info)
    refused = receiver("fetch", "bad.bundle")
    assert (refused.status, receiver.left()) == (1, [])
    assert "leaves the archive" in refused.err


def test_an_export_that_fails_leaves_no_file(sender: Host, stock: Stock) -> None:
    assert sender("image", "rm", "--force", stock.base).status == 0
    assert sender("image", "export", "--bundle", "example.org/app", "half.bundle").status == 1
    assert not [name for name in os.listdir() if "half" in name]


def test_a_bundle_of_nothing_but_a_global_header_is_refused(receiver: Host) -> None:
    """It begins as bundles do, and its first file never comes."""
    made = tarfile.TarInfo("appc-bundle")
    made.type, made.size = tarfile.XGLTYPE, 14
    head = bytearray(made.tobuf(tarfile.USTAR_FORMAT))
    data = b"14 comment=xx\n"
    Path("x.bundle").write_bytes(bytes(head) + data.ljust(512, b"\0") + bytes(1024))
    result = receiver("fetch", "--insecure", "image", "./x.bundle")
    assert (result.status, "does not begin with the file appc-bundle" in result.err) == (1, True)
    assert receiver.left() == []
