"""OCI layouts and docker archives for tests, written with the standard library alone, right or wrong in any way."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

# What an entry is: a file's content, ("dir", mode), ("link", target), ("hard", target[, mode]), ("fifo",),
# ("file", content, {header field: value}).
Entry = bytes | str | tuple[Any, ...]

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MTIME = 1_500_000_000

Entries = list[tuple[str, Entry]]


def layer(*entries: tuple[str, Entry]) -> bytes:
    """An uncompressed layer with these entries, in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, entry in entries:
            _add(archive, name, entry)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = MTIME, 0o644
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
        info.type, info.linkname = tarfile.LNKTYPE, entry[1]
        info.mode = entry[2] if len(entry) > 2 else info.mode
    elif entry[0] == "fifo":
        info.type = tarfile.FIFOTYPE
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def digest(data: bytes) -> str:
    """The SHA-256 digest of a blob."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI image layout being made: `files` maps paths to contents."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.manifests: list[dict[str, Any]] = []

    def blob(self, data: bytes | dict[str, Any], media_type: str = "", **fields: Any) -> dict[str, Any]:
        """Add a blob and return its descriptor, with `fields` added or replaced."""
        raw = json.dumps(data).encode() if isinstance(data, dict) else data
        self.files["blobs/" + digest(raw).replace(":", "/")] = raw
        return {"mediaType": media_type, "digest": digest(raw), "size": len(raw), **fields}

    def image(
        self,
        layers: list[bytes],
        config: dict[str, Any] | None = None,
        *,
        os: str = "linux",
        architecture: str = "amd64",
        compress: str = "gzip",
        **manifest: Any,
    ) -> dict[str, Any]:
        """Add an image with these (uncompressed) layers; return the descriptor of its manifest."""
        document = {
            "architecture": architecture,
            "os": os,
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        }
        packed = [gzip.compress(one, mtime=0) if compress == "gzip" else one for one in layers]
        suffix = "+gzip" if compress == "gzip" else ""
        body = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(document, CONFIG),
            "layers": [self.blob(one, LAYER + suffix) for one in packed],
            **manifest,
        }
        return self.blob(body, MANIFEST)

    def tag(self, descriptor: dict[str, Any], tag: str = "", **fields: Any) -> None:
        """Enter a manifest or index into index.json."""
        names = {"annotations": {"org.opencontainers.image.ref.name": tag}} if tag else {}
        self.manifests.append({**descriptor, **names, **fields})

    def index(self, *descriptors: dict[str, Any]) -> dict[str, Any]:
        """Add an index; return its descriptor."""
        return self.blob({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(descriptors)}, INDEX)

    def finished(self) -> dict[str, bytes]:
        """All files, index.json among them."""
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return {"index.json": json.dumps(index).encode(), **self.files}

    def write(self, path: Path) -> None:
        """Make the layout a directory."""
        write_files(path, self.finished())

    def archive(self, path: Path) -> None:
        """Make the layout an archive."""
        path.write_bytes(layer(*self.finished().items()))


def write_files(path: Path, files: dict[str, bytes]) -> None:
    """Write files below a directory."""
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def simple(path: Path, *layers: bytes, config: dict[str, Any] | None = None, tag: str = "1.0", **fields: Any) -> None:
    """A layout with one image."""
    layout = Layout()
    layout.tag(layout.image(list(layers), config, **fields), tag)
    layout.write(path)


def docker_save(
    layers: list[bytes], config: dict[str, Any] | None = None, tags: tuple[str, ...] = ("app:1.0",)
) -> dict[str, bytes]:
    """The files of a `docker save` archive with manifest.json."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
    }
    raw = json.dumps(document).encode()
    name = f"{hashlib.sha256(raw).hexdigest()}.json"
    files = {name: raw}
    paths = []
    for number, one in enumerate(layers):
        paths.append(f"{number:064x}/layer.tar")
        files[paths[-1]] = one
    files["manifest.json"] = json.dumps([{"Config": name, "RepoTags": list(tags), "Layers": paths}]).encode()
    return files


def old_docker_save(
    layers: list[bytes], config: dict[str, Any] | None = None, name: str = "app", tag: str = "1.0"
) -> dict[str, bytes]:
    """The files of a `docker save` archive from before docker 1.10."""
    files: dict[str, bytes] = {}
    parent = ""
    for number, one in enumerate(layers, 1):
        own = f"{number:064x}"
        document = {"id": own, "architecture": "amd64", "os": "linux", "created": "2015-05-18T13:49:28Z"}
        if parent:
            document["parent"] = parent
        if number == len(layers):
            document["config"] = config or {}  # type: ignore[assignment]
        files[f"{own}/json"] = json.dumps(document).encode()
        files[f"{own}/layer.tar"] = one
        files[f"{own}/VERSION"] = b"1.0"
        parent = own
    files["repositories"] = json.dumps({name: {tag: parent}}).encode()
    return files


def read_aci(path: Path) -> tuple[dict[str, Any], dict[str, tarfile.TarInfo], dict[str, bytes]]:
    """Manifest, entries and contents of an ACI, by the standard library."""
    entries: dict[str, tarfile.TarInfo] = {}
    contents: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for info in archive:
            assert info.name not in entries
            entries[info.name] = info
            if info.isfile():
                file = archive.extractfile(info)
                assert file is not None
                contents[info.name] = file.read()
    return json.loads(contents.pop("manifest")), entries, contents
