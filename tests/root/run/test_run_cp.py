"""`appc cp`: files between the host and an app, whatever the app does with its root meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, wait_for

from appc.store.deletion import delete_tree

pytestmark = pytest.mark.root


@pytest.fixture
def uuid(appc: Appc) -> str:
    script = "ln -s /etc /work/link; ln -s /etc/shadow /work/trap; mkdir -p /work/a/b; echo x >/work/a/b/c; "
    script += "mknod /work/p p; echo ready; exec /probe wait"
    found = appc.detached(PROBE, "--name", "web", "--exec", "/bin/sh", "--", "-c", script)
    wait_for(lambda: "ready" in appc("logs", found).out)
    return found


def test_a_file_comes_out(appc: Appc, uuid: str, tmp_path: Path) -> None:
    assert appc("cp", f"{uuid[:8]}:/work/file", str(tmp_path / "copy")).status == 0
    assert (tmp_path / "copy").read_text() == "here\n"
    assert appc("cp", f"{uuid}:web:/work/file", str(tmp_path)).status == 0
    assert (tmp_path / "file").read_text() == "here\n"


def test_a_directory_comes_out_with_all_below_it(appc: Appc, uuid: str, tmp_path: Path) -> None:
    done = appc("cp", f"{uuid}:/work", str(tmp_path))
    assert (done.status, "work/p: is neither file, directory nor link" in done.err) == (0, True)
    assert (tmp_path / "work/a/b/c").read_text() == "x\n"
    assert os.readlink(tmp_path / "work/link") == "/etc"


def test_what_comes_out_gains_no_privileges(appc: Appc, uuid: str, tmp_path: Path) -> None:
    assert appc("cp", f"{uuid}:/suid", str(tmp_path)).status == 0
    assert (tmp_path / "suid").stat().st_mode & 0o7777 == 0o755


def test_links_of_the_app_do_not_lead_out(appc: Appc, uuid: str, tmp_path: Path) -> None:
    assert appc("cp", f"{uuid}:/work/trap", str(tmp_path)).status == 0
    assert os.readlink(tmp_path / "trap") == "/etc/shadow"
    assert appc("cp", f"{uuid}:/work/link/passwd", str(tmp_path)).status == 0
    assert "alice" in (tmp_path / "passwd").read_text()
    (tmp_path / "new").write_text("new\n")
    assert appc("cp", str(tmp_path / "new"), f"{uuid}:/work/link").status == 0
    assert not Path("/etc/new").exists()
    assert appc("enter", uuid, "/bin/cat", "/etc/new").out == "new\n"


def test_files_go_in(appc: Appc, uuid: str, tmp_path: Path) -> None:
    (tmp_path / "site/deep").mkdir(parents=True)
    (tmp_path / "site/deep/page").write_text("page\n")
    (tmp_path / "site/run").write_text("#!/bin/sh\n")
    (tmp_path / "site/run").chmod(0o755)
    assert appc("cp", str(tmp_path / "site"), f"{uuid}:/work").status == 0
    assert appc("cp", str(tmp_path / "site/deep/page"), f"{uuid}:/work/file").status == 0
    assert appc("enter", uuid, "/bin/cat", "/work/site/deep/page", "/work/file").out == "page\npage\n"
    assert "755" in appc("enter", uuid, "/bin/stat", "-c", "%a", "/work/site/run").out


def test_a_tree_that_is_too_deep_is_refused(appc: Appc, uuid: str, tmp_path: Path) -> None:
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d", dir_fd=place)
        place, above = os.open("d", os.O_RDONLY, dir_fd=place), place
        os.close(above)
    os.close(place)
    done = appc("cp", str(tmp_path / "d"), f"{uuid}:/work")
    # Deeper than pytest itself can delete.
    delete_tree(str(tmp_path / "d"))
    assert done.status == 1, done
    assert "is more than 256 directories deep" in done.err


def test_a_pod_that_has_ended_still_gives(appc: Appc, tmp_path: Path) -> None:
    uuid = appc.detached(PROBE, "--exec", "/bin/sh", "--", "-c", "echo left >/work/left")
    wait_for(lambda: appc.status(uuid)["state"] == "exited")
    assert appc("cp", f"{uuid}:/work/left", str(tmp_path)).status == 0
    assert (tmp_path / "left").read_text() == "left\n"
    assert "so nothing can be copied into it" in appc("cp", str(tmp_path / "left"), f"{uuid}:/work").err


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        ("{}:/absent", ".", "web:/absent: no such file or directory"),
        ("{}:work", ".", "the path in an app is absolute"),
        ("{}:/work", "{}:/work", "one of the two is a path of an app"),
        ("here", "there", "one of the two is a path of an app"),
        ("{}:absent:/work", ".", "has no app absent"),
        ("/absent/file", "{}:/work", "/absent: no such file or directory"),
        ("{}:/work/file", "/absent/x/y", "/absent/x: no such file or directory"),
    ],
)
def test_what_is_refused(appc: Appc, uuid: str, source: str, target: str, what: str) -> None:
    done = appc("cp", source.format(uuid), target.format(uuid))
    assert done.status in (1, 2)
    assert what in done.err
