"""Ways to have an image run that nobody trusted has signed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pod_kit import Appc, base_files, one_app

import image_kit
from capabilities import need

pysequoia = pytest.importorskip("pysequoia")

TRUSTED = "example.com/trusted"


class Bench:
    """A command line whose only trusted key signs images below TRUSTED."""

    def __init__(self, base: Path) -> None:
        self.appc = Appc(base / "appc")
        self.base = base
        key = pysequoia.Tsk.generate(user_id="release")
        self.fingerprint: str = key.extract_certificate().fingerprint
        (base / "secret").write_bytes(bytes(key))
        (base / "public").write_bytes(bytes(key.extract_certificate()))
        assert self.appc("trust", "add", "--prefix", TRUSTED, str(base / "public")).status == 0

    def make(self, file: str, name: str, says: str, *, signed: bool = False, **fields: Any) -> str:
        """An image file whose app prints `says`."""
        base = base_files()
        files = {path: base[path] for path in ("bin/busybox", "bin/cat")}
        path = self.base / f"{file}.aci"
        image_kit.aci(path, {**files, "says": f"{says}\n"}, name, app=one_app(["/bin/cat", "/says"]), **fields)
        if signed:
            assert self.appc("image", "sign", "--key-file", str(self.base / "secret"), str(path)).status == 0
        return str(path)

    def unverified(self, path: str) -> None:
        """Fetch an image with no questions asked."""
        assert self.appc("fetch", "--insecure", "image", path).status == 0

    def refused(self, path: str, *options: str) -> str:
        """Expect that a file is neither run nor stored; return the reason."""
        before = self.appc("image", "list", "--full").out
        done = self.appc.run(*options, path)
        assert (done.status, done.out) == (1, "")
        assert self.appc("image", "list", "--full").out == before
        return done.err


@pytest.fixture
def bench(sandbox: Path) -> Bench:
    need("root", "native", "overlay-tmp", "cgroup", "busybox")
    return Bench(sandbox)


def test_an_unverified_image_does_not_take_the_name_of_a_verified_one(bench: Bench) -> None:
    good = bench.make("good", TRUSTED, "good", signed=True)
    assert bench.appc("fetch", good).status == 0
    labels = [("os", "linux"), ("arch", "amd64")]
    bench.unverified(bench.make("evil", TRUSTED, "evil", labels=labels))
    assert bench.appc.run(TRUSTED).out == "good\n"
    # Asked for more closely, it is what the user has let in.
    assert bench.appc.run(f"{TRUSTED},os=linux").out == "evil\n"


def test_nor_its_place_below_a_verified_one(bench: Bench) -> None:
    base = bench.make("base", f"{TRUSTED}/base", "good", signed=True)
    assert bench.appc("fetch", base).status == 0
    bench.unverified(bench.make("evil", f"{TRUSTED}/base", "evil"))
    top = bench.base / "top.aci"
    dependencies = [{"imageName": f"{TRUSTED}/base"}]
    image_kit.aci(top, {}, f"{TRUSTED}/top", app=one_app(["/bin/cat", "/says"]), dependencies=dependencies)
    assert bench.appc("image", "sign", "--key-file", str(bench.base / "secret"), str(top)).status == 0
    assert bench.appc.run(str(top)).out == "good\n"


def test_a_key_does_not_sign_for_a_name_that_only_begins_like_its_prefix(bench: Bench) -> None:
    assert f"only for {TRUSTED}" in bench.refused(bench.make("longer", f"{TRUSTED}er", "evil", signed=True))
    assert f"only for {TRUSTED}" in bench.refused(bench.make("above", "example.com", "evil", signed=True))


@pytest.mark.parametrize("change", ["more at the end", "another file", "another name"])
def test_a_signature_holds_for_one_file(bench: Bench, change: str) -> None:
    good = bench.make("good", TRUSTED, "good", signed=True)
    if change == "more at the end":
        with open(good, "ab") as stream:
            stream.write(bytes(1024))
        evil = good
    else:
        evil = bench.make("evil", TRUSTED if change == "another file" else f"{TRUSTED}/other", "evil")
        shutil.copy(f"{good}.asc", f"{evil}.asc")
    assert "does not match" in bench.refused(evil)
    assert "does not match" in bench.refused(evil, "--pull", "update")


def test_a_file_that_was_let_in_once_is_not_let_in_again(bench: Bench) -> None:
    evil = bench.make("evil", TRUSTED, "evil")
    let_in = bench.appc.run("--insecure", "image", evil)
    assert let_in.out == "evil\n"
    assert "was not verified" in let_in.err
    assert "is not signed" in bench.refused(evil)
    assert "is not signed" in bench.appc("prepare", evil).err


def test_a_key_is_distrusted_at_once(bench: Bench) -> None:
    good = bench.make("good", TRUSTED, "good", signed=True)
    assert bench.appc.run(good).out == "good\n"
    bench.appc("trust", "rm", bench.fingerprint)
    assert "not trusted" in bench.refused(good)
    # A prefix that is called like the key makes a directory where its file would be.
    os.makedirs(bench.appc.config / "trustedkeys/prefix.d" / TRUSTED / bench.fingerprint)
    assert "not trusted" in bench.refused(good)


def test_an_image_changed_while_it_is_read_is_not_stored(bench: Bench) -> None:
    """The bytes that are verified are the bytes that are stored: a file is never read twice."""
    good = Path(bench.make("good", TRUSTED, "good", signed=True))
    evil = Path(bench.make("evil", TRUSTED, "evil"))
    one, other = good.read_bytes(), evil.read_bytes()
    for turn in range(6):
        running = bench.appc.start("fetch", str(good))
        with open(good, "r+b") as stream:
            while running.poll() is None:
                for content in (other, one):
                    stream.seek(0)
                    stream.write(content)
                    stream.flush()
        good.write_bytes(one)
        running.communicate()
        listed = bench.appc("image", "list", "--no-legend").out
        assert bench.appc.run(TRUSTED).out in ("", "good\n"), (turn, listed)
