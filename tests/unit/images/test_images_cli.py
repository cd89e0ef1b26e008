"""The verbs for images and keys, as they are typed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

import image_kit
from appc.cli.main import main

pysequoia = pytest.importorskip("pysequoia")


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


class Appc:
    """Runs the command line with directories of its own."""

    def __init__(self, base: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.base, self.capture = base, capture
        (base / "config").mkdir()

    def __call__(self, *words: str | Path) -> Result:
        places = ["--root", str(self.base / "data"), "--config", str(self.base / "config")]
        self.capture.readouterr()
        status = main([*places, *(str(word) for word in words)])
        return Result(status, *self.capture.readouterr())


@pytest.fixture
def appc(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Appc:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    return Appc(tmp_path, capsys)


@pytest.fixture
def key(tmp_path: Path) -> str:
    """Key files secret.pgp and public.pgp; the fingerprint."""
    secret = pysequoia.Tsk.generate(user_id="me <me@example.com>")
    (tmp_path / "secret.pgp").write_bytes(bytes(secret))
    (tmp_path / "public.pgp").write_bytes(bytes(secret.extract_certificate()))
    return str(secret.extract_certificate().fingerprint)


def make(path: str, version: str = "1.0", **how: object) -> str:
    return image_kit.aci(Path(path), {"bin/app": "x" * 3000}, "example.com/app", version, **how)  # type: ignore[arg-type]


def test_sign_trust_fetch_list_export_remove(appc: Appc, key: str) -> None:
    image_id = make("app.aci")
    assert appc("image", "sign", "--key-file", "secret.pgp", "app.aci").out == "app.aci.asc\n"
    refused = appc("fetch", "app.aci")
    assert refused.status == 1
    assert refused.err.startswith("appc: app.aci: signed by key ")
    assert "hint: no key is trusted for example.com/app yet; to trust it" in refused.err
    assert appc("trust", "add", "--prefix", "example.com", "public.pgp").out == f"{key}\n"
    assert appc("image", "verify", "app.aci").out.splitlines() == [
        "name=example.com/app", f"id={image_id}", f"signer={key}",
    ]  # fmt: skip
    fetched = appc("fetch", "app.aci")
    assert (fetched.status, fetched.out, fetched.err) == (0, f"{image_id}\n", "")
    (listed,) = json.loads(appc("image", "list", "--format", "json").out)
    assert (listed["id"], listed["name"], listed["signer"]) == (image_id, "example.com/app", key)
    assert appc("image", "list").out.splitlines()[1].split()[:2] == [image_id[:19], "example.com/app:1.0"]
    assert appc("image", "export", "example.com/app", "out.aci").status == 0
    for suffix in ("", ".asc"):
        assert Path(f"out.aci{suffix}").read_bytes() == Path(f"app.aci{suffix}").read_bytes()
    assert appc("image", "check").out.endswith(": ok\n")
    assert appc("image", "rm", "example.com/app:1.0").out == f"{image_id}\n"
    assert appc("image", "list", "--no-legend").out == ""


def test_trust_is_listed_and_taken_back(appc: Appc, key: str) -> None:
    assert appc("trust", "add", "public.pgp").status == 2
    assert appc("trust", "add", "--prefix", "a", "--root", "public.pgp").status == 2
    assert appc("trust", "add", "--root", "public.pgp").status == 0
    (listed,) = json.loads(appc("trust", "list", "--format", "json").out)
    assert (listed["prefix"], listed["fingerprint"], listed["state"]) == ("", key, "ok")
    assert appc("trust", "list").out.splitlines()[1].split()[:2] == ["*", key[-16:]]
    assert appc("trust", "rm", key[-8:]).out == f"{key}\n"
    assert json.loads(appc("trust", "list", "--format", "json").out) == []
    assert appc("trust", "rm", key).status == 2
    assert appc("trust", "add", "--root", "absent.pgp").status == 1
    assert appc("trust", "add", "--root", "secret.pgp").status == 1


def test_fetching_goes_on_with_the_next_image(appc: Appc) -> None:
    image_id = make("app.aci")
    result = appc("fetch", "--insecure", "image", "absent.aci", "app.aci")
    assert (result.status, result.out) == (1, f"{image_id}\n")
    assert "appc: absent.aci: there is no such file" in result.err
    assert "was not verified" in result.err


def test_removing_goes_on_and_counts(appc: Appc) -> None:
    image_id = make("app.aci")
    appc("fetch", "--insecure", "image", "app.aci")
    result = appc("image", "rm", "sha512-" + "0" * 128, image_id)
    assert (result.status, result.out) == (1, f"{image_id}\n")
    assert "1 of 2 images could not be removed" in result.err


def test_images_of_pods_are_not_removed(appc: Appc) -> None:
    image_id = make("app.aci")
    appc("fetch", "--insecure", "image", "app.aci")
    pod = Path("data/pods/run/12345678-aaaa")
    pod.mkdir(parents=True)
    (pod / "request").write_text(json.dumps({"images": [image_id]}))
    refused = appc("image", "rm", image_id)
    assert refused.status == 1
    assert "is in use by pod 12345678" in refused.err
    assert appc("image", "gc", "--grace-period", "0").out == ""
    assert appc("image", "rm", "--force", image_id).status == 0


def test_collecting_follows_the_configuration(appc: Appc) -> None:
    image_id = make("app.aci")
    appc("fetch", "--insecure", "image", "app.aci")
    Path("config/config.d").mkdir(parents=True, exist_ok=True)

    def configured(**settings: object) -> str:
        Path("config/config.d/gc.json").write_text(json.dumps({"gc": settings}))
        done = appc("image", "gc", "--dry-run")
        assert done.status == 0, done.err
        return done.out

    assert configured() == ""
    assert configured(imageGrace=0).startswith(f"image {image_id}: not used lately")
    assert "more is there than the budget allows" in configured(imageBudget="1Ki")
    assert configured(imageBudget="100%") == ""
    assert configured(imageGrace=0, imageBudget="0", pinned=["example.com/app"]) == ""
    Path("config/config.d/gc.json").unlink()
    assert appc("image", "gc", "--budget", "101%").status == 2
    assert appc("gc", "--budget", "some").status == 2
    assert appc("image", "gc", "--budget", "0").out.startswith(f"image {image_id}: ")


def test_collecting_says_what_it_does(appc: Appc) -> None:
    image_id = make("app.aci")
    appc("fetch", "--insecure", "image", "app.aci")
    assert appc("image", "gc").out == ""
    would = appc("image", "gc", "--grace-period", "0", "--dry-run")
    assert would.out.startswith(f"image {image_id}: not used lately")
    assert "would be freed" in would.err
    assert appc("image", "gc", "--grace-period", "0").out == would.out
    assert appc("image", "list", "--no-legend").out == ""


def test_damage_is_reported_and_repaired(appc: Appc, key: str) -> None:
    make("app.aci")
    appc("image", "sign", "--key-file", "secret.pgp", "app.aci")
    appc("trust", "add", "--root", "public.pgp")
    image_id = appc("fetch", "app.aci").out.strip()
    Path(f"data/store/images/{image_id}/rootfs/bin/app").write_text("damaged")
    result = appc("image", "check", "example.com/app")
    assert result.status == 1
    assert f"{image_id[:39]}: /bin/app: has 7 bytes, not 3000" in result.out.splitlines()
    result = appc("image", "check", "--repair")
    assert result.status == 0
    assert result.out.endswith(": repaired\n")
    assert appc("image", "check").status == 0


def test_exporting_without_the_original_says_that_the_signature_is_lost(appc: Appc, key: str) -> None:
    image_id = make("app.aci")
    appc("image", "sign", "--key-file", "secret.pgp", "app.aci")
    appc("trust", "add", "--root", "public.pgp")
    appc("fetch", "app.aci")
    result = appc("image", "export", "--compress", "none", image_id[:20], "out.tar")
    assert "its signature does not hold" in result.err
    assert hashlib.sha512(Path("out.tar").read_bytes()).hexdigest() == image_id[7:]
    assert not Path("out.tar.asc").exists()
    assert appc("image", "export", image_id, "out.tar").status == 2
    assert appc("image", "export", image_id, "absent/out.tar").status == 125
    assert sorted(os.listdir()) == sorted(
        ["app.aci", "app.aci.asc", "config", "data", "out.tar", "public.pgp", "secret.pgp"]
    )


def test_rendering_makes_a_layout_or_a_root(appc: Appc) -> None:
    make("app.aci", dependencies=[{"imageName": "example.com/base"}])
    appc("fetch", "--insecure", "image", "app.aci")
    failed = appc("image", "render", "example.com/app", "out")
    assert failed.status == 1
    assert "its dependency example.com/base is not in the store" in failed.err
    assert not Path("out").exists()
    image_kit.aci(Path("base.aci"), {"etc/base": "base"}, "example.com/base")
    appc("fetch", "--insecure", "image", "base.aci")
    assert appc("image", "render", "example.com/app", "out").status == 0
    assert json.loads(Path("out/manifest").read_text())["name"] == "example.com/app"
    assert (Path("out/rootfs/etc/base").read_text(), Path("out/rootfs/bin/app").stat().st_size) == ("base", 3000)
    assert appc("image", "render", "--rootfs-only", "example.com/app", "out").status == 2
    assert appc("image", "render", "--rootfs-only", "--overwrite", "example.com/app", "out").status == 0
    assert sorted(os.listdir("out")) == ["bin", "etc"]
    assert appc("image", "render", "--overwrite", "example.com/app", "/").status == 2


def test_a_signature_is_not_replaced_by_accident(appc: Appc, key: str) -> None:
    make("app.aci")
    assert appc("image", "sign", "--key-file", "secret.pgp", "app.aci").status == 0
    assert appc("image", "sign", "--key-file", "secret.pgp", "app.aci").status == 2
    assert appc("image", "sign", "--key-file", "secret.pgp", "--overwrite", "app.aci").status == 0
    assert appc("image", "sign", "--key-file", "public.pgp", "--output", "x", "app.aci").status == 1
    assert appc("image", "sign", "--key-file", "secret.pgp", "absent.aci").status == 1


def test_an_image_cannot_steer_the_terminal_of_who_looks_at_it(appc: Appc) -> None:
    image_id = image_kit.aci(Path("x.aci"), {"etc/\x1b[2J": "x"}, "example.com/app", "1\x1b[2J")
    assert appc("fetch", "--insecure", "image", "x.aci").status == 0
    (appc.base / f"data/store/images/{image_id}/rootfs/etc/\x1b[2J").write_text("y")
    for words in (("check", image_id), ("tree", image_id), ("list",)):
        said = appc("image", *words).out
        assert "\\x1b[2J" in said
        assert "\x1b" not in said
