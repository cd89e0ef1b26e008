"""Debian's cloud kernel for the test VM: downloaded once through apt into .cache/, never installed.

`python tests/vm/kernel.py` fetches it (a Debian or Ubuntu host with network is needed then, not later).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "vm"
_META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")  # Debian, Ubuntu


class Kernel:
    """An unpacked kernel: the image to boot and the directory its modules lie in."""

    def __init__(self, root: Path) -> None:
        (self.image,) = root.glob("boot/vmlinuz-*")
        self.release = self.image.name.removeprefix("vmlinuz-")
        (self.modules,) = (place for place in (root / "lib/modules", root / "usr/lib/modules") if place.is_dir())

    def closure(self, names: tuple[str, ...]) -> list[Path]:
        """Return the files of the modules and of all they depend on, dependencies first; built-in ones are left out."""
        base = self.modules / self.release
        files = {_module_name(file.name): file for file in base.glob("kernel/**/*.ko*")}
        ordered: list[Path] = []

        def add(name: str) -> None:
            file = files.get(name)
            if file is None or file in ordered:
                return
            for dependency in _dependencies(file):
                add(dependency)
            ordered.append(file)

        for name in names:
            add(name)
        return ordered


def _module_name(file: str) -> str:
    return file.partition(".")[0].replace("-", "_")


def _dependencies(module: Path) -> list[str]:
    """Read the `depends=` entry of a module's .modinfo section; the package itself carries no modules.dep."""
    for entry in module.read_bytes().split(b"\0"):
        if entry.startswith(b"depends="):
            return [name.replace("-", "_") for name in entry[8:].decode().split(",") if name]
    return []


def cached() -> Kernel | None:
    """Return the kernel that was fetched, or None."""
    root = CACHE / "kernel"
    return Kernel(root) if (root / "boot").is_dir() else None


def fetch() -> Kernel:
    """Return the cached kernel, downloading it first when there is none."""
    found = cached()
    if found:
        return found
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        package = _image_package()
        subprocess.run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, *_modules_package(package)],
            cwd=place,
            check=True,
        )
        for archive in Path(place).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, Path(place, "kernel")], check=True)
        Path(place, "kernel").rename(CACHE / "kernel")
    return Kernel(CACHE / "kernel")


def _image_package() -> str:
    """Ask apt which versioned package the distribution's meta package stands for."""
    for name in _META_PACKAGES:
        answer = subprocess.run(["apt-cache", "depends", name], capture_output=True, text=True, check=False).stdout
        for line in answer.splitlines():
            words = line.split()
            if words[:1] == ["Depends:"] and words[1].startswith("linux-image-"):
                return words[1]
    raise SystemExit(f"apt knows none of {', '.join(_META_PACKAGES)}: run apt-get update")


def _modules_package(image: str) -> list[str]:
    """Ubuntu keeps the modules in a package of their own."""
    name = image.replace("linux-image-", "linux-modules-")
    known = subprocess.run(["apt-cache", "show", name], capture_output=True, check=False)
    return [name] if known.returncode == 0 and known.stdout else []


if __name__ == "__main__":
    if not shutil.which("apt-get"):
        raise SystemExit("the VM's kernel comes through apt-get, which is not installed")
    sys.stdout.write(f"{fetch().image}\n")
