"""A repository of small Debian packages, and a sources.list that names it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

PASSWD = "root:*:0:0:root:/root:/bin/bash\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n"
GROUP = "root:*:0:\nwww-data:*:33:\n"


class Repository:
    """Packages in `directory`; `sources` is the file for --sources once `index` was called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sources = directory / "sources.list"
        self._packages: list[str] = []
        directory.mkdir()
        masters = {"usr/share/base-passwd/passwd.master": PASSWD, "usr/share/base-passwd/group.master": GROUP}
        self.add("base-passwd", "3.6", masters)

    def add(
        self,
        name: str,
        version: str,
        files: dict[str, str],
        depends: str = "",
        links: dict[str, str] | None = None,
        postinst: str = "",
    ) -> None:
        """Build a package of `files` and symbolic `links` (path to content or target)."""
        tree = self.directory / "trees" / f"{name}_{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.com>\n"
        control += f"Depends: {depends}\n" if depends else ""
        control += "Description: a test\n"
        (tree / "DEBIAN/control").write_text(control)
        if postinst:
            (tree / "DEBIAN/postinst").write_text(postinst)
            (tree / "DEBIAN/postinst").chmod(0o755)
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
            (tree / path).chmod(0o755 if "bin/" in path else 0o644)
        for path, target in (links or {}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).symlink_to(target)
        for path in (*tree.rglob("*"), tree):
            os.utime(path, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
        deb = self.directory / f"{name}_{version}_all.deb"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1500000000"}
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        data = deb.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self._packages.append(f"{control}Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n")

    def index(self, trusted: bool = True) -> Path:
        """Write the list of packages; return the sources file, which trusts it without a signature if so asked."""
        (self.directory / "Packages").write_text("\n".join(self._packages))
        mark = "[trusted=yes] " if trusted else ""
        self.sources.write_text(f"deb {mark}copy:{self.directory} ./\n")
        return self.sources
