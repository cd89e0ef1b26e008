"""Images for tests, written with the standard library's tarfile so that our own writer is not its own judge."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from pathlib import Path
from typing import Any

# A file's content, or what an entry is: ("dir", mode), ("link", target), ("hard", target), ("char", major, minor),
# ("file", content, {header field: value}).
Entry = bytes | str | tuple[Any, ...]

COMPRESS = {"none": lambda data: data, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
MTIME = 1_400_000_000


def manifest(name: str = "example.com/app", version: str = "", **fields: Any) -> bytes:
    """An image manifest; `labels` are (name, value) pairs."""
    labels = list(fields.pop("labels", ()))
    if version:
        labels.insert(0, ("version", version))
    document: dict[str, Any] = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": name}
    if labels:
        document["labels"] = [{"name": name, "value": value} for name, value in labels]
    return json.dumps({**document, **fields}).encode()


def tar(files: dict[str, Entry], manifest_bytes: bytes, parents: bool = True, manifest_first: bool = False) -> bytes:
    """The uncompressed archive; `parents` adds entries for the directories that `files` does not name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        if manifest_first:
            _add(archive, "manifest", manifest_bytes)
        _add(archive, "rootfs", ("dir", 0o755))
        seen = {"rootfs"}
        for path, entry in files.items():
            full = f"rootfs/{path}"
            above = ""
            for part in full.split("/")[:-1]:
                above = f"{above}/{part}" if above else part
                if above not in seen and parents:
                    _add(archive, above, ("dir", 0o755))
                    seen.add(above)
            seen.add(full)
            _add(archive, full, entry)
        if not manifest_first:
            _add(archive, "manifest", manifest_bytes)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = MTIME
    info.mode = 0o644
    # The owner that whoever runs the test can give.
    info.uid, info.gid = os.geteuid(), os.getegid()
    content = b""
    if isinstance(entry, str):
        entry = entry.encode()
    if isinstance(entry, bytes):
        content = entry
    elif entry[0] == "file":
        content = entry[1].encode() if isinstance(entry[1], str) else entry[1]
        for field, value in entry[2].items():
            setattr(info, field, value)
    elif entry[0] == "dir":
        info.type, info.mode = tarfile.DIRTYPE, entry[1]
    elif entry[0] == "link":
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry[1], 0o777
    elif entry[0] == "hard":
        info.type, info.linkname = tarfile.LNKTYPE, f"rootfs/{entry[1]}"
    elif entry[0] == "char":
        info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, entry[1], entry[2]
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def aci(
    path: Path,
    files: dict[str, Entry] | None = None,
    name: str = "example.com/app",
    version: str = "",
    *,
    compress: str = "gzip",
    parents: bool = True,
    manifest_first: bool = False,
    **fields: Any,
) -> str:
    """Write an image file and return its ID."""
    data = tar(files or {}, manifest(name, version, **fields), parents, manifest_first)
    path.write_bytes(COMPRESS[compress](data))
    return "sha512-" + hashlib.sha512(data).hexdigest()


def listing(directory: Path) -> list[str]:
    """Every path below a directory, to tell whether anything stayed behind."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
