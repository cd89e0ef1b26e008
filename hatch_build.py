"""Build hook: compiles native/ with its own Makefile and puts the results where pip installs them.

The programs that appc starts go into the package as `appc/_native/`, the starter becomes the scripts `appc` and
`appc-oci`, and manual pages and completions, made from the option tables, go below share/. A static program serves
every Python version, so the wheel is tagged by architecture alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The probe is what `appc conformance` runs in pods.
PROGRAMS = ("appc-init", "appc-keep", "appc-probe")
STARTER = "appc-start"
RUNTIME = "appc-oci"


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds what is not Python to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell hatchling about the results (`version` is "standard" or "editable")."""
        if self.target_name != "wheel":
            return
        output = os.path.join(self.root, "build", "native")
        make = shutil.which("make")
        if make is None or not (shutil.which("cc") or shutil.which("gcc") or shutil.which("musl-gcc")):
            raise SystemExit("appc needs make and a C compiler to be built: apt-get install make gcc musl-tools")
        # No -Werror: a compiler newer than this source must not stop an installation.
        command = [make, "--no-print-directory", "-C", os.path.join(self.root, "native")]
        subprocess.run([*command, f"OUT={output}", "WARNINGS=-Wall -Wextra"], check=True)
        for name in PROGRAMS:
            build_data["force_include"][os.path.join(output, name)] = f"appc/_native/{name}"
        # One program: by its name it knows which command it is.
        runtime = shutil.copy(os.path.join(output, STARTER), os.path.join(output, RUNTIME))
        build_data["shared_scripts"] = {os.path.join(output, STARTER): "appc", runtime: RUNTIME}
        build_data["shared_data"] = self._documents()
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def _documents(self) -> dict[str, str]:
        """Write manual pages and completions below build/share and return where each is installed."""
        share = os.path.join(self.root, "build", "share")
        shutil.rmtree(share, ignore_errors=True)
        subprocess.run([sys.executable, os.path.join(self.root, "tools", "manual.py"), "--share", share], check=True)
        documents = {}
        for directory, _, names in os.walk(share):
            for name in names:
                path = os.path.join(directory, name)
                documents[path] = os.path.join("share", os.path.relpath(path, share))
        return documents
