"""podman with everything of its below one directory, which starts its containers with our runtime."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine_kit import PATIENCE, SHORT, run, write_root, write_runtime

from capabilities import need

# This machine may lack what raises limits, and podman's default does.
COMMON = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
# For what takes no --ulimit.
CONFIG = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
"""


class Podman:
    """podman with an image `box`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        runtime = write_runtime(base / "appc-oci")
        (base / "containers.conf").write_text(CONFIG)
        self._words = [
            # conmon leaves files in the working directory.
            *("env", f"--chdir={base}", f"CONTAINERS_CONF={base}/containers.conf", "podman"),
            *("--root", str(base / "root"), "--runroot", str(base / "run"), "--tmpdir", str(base / "tmp")),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("--runtime", str(runtime)),
        ]
        self("import", f"{write_root(base / 'rootfs')}.tar", "box")

    def words(self, *words: str) -> list[str]:
        """The argument vector of a command."""
        return [*self._words, *words]

    def __call__(self, *words: str, tty: bool = False, fails: int | None = 0, ranges: Path | None = None) -> str:
        """Run podman; with `ranges` in the place of /etc/subuid and subgid, for itself."""
        command = self.words(*words)
        if ranges is not None:
            script = f'mount --bind {ranges} /etc/subuid; mount --bind {ranges} /etc/subgid; exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        return run(command, tty=tty, fails=fails)

    def start(self, name: str, *words: str, options: tuple[str, ...] = ()) -> None:
        """Start a detached container."""
        self("run", "--detach", "--name", name, *COMMON, *options, "box", *words)

    def clear(self) -> None:
        """Remove all pods and containers, as often as it takes: podman's own cleaning up may be at it, too."""
        deadline = time.monotonic() + PATIENCE
        while self("ps", "--all", "--quiet", "--external") or self("pod", "ps", "--quiet"):
            assert time.monotonic() < deadline
            self("pod", "rm", "--all", "--force", "--time", "0", fails=None)
            self("rm", "--all", "--force", "--time", "0", fails=None)


@contextmanager
def a_podman() -> Iterator[Podman]:
    """A podman of the tests' own, without a container left when it ends."""
    need("root", "native", "cgroup", "busybox", "podman", "conmon", "script")
    base = Path(tempfile.mkdtemp(prefix="p", dir=SHORT))
    # podman itself walks here as the root of a user namespace.
    base.chmod(0o711)
    made = Podman(base)
    try:
        yield made
    finally:
        made.clear()
        made("rmi", "--all", "--force", fails=None)
        shutil.rmtree(base, ignore_errors=True)
