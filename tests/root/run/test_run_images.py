"""Pods of images that are encrypted or were tampered with, and what pods leave in their roots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, base_files, one_app

import image_kit
from appc.images.use import find_stored
from appc.store.images import ImageStore
from capabilities import need


@pytest.fixture
def secret(appc: Appc, tmp_path: Path) -> Path:
    """An encrypted image file, and its passphrase in the file `pass` beside it."""
    need("gpg")
    (tmp_path / "pass").write_text("a passphrase\n")
    image_kit.aci(tmp_path / "app.aci", base_files(), "example.com/secret", app=one_app())
    path = tmp_path / "secret.aci"
    done = appc("image", "encrypt", str(tmp_path / "app.aci"), str(path), "--passphrase-file", str(tmp_path / "pass"))
    assert done.status == 0, done
    return path


def test_an_encrypted_image_runs(appc: Appc, secret: Path) -> None:
    words = ("--insecure", "image", "--passphrase-file", str(secret.parent / "pass"))
    done = appc.run(*words, "--rm", str(secret), "--", "exit", "7")
    assert done.status == 7, done
    # It is in the store now, and the file has not changed.
    assert appc.run("--insecure", "image", "--rm", str(secret), "--", "exit", "3").status == 3


def test_an_encrypted_image_does_not_run_without_its_passphrase(appc: Appc, secret: Path) -> None:
    done = appc.run("--insecure", "image", str(secret), start_new_session=True)
    assert done.status == 1
    assert done.err.startswith(f"appc: {secret}: needs a passphrase, and there is no terminal to ask for it\n")
    (secret.parent / "pass").write_text("another\n")
    done = appc.run("--insecure", "image", "--passphrase-file", str(secret.parent / "pass"), str(secret))
    assert (done.status, done.err) == (1, f"appc: {secret}: cannot be decrypted: the passphrase is wrong\n")


def test_a_tampered_image_does_not_run_when_it_is_verified(appc: Appc, tmp_path: Path) -> None:
    appc.add(tmp_path / "app.aci", {**base_files(), "etc/conf": "mine\n"}, "example.com/tampered", app=one_app())
    assert appc.run("--verify", "--rm", "example.com/tampered", "--", "exit", "0").status == 0
    image = find_stored(ImageStore(str(appc.root)), "example.com/tampered")
    conf = Path(image.tree, "etc/conf")
    status = conf.stat()
    conf.write_text("evil\n")
    os.utime(conf, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = appc.run("--verify", "example.com/tampered")
    assert (done.status, appc.pods()) == (1, [])
    assert "is not as it was imported: /etc/conf has another content" in done.err
    assert appc.run("--rm", "example.com/tampered", "--", "exit", "0").status == 0


def test_what_an_app_wrote_is_what_differs_from_its_image(appc: Appc) -> None:
    done = appc.run(
        PROBE,
        "--exec",
        "/bin/sh",
        "--",
        "-c",
        "echo new > /work/new; rm -r /masked; mkdir /masked /one; echo x >> /work/file",
    )
    assert done.status == 0, done
    pod = appc.the_pod()
    done = appc("image", "diff", PROBE, f"pod:{pod.uuid}", "--ignore", "mtime")
    assert done.status == 0, done
    changed = [line for line in done.out.splitlines() if line.split()[1].startswith(("/work", "/masked", "/one"))]
    assert changed == ["D /masked/old", "A /one", "C /work/file: content 5 bytes → 7 bytes", "A /work/new"]
    assert appc("image", "diff", PROBE, f"pod:{pod.uuid}:nobody").status == 1


def test_a_bundle_runs_where_nothing_of_it_was_before(appc: Appc, tmp_path: Path) -> None:
    bundle = str(tmp_path / "probe.bundle")
    assert appc("image", "export", "--bundle", PROBE, bundle).status == 0
    (tmp_path / "other").mkdir()
    other = Appc(tmp_path / "other")
    done = other.run("--insecure", "image", "--rm", bundle, "--", "exit", "7")
    assert done.status == 7, done
    assert other.run("--rm", PROBE, "--", "exit", "3").status == 3
