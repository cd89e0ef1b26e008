"""Lay out the demo's two images from programs of this machine: package.py redis|counter LAYOUT.

An image gets a program, the shared libraries it needs – those the dynamic linker names, and theirs –
and the ELF interpreter; nothing else of the system it came from. $LIBRARIES holds further programs
and libraries, unpacked from packages that are not installed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
ARCHITECTURES = {"x86_64": "amd64", "i686": "i386", "aarch64": "aarch64", "armv7l": "armv7l", "ppc64le": "ppc64le"}

# Of the standard library, what a program without a terminal, a database or a test suite does not need.
NOT_NEEDED = shutil.ignore_patterns(
    *("__pycache__", "test", "tests", "idlelib", "tkinter", "turtle*", "lib2to3", "ensurepip", "pydoc_data"),
    *("config-*", "dist-packages", "site-packages", "distutils", "sitecustomize.py", "LICENSE.txt"),
    *(f"{module}.*.so" for module in ("_curses*", "_dbm", "_gdbm", "_tkinter", "_sqlite3", "nis", "readline")),
    *("_test*.so", "xx*.so", "_ctypes*.so", "_crypt.*.so", "_codecs_*.so", "audioop.*.so", "ossaudiodev.*.so"),
)


class Tree:
    """A root file system in the making: files come in under the paths they have on this machine."""

    def __init__(self, root: Path, unpacked: Path | None) -> None:
        self.root = root
        self.unpacked = unpacked

    def add(self, path: str, source: str = "") -> None:
        """Copy the file `source` (itself when not given) to `path` in the tree, with what it links to."""
        top = path.split("/")[1]
        if os.path.islink(f"/{top}") and not self.root.joinpath(top).is_symlink():
            self.root.joinpath(top).symlink_to(os.readlink(f"/{top}"))
        inside = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        target = self.root / inside.lstrip("/")
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source or path, target)
        for library, where in self._libraries(source or path):
            self.add(library, where)

    def add_library(self, path: str) -> None:
        """Copy a Python library directory with what its extension modules link to."""
        shutil.copytree(path, self.root / path.lstrip("/"), ignore=NOT_NEEDED, symlinks=False)
        for module in (self.root / path.lstrip("/")).rglob("*.so"):
            for library, where in self._libraries(str(module)):
                self.add(library, where)

    def find(self, path: str) -> str:
        """Return where `path` lies on this machine: unpacked, or installed."""
        unpacked = f"{self.unpacked}{path}" if self.unpacked else ""
        return unpacked if os.path.exists(unpacked) else path

    def _libraries(self, program: str) -> list[tuple[str, str]]:
        """Ask the dynamic linker what `program` needs; return each library's path in the image and here."""
        environment = {**os.environ, "LC_ALL": "C"}
        prefix = str(self.unpacked) if self.unpacked else "\0"
        if self.unpacked:
            directories = {str(path.parent) for path in self.unpacked.rglob("*.so*")}
            environment["LD_LIBRARY_PATH"] = ":".join(sorted(directories))
        done = subprocess.run(["ldd", program], capture_output=True, text=True, env=environment, check=False)
        if "not found" in done.stdout:
            sys.exit(f"{program}: a library is missing\n{done.stdout}")
        paths = re.findall(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)", done.stdout)
        return [(path.removeprefix(prefix), path) for path in paths]


def redis(tree: Tree) -> str:
    """Add redis-server; return its version."""
    server = tree.find("/usr/bin/redis-server")
    tree.add("/usr/bin/redis-server", server)
    directories = [str(path.parent) for path in tree.unpacked.rglob("*.so*")] if tree.unpacked else []
    done = subprocess.run(
        [server, "--version"],
        capture_output=True,
        text=True,
        env={"LD_LIBRARY_PATH": ":".join(directories)},
        check=True,
    )
    return re.findall(r"v=([0-9.]+)", done.stdout)[0]


def counter(tree: Tree) -> str:
    """Add the web application and the interpreter it runs on; return the application's version."""
    tree.add("/usr/bin/python3", os.path.realpath(sys.executable))
    for library in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        tree.add_library(library)
    app = tree.root / "app"
    app.mkdir()
    for name in ("counter.py", "metadata.py"):
        shutil.copy(HERE / "counter" / name, app)
    return "1.0.0"


def main(name: str, layout: str) -> None:
    """Make the image layout: a manifest and a rootfs."""
    rootfs = Path(layout, "rootfs")
    rootfs.mkdir(parents=True)
    unpacked = os.environ.get("LIBRARIES")
    version = {"redis": redis, "counter": counter}[name](Tree(rootfs, Path(unpacked) if unpacked else None))
    manifest = (HERE / name / "manifest.json").read_text()
    arch = ARCHITECTURES.get(platform.machine(), platform.machine())
    Path(layout, "manifest").write_text(manifest.replace("@VERSION@", version).replace("@ARCH@", arch))


if __name__ == "__main__":
    main(*sys.argv[1:])
