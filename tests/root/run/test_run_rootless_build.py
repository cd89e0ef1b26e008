"""Build steps of ordinary users: commands run in pods of theirs, and images own what the commands made."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PROBE
from rootless_kit import User, made

from user_kit import RANGES, UID

pytestmark = pytest.mark.root

MAKE = "echo made >/work/made && busybox chown 1000:50 /work/made && rm -r /masked"


@pytest.fixture(scope="module")
def shared_user() -> Iterator[User]:
    yield from made(RANGES, User)


@pytest.fixture
def user(shared_user: User, sandbox: Path) -> Iterator[User]:
    """A user with an empty directory `home`/work."""
    work = shared_user.home / "work"
    work.mkdir()
    os.chown(work, UID, UID)
    yield shared_user
    assert shared_user.pods() == []
    shutil.rmtree(work)


def members(image: Path) -> dict[str, tuple[int, int]]:
    """The owners of the files of an image."""
    with tarfile.open(image) as archive:
        return {member.name.removeprefix("rootfs/"): (member.uid, member.gid) for member in archive}


def built(user: User, *words: str) -> dict[str, tuple[int, int]]:
    out = user.home / "work/out.aci"
    done = user(*words, str(out))
    assert done.status == 0, done
    assert out.stat().st_uid == UID
    return members(out)


def test_a_build_file_with_a_command(user: User) -> None:
    (user.home / "work/Appfile.toml").write_text(
        f'name = "example.com/made"\nbase = "{PROBE}"\noutput = "flat"\n[[steps]]\nrun = "{MAKE}"\n'
    )
    found = built(user, "image", "build", "--offline", "--file", str(user.home / "work/Appfile.toml"))
    assert found["work/made"] == (1000, 50)
    assert found["owned"] == (1234, 4321)
    assert "masked/old" not in found


def test_a_dockerfile(user: User) -> None:
    (user.home / "work/Dockerfile").write_text(f'FROM {PROBE}\nSHELL ["/bin/sh", "-c"]\nRUN {MAKE}\n')
    found = built(user, "image", "build", "from-dockerfile", "--offline", str(user.home / "work"))
    assert found["work/made"] == (1000, 50)
    assert found["owned"] == (1234, 4321)
    assert "masked/old" not in found


def test_single_commands(user: User) -> None:
    work = ("--work-path", str(user.home / "work"))

    def build(verb: str, *words: str) -> str:
        done = user("build", verb, *work, *words)
        assert done.status == 0, done
        return done.out

    build("begin")
    build("set-name", "example.com/made")
    build("dependency", "add", PROBE)
    assert build("run", "--", "/bin/sh", "-c", f"{MAKE}; busybox id -u") == "0\n"
    build("write", str(user.home / "out.aci"))
    build("end")
    assert members(user.home / "out.aci")["work/made"] == (1000, 50)
