"""`appc export`: what an app left, as an image."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, wait_for

pytestmark = pytest.mark.root

CHANGES = "echo new >/work/new; echo changed >/work/file; rm -r /masked; mkdir -m 700 /made; ln -s /work /made/link"


def ended(appc: Appc, *words: str) -> str:
    """Run a pod to its end and return its UUID."""
    uuid = appc.detached(*words)
    wait_for(lambda: appc.status(uuid)["state"] == "exited")
    return uuid


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def test_the_image_holds_what_was_there_and_what_was_changed(appc: Appc, tmp_path: Path) -> None:
    uuid = ended(appc, PROBE, "--exec", "/bin/sh", "--", "-c", CHANGES)
    out = tmp_path / "out.aci"
    done = appc("export", uuid, "--name", "example.com/exported", "--label", "version=2.0", str(out))
    assert done.status == 0, done
    found = members(out)
    assert "rootfs/probe" in found
    assert not any(name.startswith("rootfs/masked") for name in found)
    assert (found["rootfs/made"].mode, found["rootfs/made/link"].linkname) == (0o700, "/work")
    assert found["rootfs/suid"].mode == 0o4755
    assert (found["rootfs/owned"].uid, found["rootfs/owned"].gid) == (1234, 4321)
    # It was made for the app, and is no part of what the app is.
    assert "rootfs/etc/hosts" not in found
    assert appc("fetch", "--insecure", "image", str(out)).out == done.out
    manifest = json.loads(appc("image", "manifest", str(out)).out)
    assert {"name": "version", "value": "2.0"} in manifest["labels"]
    again = appc.run(done.out.strip(), "--exec", "/bin/cat", "--", "/work/new", "/work/file")
    assert again.out == "new\nchanged\n"
    appc.clear()
    assert appc("image", "rm", done.out.strip()).status == 0


def test_what_an_app_wrote_into_a_file_of_ours_is_kept(appc: Appc, tmp_path: Path) -> None:
    uuid = ended(appc, PROBE, "--exec", "/bin/sh", "--", "-c", "echo 192.0.2.1 db >>/etc/hosts")
    assert appc("export", uuid, str(tmp_path / "out.aci")).status == 0
    assert "rootfs/etc/hosts" in members(tmp_path / "out.aci")


def test_a_root_full_of_traps_is_only_read(appc: Appc, tmp_path: Path) -> None:
    """The app owns its root: its hosts file may be a link to the host's, or a pipe nobody writes to."""
    traps = "rm -f /etc/hosts; ln -s /etc/passwd /etc/hosts"
    uuid = ended(appc, PROBE, "--exec", "/bin/sh", "--", "-c", traps)
    assert appc("export", uuid, str(tmp_path / "out.aci")).status == 0
    assert members(tmp_path / "out.aci")["rootfs/etc/hosts"].linkname == "/etc/passwd"
    assert Path("/etc/hosts").exists()


def test_a_pod_that_runs_is_refused(appc: Appc, tmp_path: Path) -> None:
    uuid = appc.detached(PROBE, "--", "wait")
    done = appc("export", uuid, str(tmp_path / "out.aci"))
    assert done.status == 1
    assert "is running, and only what has ended is exported" in done.err
    assert not (tmp_path / "out.aci").exists()


def test_nothing_is_left_of_an_export_that_fails(appc: Appc, tmp_path: Path) -> None:
    uuid = ended(appc, PROBE, "--", "exit", "0")
    done = appc("export", uuid, "--name", "not a name", str(tmp_path / "out.aci"))
    assert done.status in (1, 2)
    assert not (tmp_path / "out.aci").exists()
    assert not list(Path(appc.the_pod().path).glob("export-*"))
