"""`make demo` as whoever types it: root, and an ordinary user, each twice in a row."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities import missing, need
from user_kit import as_user, environment, make_user

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
PATIENCE = 900  # seconds that no demo takes
# What is told, in this order.
STORY = ("1. PACKAGE AND SIGN", "2. TRUST", "3. RUN", "visitor number 3", "4. LOOK INSIDE", "5. END", "Done in")


@pytest.fixture(scope="module")
def path() -> str:
    """The PATH of who types it: with an `appc`, and a redis to package."""
    need("root", "native", "overlay-tmp", "cgroup", "gpg", "curl", "apt-cache")
    known = subprocess.run(["apt-cache", "show", "redis-server"], capture_output=True, check=False).returncode == 0
    if not known and not os.path.exists("/usr/bin/redis-server"):
        pytest.skip("apt knows no redis-server here")
    program = shutil.which("appc") or str(Path(sys.executable).with_name("appc"))
    if not os.access(program, os.X_OK):
        pytest.fail("appc is not installed")
    return f"{os.path.dirname(program)}:{os.environ['PATH']}"


@pytest.fixture
def user(path: str) -> Iterator[Path]:
    """An ordinary user, who can have a pod with a network: the directory that holds what is the user's."""
    need("ordinary-user", "tun")
    if missing("pasta"):
        need("slirp4netns")
    base = Path(tempfile.mkdtemp(prefix="appc-user-"))
    make_user(base)
    yield base
    shutil.rmtree(base)


def demos() -> set[str]:
    """What demos have in the directory for temporary files."""
    place = os.environ.get("TMPDIR", "/tmp")
    return {name for name in os.listdir(place) if name.startswith("appc-demo.")}


def told(command: list[str], variables: dict[str, str]) -> None:
    """Run the demo, which checks what it shows; it tells all of its story and leaves nothing."""
    before = demos()
    done = subprocess.run(
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    at = 0
    for line in STORY:
        at = done.stdout.find(line, at)
        assert at >= 0, f"{line} is missing in {done.stdout}"
    assert demos() <= before


def test_root_has_it_twice(path: str, sandbox: Path) -> None:
    for _ in range(2):
        told([str(PROJECT / "demo/run")], {**os.environ, "PATH": path})


def test_an_ordinary_user_has_it_twice(path: str, user: Path) -> None:
    for _ in range(2):
        told(as_user(user, str(PROJECT / "demo/run")), {**environment(user), "PATH": path})
