"""The command line as an ordinary user, who is made for a test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pod_kit import PATIENCE, PROBE, Appc, Done, base_files, one_app

import image_kit
from capabilities import need
from user_kit import as_user, environment, make_user


class User(Appc):
    """The command line of a user whose home is below `base`."""

    def __init__(self, base: Path, ranges: str) -> None:
        make_user(base, ranges)
        super().__init__(base)
        self.home = base / "home"
        self.root = self.home / "data/appc"
        self.instead: dict[str, str] = {}

    def words(self, *words: str) -> list[str]:
        main = str(self.package / "__main__.py")
        appc = (self.python, "-I", "-S", main, "--config", str(self.config))
        return as_user(self.base, *appc, *words, instead=self.instead)

    def __call__(self, *words: str, env: Any = None, **options: Any) -> Done:
        done = subprocess.run(
            self.words(*words),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment(self.base),
            check=False,
            **options,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def clear(self) -> None:
        """End and remove every pod, as the user: what root makes is not the user's."""
        for pod in self.pods():
            if pod.locked():
                self("kill", pod.uuid)
                self("status", "--wait", pod.uuid)
            self("rm", pod.uuid)


U = TypeVar("U", bound=User)


def made(ranges: str, kind: type[U]) -> Iterator[U]:
    """A user, of a class `kind`, who has the image PROBE; `ranges` are its lines of /etc/subuid and /etc/subgid."""
    need("root", "native", "overlay-tmp", "busybox", "ordinary-user")
    base = Path(tempfile.mkdtemp(prefix="rootless"))
    user = kind(base, ranges)
    image_kit.aci(base / "probe.aci", base_files(), PROBE, compress="none", app=one_app())
    done = user("fetch", "--insecure", "image", str(base / "probe.aci"))
    assert done.status == 0, done
    yield user
    user.clear()
    shutil.rmtree(base)
