"""Building by single commands, where that needs pods and overlays: run, dependencies, scripts."""

from __future__ import annotations

import os
import signal
import tarfile
import time
from pathlib import Path

import pytest
from podkit import appc, own_network, run, start
from test_build_appfile import build, left, make_box, manifest, members, place

__all__ = ["place"]


@pytest.fixture
def work(sandbox: Path, place: Path) -> Path:
    """Where builds are made, when the image example.com/box is in the store."""
    make_box(sandbox / "box.aci")
    assert appc(sandbox, "fetch", "--insecure", "image", sandbox / "box.aci").returncode == 0
    made = sandbox / "work"
    made.mkdir()
    return made


def step(sandbox: Path, work: Path, *words: str, status: int = 0) -> str:
    done = appc(sandbox, "build", words[0], "--work-path", work, *words[1:])
    assert done.returncode == status, (words, done.stderr)
    return done.stdout if not status else done.stderr


def test_commands_change_what_is_above_the_dependencies(sandbox: Path, work: Path) -> None:
    (sandbox / "file").write_text("x")
    step(sandbox, work, "begin")
    step(sandbox, work, "set-name", "example.com/made")
    step(sandbox, work, "dependency", "add", "example.com/box:1")
    step(sandbox, work, "environment", "add", "A", "1")
    assert step(sandbox, work, "run", "sh", "-c", "echo $A $BASE; ls /bin/awk; pwd", "--net") == "1\n/bin/awk\n/\n"
    step(sandbox, work, "copy", str(sandbox / "file"), "/tmp/file")
    assert step(sandbox, work, "run", "--working-dir", "/tmp", "--", "ls", "-a") == ".\n..\nfile\n"
    step(sandbox, work, "run", "--net", "none", "--", "rm", "-r", "/bin/awk", "/srv")
    step(sandbox, work, "run", "--", "sh", "-c", "exit 9", status=9)
    with own_network():
        assert "eth0" in step(sandbox, work, "run", "--net", "default", "--", "ip", "link")
    step(sandbox, work, "run", "--", "absent-program", status=127)
    step(sandbox, work, "set-exec", "--", "/bin/sh", "-c", "cat /tmp/file; ls /bin/awk /srv")
    first = step(sandbox, work, "write", str(sandbox / "out.aci"))
    assert step(sandbox, work, "write", "--overwrite", str(sandbox / "out.aci")) == first
    step(sandbox, work, "end")
    assert os.listdir(work) == []
    assert left(sandbox) == []
    found = members(sandbox / "out.aci")
    assert found["tmp"].mode == 0o1777
    assert "bin/busybox" not in found
    assert not any(member.ischr() for member in found.values())
    whitelist = manifest(sandbox / "out.aci")["pathWhitelist"]
    assert "/bin/sh" in whitelist
    assert not {"/bin/awk", "/srv", "/srv/old"} & set(whitelist)
    done = run(sandbox, sandbox / "out.aci")
    assert done.stdout == "x"
    assert "/bin/awk: No such file" in done.stderr


def test_without_dependencies_the_files_are_changed_themselves(sandbox: Path, work: Path) -> None:
    step(sandbox, work, "begin", "example.com/box")
    step(sandbox, work, "run", "--", "sh", "-c", "echo new > /new; rm /bin/awk")
    step(sandbox, work, "run", "--", "absent", status=127)
    step(sandbox, work, "write", str(sandbox / "out.aci"))
    found = members(sandbox / "out.aci")
    assert {"new", "bin/busybox"} <= set(found)
    assert not {"bin/awk", "proc", "dev"} & set(found)
    assert found["new"].mtime == 0
    assert "pathWhitelist" not in manifest(sandbox / "out.aci")
    step(sandbox, work, "end")


def test_a_whitelist_is_applied_when_a_build_begins(sandbox: Path, work: Path) -> None:
    build(
        sandbox, 'base = "example.com/box"\nname = "example.com/thin"\noutput = "thin"\nsteps = [{remove = "/srv"}]\n'
    )
    assert appc(sandbox, "fetch", "--insecure", "image", sandbox / "out.aci").returncode == 0
    step(sandbox, work, "begin", "example.com/thin")
    step(sandbox, work, "write", str(sandbox / "whole.aci"))
    assert {"pathWhitelist", "dependencies"}.isdisjoint(manifest(sandbox / "whole.aci"))
    assert "bin/busybox" in members(sandbox / "whole.aci")
    assert "srv" not in members(sandbox / "whole.aci")
    step(sandbox, work, "end")


def test_missing_dependencies_are_named(sandbox: Path, work: Path) -> None:
    step(sandbox, work, "begin")
    step(sandbox, work, "dependency", "add", "example.com/absent")
    said = step(sandbox, work, "run", "--offline", "true", status=1)
    assert "example.com/absent is not in the store" in said
    assert left(sandbox) == []


# As acbuild's documentation has it, with an image that is here.
SCRIPT = """begin

set-name example.com/apache

dep add example.com/box

run -- mkdir -p /etc/apache2
run -- /bin/sh -c "echo 'ServerName localhost' >> /etc/apache2/httpd.conf"

port add http tcp 80

mount add html /var/www/localhost/htdocs

set-exec -- /bin/sh -c "chmod 755 / && cat /etc/apache2/httpd.conf"

write --overwrite {out}

end
"""


def test_a_script_from_acbuilds_documentation(sandbox: Path, work: Path) -> None:
    (sandbox / "script").write_text(SCRIPT.format(out=sandbox / "apache.aci"))
    done = appc(sandbox, "build", "script", "--work-path", work, sandbox / "script")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha512-")
    assert run(sandbox, sandbox / "apache.aci").stdout == "ServerName localhost\n"
    (sandbox / "script").write_text("begin\ndep add example.com/box\nrun -- sh -c 'exit 6'\nwrite x.aci\n")
    done = appc(sandbox, "build", "script", "--work-path", work, sandbox / "script")
    assert (done.returncode, "script: line 3" in done.stderr) == (6, True)
    assert os.listdir(work) == []


def test_a_killed_command_leaves_a_build_that_goes_on(sandbox: Path, work: Path) -> None:
    step(sandbox, work, "begin", "example.com/box")
    step(sandbox, work, "set-name", "example.com/x")
    words = ("--", "sh", "-c", "echo 1 > /kept; echo begun; exec sleep 1000")
    process = start(sandbox, "build", "run", "--work-path", work, *words)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while left(sandbox) and time.monotonic() < deadline:
        assert appc(sandbox, "gc", "--grace-period", "0").returncode == 0
    assert left(sandbox) == []
    step(sandbox, work, "run", "--", "cat", "/kept")
    step(sandbox, work, "write", str(sandbox / "out.aci"))
    with tarfile.open(sandbox / "out.aci") as archive:
        assert "rootfs/kept" in archive.getnames()
    step(sandbox, work, "end")
