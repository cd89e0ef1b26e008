"""The images that an executor is asked to run: one static program, and what a scenario puts around it."""

from __future__ import annotations

import io
import json
import os
import tarfile

from appc.launch.seal import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PROGRAM = "/conformance"
AC_VERSION = "0.8.11"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "aarch64", "i686": "i386"}
DIRECTORY = None
"""What stands for a directory among the files of an image."""


def manifest(name: str, app: Mapping[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """Return an image manifest for this host; without an `app` the image is only for others to depend on."""
    arch = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    document: dict[str, Any] = {
        "acKind": "ImageManifest",
        "acVersion": AC_VERSION,
        "name": name,
        "labels": [
            {"name": "version", "value": "1.0.0"},
            {"name": "os", "value": "linux"},
            {"name": "arch", "value": arch},
        ],
        **fields,
    }
    if app is not None:
        document["app"] = {"user": "0", "group": "0", **app}
    return document


def write(
    path: str, document: Mapping[str, Any], files: Mapping[str, bytes | str | None], program: bool = True
) -> None:
    """Write an ACI to `path`: the manifest, the program unless it is not wanted, and `files`.

    A file's content is bytes, a link's target a string, and a directory's is DIRECTORY. Raises OSError, HostError.
    """
    entries: dict[str, bytes | str | None] = {"": DIRECTORY, **files}
    if program:
        with open(native("appc-probe"), "rb") as stream:
            entries[PROGRAM.lstrip("/")] = stream.read()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "manifest", json.dumps(document).encode(), 0o644)
        for name in sorted(entries):
            content = entries[name]
            place = f"rootfs/{name}".rstrip("/")
            if content is DIRECTORY:
                info = tarfile.TarInfo(place)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif isinstance(content, str):
                info = tarfile.TarInfo(place)
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, content, 0o777
                archive.addfile(info)
            else:
                _add(archive, place, content, 0o755 if name == PROGRAM.lstrip("/") else 0o644)


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))
