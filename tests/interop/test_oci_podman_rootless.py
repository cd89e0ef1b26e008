"""podman of an ordinary user, which starts its containers with our runtime in a user namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import PATIENCE, SHORT, write_root, write_runtime

from capabilities import need
from user_kit import FIRST, UID, as_user, environment, make_user

pytestmark = pytest.mark.slow

COMMON = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


class Podman:
    """podman with an image `box`, all of its files below the user's home."""

    def __init__(self, base: Path) -> None:
        self._base = base
        make_user(base)
        runtime = write_runtime(base / "appc-oci")
        home = base / "home"
        self.states = base / "runtime/appc/oci"
        self._words = [
            *("podman", "--root", str(home / "root"), "--runroot", str(home / "run"), "--tmpdir", str(home / "tmp")),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("--runtime", str(runtime)),
        ]
        self("import", f"{write_root(base / 'rootfs')}.tar", "box")

    def __call__(self, *words: str, fails: int | None = 0) -> str:
        done = subprocess.run(
            as_user(self._base, *self._words, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            env=environment(self._base),
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        assert fails is None or done.returncode == fails, said
        return said


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    need("root", "native", "busybox", "podman", "conmon", "ordinary-user")
    base = Path(tempfile.mkdtemp(prefix="r", dir=SHORT))
    made = Podman(base)
    yield made
    made("rm", "--all", "--force", "--time", "0", fails=None)
    made("rmi", "--all", "--force", fails=None)
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize(
    ("options", "user", "mapping"),
    [
        ((), "uid=0 gid=0", ["0", str(UID), "1"]),
        (("--userns", "keep-id"), f"uid={UID}(tester) gid={UID}(tester)", ["0", "1", str(UID)]),
        (("--userns", "nomap"), "uid=0 gid=0", ["0", "1"]),
        (("--uidmap", "0:1:1000"), "uid=0 gid=0", ["0", "1", "1000"]),
    ],
)
def test_user_namespaces(podman: Podman, options: tuple[str, ...], user: str, mapping: list[str]) -> None:
    said = podman(
        "run", "--rm", *COMMON, *options, "box", "/bin/sh", "-c", "id; cat /proc/self/uid_map; exit 3", fails=3
    )
    assert said.startswith(user)
    assert said.splitlines()[1].split()[: len(mapping)] == mapping


def test_a_detached_container_is_entered_and_killed(podman: Podman) -> None:
    podman("run", "--detach", "--name", "long", *COMMON, "box", "/bin/sleep", "1000")
    said = podman("exec", "--user", "7", "long", "/bin/sh", "-c", "id; cat /proc/self/uid_map")
    assert said.startswith("uid=7")
    assert str(FIRST) in said
    # What is kept about it is the user's, since /run is not.
    assert [path.name for path in podman.states.iterdir()] == [podman("inspect", "--format", "{{.Id}}", "long").strip()]
    podman("kill", "long")
    assert podman("wait", "long") == "137\n"
    podman("rm", "long")
