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
from podkit import appc, build, own_network, run, start
from test_build_appfile import left

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
    return build(sandbox, "from-dockerfile", "--offline", "--overwrite", *words, directory, sandbox / out)


def _refused(sandbox: Path, directory: Path, text: str, *words: str | Path) -> str:
    (directory / "Dockerfile").write_text(text)
    words = ("--offline", *words, directory, sandbox / "refused.aci")
    done = appc(sandbox, "image", "build", "from-dockerfile", *words)
    assert done.returncode in (1, 2, 125), done.stderr
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


def _ran(sandbox: Path, directory: Path, text: str, *words: str) -> tuple[list[str], str]:
    """What the commands said that were not left out, and the image's ID."""
    (directory / "Dockerfile").write_text(text)
    options = ("--offline", "--overwrite", *words)
    done = appc(sandbox, "image", "build", "from-dockerfile", *options, directory, sandbox / "out.aci")
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix("ran ") for line in done.stderr.splitlines() if line.startswith("ran ")]
    return said, done.stdout.strip()


def test_unchanged_instructions_are_not_performed_again(sandbox: Path, directory: Path) -> None:
    (directory / "data").write_text("1")
    text = (
        READY.replace("FROM scratch", "FROM scratch AS tools") + "ARG WHO=nobody\nRUN echo ran one\n"
        "FROM tools\nWORKDIR /srv\nCOPY data ./\nRUN echo ran two; rm -f /bin/awk\n"
        "FROM tools AS third\nCOPY --from=1 /srv/data /\nRUN echo ran three $http_proxy\nENV LATE=1\n"
    )
    first, image = _ran(sandbox, directory, text)
    assert first == ["one", "two", "three"]
    os.utime(directory / "data")
    assert _ran(sandbox, directory, text) == ([], image)
    assert _ran(sandbox, directory, text.replace("LATE", "LATER"))[0] == []
    assert _ran(sandbox, directory, text, "--no-cache") == (first, image)
    assert _ran(sandbox, directory, text, "--build-arg", "http_proxy=http://proxy") == ([], image)
    proxied = ("--no-cache", "--build-arg", "http_proxy=http://proxy")
    assert _ran(sandbox, directory, text, *proxied) == (["one", "two", "three http://proxy"], image)
    (directory / "data").write_text("2")
    assert _ran(sandbox, directory, text)[0] == ["two", "three"]
    (directory / "data").chmod(0o600)
    assert _ran(sandbox, directory, text)[0] == ["two", "three"]
    assert _ran(sandbox, directory, text, "--net", "host")[0] == first
    assert _ran(sandbox, directory, text, "--build-arg", "WHO=me")[0] == first
    assert _ran(sandbox, directory, text.replace("COPY data", "COPY --chown=5 data"))[0] == ["two", "three"]
    # Whatever other file they are in.
    assert _ran(sandbox, directory, text.partition("FROM tools AS third")[0], "--build-arg", "WHO=me")[0] == []


def test_a_failing_step_is_named_and_can_be_entered(sandbox: Path, directory: Path) -> None:
    text = (
        READY.replace("FROM scratch", "FROM scratch AS tools")
        + "FROM tools\nENV X=here\nCOPY --from=tools /bin/cat /c\n"
        "RUN echo before; echo left > /left; exit 3\n"
    )
    for words in ((), ("--no-cache",)):
        said = _refused(sandbox, directory, text, *words)
        assert "before\n" in said
        assert "line 9: RUN: 'echo before; echo left > /left; exit 3' ended with status 3\n" in said
        (name,) = os.listdir(sandbox / "store/store/builds")
        assert f"hint: `appc build enter {name}` shows what it left; --net default gives commands a network" in said
        done = appc(sandbox, "build", "enter", name, "--", "sh", "-c", "cat /left; echo $X; exit 7")
        assert (done.stdout, done.returncode) == ("left\nhere\n", 7), done.stderr
    _build(sandbox, directory, text.replace("exit 3", "exit 0"))
    assert os.listdir(sandbox / "store/store/builds") == []


def test_platforms_are_this_hosts(sandbox: Path, directory: Path) -> None:
    ours = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
    if ours is None:
        pytest.skip("the test knows amd64 and arm64")
    text = READY.replace("FROM", "FROM --platform=$BUILDPLATFORM") + "ARG TARGETOS TARGETARCH\n"
    text += "RUN echo $TARGETOS $TARGETARCH > /platform\nCMD cat /platform\n"
    _build(sandbox, directory, text)
    assert run(sandbox, sandbox / "out.aci").stdout == f"linux {ours}\n"
    other = "linux/arm64" if ours == "amd64" else "linux/amd64"
    assert f"--platform={other}: commands run on" in _refused(sandbox, directory, f"FROM --platform={other} scratch\n")
    assert "no os and arch labels" in _refused(sandbox, directory, "FROM --platform=beos/vax scratch\n")


def test_commands_have_the_network_that_is_said(sandbox: Path, directory: Path) -> None:
    text = READY + "RUN test -e /sys/class/net/eth0\n"
    with own_network():
        assert "ended with status 1" in _refused(sandbox, directory, text)
        _build(sandbox, directory, text, "--net", "default")
        assert "no such network" in _refused(sandbox, directory, text, "--net", "absent")


def test_what_a_killed_build_leaves_is_collected(sandbox: Path, directory: Path) -> None:
    (directory / "Dockerfile").write_text(READY + "RUN echo begun; exec sleep 1000\n")
    process = start(sandbox, "image", "build", "from-dockerfile", directory, sandbox / "out.aci")
    assert process.stderr is not None
    for line in process.stderr:
        if line == "begun\n":
            break
    process.kill()
    # Its pipes are closed when the pod is gone, too.
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while left(sandbox) and time.monotonic() < deadline:
        assert appc(sandbox, "gc", "--grace-period", "0").returncode == 0
    assert left(sandbox) == []
    assert not (sandbox / "out.aci").exists()


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
