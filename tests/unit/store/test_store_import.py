"""Importing images: what is stored, what is refused, and that a refusal leaves nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import image_kit
from appc.errors import AppcError, ArchiveError, ManifestError, SignatureError
from appc.formats.limits import Limits
from appc.store.images import ImageStore, StoredImage


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "data"))


def load(store: ImageStore, path: Path, **how: object) -> StoredImage:
    with path.open("rb") as stream:
        return store.import_file(stream, where=str(path), **how)  # type: ignore[arg-type]


class Verifier:
    """Accepts everything it is fed as signed by `signer`, or refuses where it is told to."""

    signature = b"SIGNATURE"

    def __init__(self, signer: str = "f" * 40, refuse: str = "") -> None:
        self.signer, self.refuse = signer, refuse
        self.fed = b""
        self.closed = False

    def feed(self, data: bytes) -> None:
        self.fed += data

    def admit(self, name: str) -> None:
        if self.refuse == "name":
            raise SignatureError(f"not for {name}", "app.aci")

    def finish(self, name: str) -> str:
        self.admit(name)
        if self.refuse == "bytes":
            raise SignatureError("does not match", "app.aci")
        return self.signer

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("compress", ["none", "gzip", "bzip2", "xz"])
def test_an_image_is_stored_under_the_hash_of_its_uncompressed_tar(
    tmp_path: Path, store: ImageStore, compress: str
) -> None:
    files: dict[str, image_kit.Entry] = {"bin/app": b"program", "etc/link": ("link", "../bin/app")}
    expected = image_kit.aci(tmp_path / "app.aci", files, version="1.0", compress=compress)
    image = load(store, tmp_path / "app.aci")
    assert image.id == expected
    assert (image.name, image.labels.get("version")) == ("example.com/app", "1.0")
    assert Path(image.tree, "bin/app").read_bytes() == b"program"
    assert os.readlink(f"{image.tree}/etc/link") == "../bin/app"
    assert image.manifest.name == "example.com/app"
    assert image.signer == ""


def test_names_sizes_and_times_survive_a_new_process(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x" * 1000}, compress="none")
    first = load(store, tmp_path / "app.aci")
    again = ImageStore(store.root).get(first.id)
    assert again.size == (tmp_path / "app.aci").stat().st_size
    assert again.imported == first.imported
    assert again.meta["treeSize"] == 1000


def test_trees_are_out_of_other_users_reach(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"bin/su": ("file", "x", {"mode": 0o4755})})
    image = load(store, tmp_path / "app.aci")
    assert os.stat(f"{image.tree}/bin/su").st_mode & 0o7777 == 0o4755
    for directory in ("store", "store/images", "store/staging"):
        assert os.stat(f"{store.root}/{directory}").st_mode & 0o077 == 0


def broken(path: Path, how: str) -> None:
    image_kit.aci(path, {"bin/app": b"program" * 9000})
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "corrupt":
        path.write_bytes(data[:40] + b"\xff" * 20 + data[60:])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no tar":
        path.write_bytes(b"hello\n" * 500)
    elif how == "escaping":
        image_kit.aci(path, {"../../evil": b"x"}, parents=False)
    elif how == "link in the way":
        image_kit.aci(path, {"etc": ("link", "/etc"), "etc/passwd": b"x"}, parents=False)
    elif how == "bad manifest":
        path.write_bytes(image_kit.tar({"a": "x"}, b'{"acKind": "ImageManifest", "acVersion": "0.8.11"}'))
    elif how == "no json":
        path.write_bytes(image_kit.tar({"a": "x"}, b"not json"))


@pytest.mark.parametrize(
    "how",
    ["truncated", "corrupt", "empty", "no tar", "escaping", "link in the way", "bad manifest", "no json"],
)
def test_a_refused_file_is_named_and_leaves_nothing(tmp_path: Path, store: ImageStore, how: str) -> None:
    broken(tmp_path / "bad.aci", how)
    with pytest.raises((ArchiveError, ManifestError)) as caught:
        load(store, tmp_path / "bad.aci")
    assert str(tmp_path / "bad.aci") in str(caught.value)
    assert caught.value.exit_status == 1
    left = [path for path in image_kit.listing(Path(store.root)) if path.count("/") > 1 and "locks" not in path]
    assert left == []


@pytest.mark.parametrize("refuse", ["name", "bytes"])
def test_a_refused_signature_leaves_nothing(tmp_path: Path, store: ImageStore, refuse: str) -> None:
    image_kit.aci(tmp_path / "app.aci", {"bin/app": b"x"})
    verifier = Verifier(refuse=refuse)
    with pytest.raises(SignatureError):
        load(store, tmp_path / "app.aci", verifier=lambda: verifier)
    assert verifier.closed
    assert store.list() == []
    left = [path for path in image_kit.listing(Path(store.root)) if path.count("/") > 1 and "locks" not in path]
    assert left == []


def test_a_name_that_may_not_be_signed_is_refused_before_the_rest_is_read(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"big": os.urandom(40 << 20)}, compress="none", manifest_first=True)
    verifier = Verifier(refuse="name")
    with pytest.raises(SignatureError):
        load(store, tmp_path / "app.aci", verifier=lambda: verifier)
    assert len(verifier.fed) < 20 << 20


def test_the_verifier_sees_every_byte_of_the_file(tmp_path: Path, store: ImageStore) -> None:
    path = tmp_path / "app.aci"
    image_kit.aci(path, {"bin/app": b"x"})
    path.write_bytes(path.read_bytes() + b"behind the end")
    verifier = Verifier()
    image = load(store, path, verifier=lambda: verifier)
    assert verifier.fed == path.read_bytes()
    assert image.signer == "f" * 40
    assert any("14 bytes" in warning for warning in image.meta["warnings"])


@pytest.mark.parametrize(
    ("keep", "signed", "kept"),
    [
        ("signed", True, True),
        ("signed", False, False),
        ("always", False, True),
        ("always", True, True),
        ("never", True, False),
    ],
)
def test_which_files_are_kept_as_they_were(
    tmp_path: Path, store: ImageStore, keep: str, signed: bool, kept: bool
) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x"})
    image = load(store, tmp_path / "app.aci", verifier=Verifier if signed else None, keep=keep)
    original = Path(image.path, "original")
    assert original.exists() == kept
    assert Path(image.path, "original.asc").exists() == (kept and signed)
    if kept:
        assert original.read_bytes() == (tmp_path / "app.aci").read_bytes()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x"})
    first = load(store, tmp_path / "app.aci")
    read: list[int] = []
    again = load(store, tmp_path / "app.aci", progress=read.append)
    assert (again.id, read) == (first.id, [])


def test_a_changed_file_is_read_again(tmp_path: Path, store: ImageStore) -> None:
    path = tmp_path / "app.aci"
    image_kit.aci(path, {"a": "x"}, compress="none")
    status = path.stat()
    load(store, path)
    changed = image_kit.aci(path, {"a": "y"}, compress="none")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert load(store, path).id == changed


def test_a_file_stored_unverified_is_read_again_to_be_verified(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x"})
    load(store, tmp_path / "app.aci")
    verifier = Verifier()
    image = load(store, tmp_path / "app.aci", verifier=lambda: verifier, accept=lambda image: image.signer != "")
    assert verifier.fed
    assert (image.signer, store.get(image.id).signer) == ("f" * 40, "f" * 40)
    assert Path(image.path, "original.asc").read_bytes() == b"SIGNATURE"
    assert load(store, tmp_path / "app.aci", accept=lambda image: image.signer != "").id == image.id


def test_the_same_image_from_another_file_is_stored_once(tmp_path: Path, store: ImageStore) -> None:
    first = image_kit.aci(tmp_path / "a.aci", {"a": "x"}, compress="gzip")
    assert image_kit.aci(tmp_path / "b.aci", {"a": "x"}, compress="xz") == first
    inode = os.stat(load(store, tmp_path / "a.aci").tree).st_ino
    second = load(store, tmp_path / "b.aci")
    assert os.stat(second.tree).st_ino == inode
    sizes = [(tmp_path / name).stat().st_size for name in ("a.aci", "b.aci")]
    assert sorted(second.meta["fileSizes"]) == sorted(sizes)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, store: ImageStore) -> None:
    path = tmp_path / "app.aci"
    image_kit.aci(path, {"a": "x"})

    def append(_: int) -> None:
        with path.open("ab") as stream:
            stream.write(b"more")

    with pytest.raises(ArchiveError, match="changed while it was read"):
        load(store, path, progress=append)
    assert store.list() == []


def test_an_unexpected_id_is_refused(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x"})
    with pytest.raises(ArchiveError, match="not sha512-0000"):
        load(store, tmp_path / "app.aci", expected_id="sha512-" + "0" * 128)


def test_limits_are_kept(tmp_path: Path, store: ImageStore) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x" * 100_000})
    with pytest.raises(ArchiveError):
        load(store, tmp_path / "app.aci", limits=Limits(size=50_000))


def test_paths_that_the_store_cannot_hold_are_refused(tmp_path: Path, store: ImageStore) -> None:
    deep = "/".join(["d" * 200] * 19)
    image_kit.aci(tmp_path / "app.aci", {f"{deep}/{'f' * 90}": "x"}, parents=False)
    with pytest.raises(ArchiveError, match="which no path in the store can hold"):
        load(store, tmp_path / "app.aci")
    image_kit.aci(tmp_path / "app.aci", {f"{'/'.join(['d' * 200] * 18)}/f": "x"}, parents=False)
    assert store.check(load(store, tmp_path / "app.aci")) == []


def test_a_pipe_can_be_imported(tmp_path: Path, store: ImageStore) -> None:
    expected = image_kit.aci(tmp_path / "app.aci", {"a": "x"})
    read, write = os.pipe()
    os.write(write, (tmp_path / "app.aci").read_bytes())
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        assert store.import_file(stream, where="pipe").id == expected


def test_names_that_are_not_utf_8_are_stored_and_exported(tmp_path: Path, store: ImageStore) -> None:
    files: dict[str, image_kit.Entry] = {"caf\udce9/\udcff": b"latin", "link": ("link", "caf\udce9")}
    path = tmp_path / os.fsdecode(b"b\xe9d.aci")
    expected = image_kit.aci(path, files)
    image = load(store, path)
    assert os.listdir(os.fsencode(image.tree) + b"/caf\xe9") == [b"\xff"]
    assert store.check(image) == []
    out = io.BytesIO()
    store.export(image, out, "none")
    assert image.id == expected


def test_many_importers_of_one_file_do_the_work_once(tmp_path: Path, store: ImageStore) -> None:
    path = tmp_path / "app.aci"
    expected = image_kit.aci(path, {f"d{number % 20}/f{number}": os.urandom(500) for number in range(300)})
    read: list[int] = []
    found: list[str] = []

    def work() -> None:
        found.append(load(store, path, progress=read.append).id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6
    assert sum(read) == path.stat().st_size
    assert os.listdir(f"{store.root}/store/staging") == []


def test_importers_of_equal_files_in_several_processes_agree(tmp_path: Path, store: ImageStore) -> None:
    """Nobody knows the ID beforehand, so each reads its file; one wins and the others take its image."""
    code = (
        "import sys; from appc.store.images import ImageStore\n"
        "with open(sys.argv[2], 'rb') as f: print(ImageStore(sys.argv[1]).import_file(f, where='x').id)"
    )
    files: dict[str, image_kit.Entry] = {f"f{number}": os.urandom(500) for number in range(200)}
    expected = image_kit.aci(tmp_path / "0.aci", files)
    for number in range(1, 4):
        (tmp_path / f"{number}.aci").write_bytes((tmp_path / "0.aci").read_bytes())
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, store.root, str(tmp_path / f"{number}.aci")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number in range(4)
    ]
    assert [process.communicate()[0].strip() for process in running] == [expected] * 4
    assert [image.id for image in store.list()] == [expected]
    assert store.check(store.list()[0]) == []
    assert os.listdir(f"{store.root}/store/staging") == []


def test_errors_of_the_host_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_kit.aci(tmp_path / "app.aci", {"a": "x"})
    (tmp_path / "file").write_text("")
    with pytest.raises(AppcError) as caught:
        load(ImageStore(str(tmp_path / "file")), tmp_path / "app.aci")
    assert "Not a directory" in str(caught.value)
    assert caught.value.exit_status == 125
