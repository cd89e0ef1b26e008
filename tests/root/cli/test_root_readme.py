"""What the README has newcomers type, typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities import need

README = Path(__file__).parents[3] / "README.md"
# Nothing of the machine's own is used: no configuration, keys, images or pods.
PLACES = """
command_line() {{ {command} --root "$PWD/root" --state "$PWD/state" --config "$PWD/config" "$@"; }}
appc() {{ command_line "$@" </dev/null; }}
mkdir config
gpg --quiet --batch --passphrase "" --quick-generate-key you@example.com ed25519 sign never
"""


@pytest.fixture
def place(sandbox: Path) -> Iterator[Path]:
    need("native", "overlay-tmp", "busybox", "gpg", "cgroup")
    home = sandbox / "gnupg"
    home.mkdir(mode=0o700)
    yield sandbox
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def test_the_first_two_minutes(place: Path) -> None:
    _, _, text = README.read_text().partition("## Two minutes\n")
    story = text.partition("Several apps in one pod")[0]
    blocks = [
        re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^ {4}.*\n)+", story, re.MULTILINE)
    ]
    assert len(blocks) == 3
    script = PLACES.format(command=f"{sys.executable} -m appc") + "set -x\n" + "\n".join(blocks)
    script = script.replace(
        "/bin/busybox hello/rootfs", f"{os.path.realpath(shutil.which('busybox') or '')} hello/rootfs"
    )
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=place,
        env={**os.environ, "GNUPGHOME": str(place / "gnupg")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("hello from hello\n", "state=running\n", "resource/memory=enforced\n"):
        assert said in done.stdout, done.stdout
    assert "warning" not in done.stderr
    assert list((place / "root/pods").glob("*/*")) == []
