"""Dockerfiles as images: stages, steps in pods, copies, and what is refused with its line."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from podkit import appc, build, run, start

from capabilities import need

BASE = 'FROM scratch\nCOPY busybox /bin/busybox\nSHELL ["/bin/busybox", "sh", "-c"]\n'
READY = BASE + 'RUN /bin/busybox --install -s /bin\nSHELL ["/bin/sh", "-c"]\n'


@pytest.fixture
def directory(sandbox: Path) -> Path:
    need("native", "overlay", "busybox")
    made = sandbox / "context"
    made.mkdir()
    source = next(path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path))
    (made / "busybox").write_bytes(Path(source).read_bytes())
    (made / "busybox").chmod(0o755)
    return made


def _build(sandbox: Path, directory: Path, text: str, *words: str | Path, out: str = "out.aci") -> str:
    (directory / "Dockerfile").write_text(text)
    return build(sandbox, "from-dockerfile", *words, directory, sandbox / out)


def _refused(sandbox: Path, directory: Path, text: str, *words: str | Path) -> str:
    (directory / "Dockerfile").write_text(text)
    done = appc(sandbox, "image", "build", "from-dockerfile", *words, directory, sandbox / "refused.aci")
    assert done.returncode in (1, 2), done.stderr
    assert "internal error" not in done.stderr
    assert not (sandbox / "refused.aci").exists()
    for place in ("staging", "pods/run", "pods/exited", "pods/prepared", "pods/prepare"):
        found = sandbox / "store" / place
        assert not found.exists() or not os.listdir(found), place
    return done.stderr


def _members(aci: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(aci) as archive:
        return {member.name.removeprefix("rootfs/"): member for member in archive}


def _app(aci: Path) -> dict[str, Any]:
    with tarfile.open(aci) as archive:
        file = archive.extractfile("manifest")
        assert file is not None
        return dict(json.load(file)["app"])


def test_stages_steps_and_settings_make_one_image(sandbox: Path, directory: Path) -> None:
    text = (
        "ARG WHAT=nobody\n" + READY.replace("FROM scratch", "FROM scratch AS tools") + "ARG WHAT\n"
        'ENV GREETING="hello ${WHAT}"\nRUN echo "$GREETING" > /greeting && rm /bin/awk\n'
        "FROM tools\nWORKDIR /srv\nCOPY --from=tools --chown=7:8 --chmod=640 /greeting ./copied\n"
        "RUN test -e /bin/cat && test ! -e /bin/awk && test $(pwd) = /srv && test -c /dev/null\n"
        'EXPOSE 80 9000-9002/udp\nVOLUME ["/data"]\nLABEL team="a b"\nUSER 7:8\n'
        'ENTRYPOINT ["/bin/cat"]\nCMD ["/srv/copied"]\n'
    )
    first = _build(sandbox, directory, text, "--build-arg", "WHAT=world")
    time.sleep(1.1)
    os.utime(directory / "busybox")
    assert _build(sandbox, directory, text, "--build-arg", "WHAT=world", out="two.aci") == first
    members = _members(sandbox / "out.aci")
    copied = members["srv/copied"]
    assert (copied.uid, copied.gid, copied.mode) == (7, 8, 0o640)
    assert "bin/awk" not in members
    assert not {"proc", "dev", "etc/hosts"} & set(members)
    app = _app(sandbox / "out.aci")
    assert app["exec"] == ["/bin/cat", "/srv/copied"]
    assert app["ports"][1] == {"name": "9000-udp", "protocol": "udp", "port": 9000, "count": 3}
    assert app["mountPoints"] == [{"name": "volume-data", "path": "/data"}]
    assert app["userLabels"] == {"team": "a b"}
    done = run(sandbox, sandbox / "out.aci", "--volume", "volume-data,kind=empty")
    assert (done.stdout, done.returncode) == ("hello world\n", 0), done.stderr


def test_an_image_file_is_a_base(sandbox: Path, directory: Path) -> None:
    base = READY + "ENV A=1 B=2\nRUN mkdir /etc && echo app:x:5:6::/:/bin/sh > /etc/passwd\nCMD echo $A $B $(id -u)\n"
    _build(sandbox, directory, base, out="base.aci")
    text = f"FROM {sandbox}/base.aci\nENV B=3\nUSER app\n"
    assert "signature" in _refused(sandbox, directory, text)
    _build(sandbox, directory, text, "--insecure", "image")
    done = run(sandbox, sandbox / "out.aci")
    assert done.stdout == "1 3 5\n", done.stderr


def test_copies_follow_the_rules(sandbox: Path, directory: Path) -> None:
    (directory / ".dockerignore").write_text("*.secret\n")
    (directory / "tree/inner").mkdir(parents=True)
    (directory / "tree/inner/file").write_text("x")
    (directory / "tree/link").symlink_to("/etc/passwd")
    (directory / "a.secret").write_text("x")
    (directory / "a.txt").write_text("x")
    (directory / "b.txt").write_text("x")
    with tarfile.open(directory / "pack.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("packed/owned")
        info.uid, info.size = 9, 1
        archive.addfile(info, io.BytesIO(b"y"))
    text = (
        "FROM scratch\nCOPY tree /one\nCOPY *.txt /two/\nADD pack.tar.gz /three\nCOPY pack.tar.gz /four/\n"
        'COPY a.txt /five\nCOPY ["b.txt", "/six/"]\n'
    )
    _build(sandbox, directory, text)
    members = _members(sandbox / "out.aci")
    wanted = {"one/inner/file", "one/link", "two/a.txt", "two/b.txt", "three/packed/owned", "four/pack.tar.gz"}
    assert wanted | {"five", "six/b.txt"} <= set(members)
    assert members["three/packed/owned"].uid == 9
    assert members["one/link"].issym()
    for line in ("COPY a.secret /", "COPY absent /", "COPY ../../etc/hostname /", "COPY *.none /", "COPY *.txt /no"):
        assert "line 2: COPY" in _refused(sandbox, directory, f"FROM scratch\n{line}\n")


def test_links_in_an_image_lead_nowhere_else(sandbox: Path, directory: Path) -> None:
    """Neither a copy nor what is tidied up after a step may touch the host."""
    victim = sandbox / "victim"
    victim.mkdir()
    (victim / "hosts").write_text("mine")
    (directory / "file").write_text("theirs")
    links = f"mkdir -p {victim} && ln -s {victim} /way && rm -rf /etc && ln -s {victim} /etc"
    text = f"{READY}RUN {links}\nCOPY file /way/\nCOPY file /way/in/\n"
    _build(sandbox, directory, text)
    assert os.listdir(victim) == ["hosts"]
    assert (victim / "hosts").read_text() == "mine"
    assert f"{victim}/in/file".lstrip("/") in _members(sandbox / "out.aci")


def test_a_failing_step_is_named_and_leaves_nothing(sandbox: Path, directory: Path) -> None:
    said = _refused(sandbox, directory, READY + "RUN echo before; false\n")
    assert "before" in said
    assert "line 6: RUN: 'echo before; false' ended with status 1" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM absent.example/image\n", "line 1: FROM"),
        ("FROM docker://debian\n", "the network is not to be used"),
        ("FROM ./none.aci\n", "no such file"),
        ("FROM scratch AS Bad/Name\n", "cannot be the name"),
        ("FROM scratch\nFROM scratch AS\n", "line 2: FROM"),
        ("FROM scratch\nEXPOSE 70000\n", "is no port"),
        ("FROM scratch\nADD https://example.com/x /\n", "nothing is downloaded"),
        ("FROM scratch\nCOPY --from=absent.example/x a /\n", "line 2: COPY"),
        ("FROM scratch\nCOPY --chmod=999 Dockerfile /\n", "is not octal"),
        ("FROM scratch\nCOPY --chown=nobody-here Dockerfile /\n", "line 2: COPY"),
        ("FROM scratch\nENV A\n", "A has no value"),
        ("FROM scratch\nCOPY Dockerfile\n", "needs a source and a target"),
        ("FROM scratch\nCOPY Dockerfile /a\nCOPY Dockerfile /a/b\n", "is not a directory"),
        ("FROM scratch\nUSER :5\n", "names no user"),
        ("FROM scratch\nRUN x\n", "line 2: RUN"),
        ("FROM scratch\nLABEL x=${\n", "line 2: LABEL"),
    ],
)
def test_faults_are_told_with_their_line(text: str, reason: str, sandbox: Path, directory: Path) -> None:
    assert reason in _refused(sandbox, directory, text)


def test_a_target_stage_ends_the_build(sandbox: Path, directory: Path) -> None:
    text = "FROM scratch AS one\nCOPY Dockerfile /one\nFROM scratch AS two\nCOPY absent /\n"
    _build(sandbox, directory, text, "--target", "one")
    assert "one" in _members(sandbox / "out.aci")
    assert "no stage of that name" in _refused(sandbox, directory, "FROM scratch\n", "--target", "three")


def test_an_interrupted_step_ends_and_leaves_nothing(sandbox: Path, directory: Path) -> None:
    (directory / "Dockerfile").write_text(READY + "RUN echo begun; sleep 1000\n")
    process = start(sandbox, "image", "build", "from-dockerfile", directory, sandbox / "out.aci")
    assert process.stderr is not None
    for line in process.stderr:
        if line == "begun\n":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (sandbox / "out.aci").exists()
    for place in ("staging", "pods/run", "pods/exited"):
        found = sandbox / "store" / place
        assert not found.exists() or not os.listdir(found), place
