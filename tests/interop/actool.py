"""Have the specification's own `actool` at hand: found, or built with Go from the specification's sources.

The sources are not part of this project: APPC_SPEC_SOURCES names a checkout of them. Without, a built `actool`
on PATH or in .cache/bin will do.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import golang
from golang import CACHE

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
    checkout = CACHE / "gopath" / "src" / PACKAGE
    if not checkout.exists():
        shutil.copytree(sources, checkout, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    words = [golang.tool(), "build", "-o", str(BUILT), f"{PACKAGE}/actool"]
    subprocess.run(words, env=golang.environment(), cwd=checkout, check=True, capture_output=True)
