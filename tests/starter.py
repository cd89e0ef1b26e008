"""Runs the command line in a Python of its own, started as the starter starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import appc

SOURCE = str(Path(appc.__file__).parent.parent)
START = f"import sys; sys.path.append({SOURCE!r}); from appc.startup import hasten; hasten({SOURCE!r})"
CODE = f"{START}; from appc.cli.main import main; sys.exit(main())"

# What the way of a launch does not import: each costs milliseconds, most of them by what they import in turn.
BANNED = {
    "_ssl",
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "copyreg",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "pickle",
    "random",
    "re",
    "secrets",
    "shutil",
    "signal",
    "site",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "typing",
    "urllib",
    "uuid",
}


def installed(base: Path) -> Path:
    """Make an installation of this source tree below `base`; return its `appc-oci`: the front, which runs Python."""
    package = Path(appc.__file__).parent
    natives = (package / "_native", Path(__file__).parents[1] / "build/native")
    packages = base / f"lib/python3.{sys.version_info.minor}/site-packages"
    packages.mkdir(parents=True)
    (packages / "appc").symlink_to(package)
    (base / "bin").mkdir()
    starter = next(path / "appc-start" for path in natives if (path / "appc-start").exists())
    return Path(shutil.copy(starter, base / "bin/appc-oci"))


def command(*words: str) -> list[str]:
    """The words that start appc with `words`."""
    return [sys.executable, "-I", "-S", "-c", CODE, *words]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run appc to its end with variables added to the environment."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
