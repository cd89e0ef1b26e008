"""What is fuzzed of conversion: OCI layouts and docker archives, whose digests chance would never get right.

An input is a tar archive of the files of a layout or archive. Where a file says `{digest:NAME}` or `{size:NAME}`, that
of the file NAME is put, and every file is a blob too; so whatever else is changed, digests and sizes still hold.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from pathlib import Path
from unittest.mock import patch

from appc.errors import ArchiveError, ImageNotFound
from appc.formats import aci, docker_archive, layer, limits, ocilayout
from appc.formats.tar import FILE, Reader
from appc.images.convert import ChangedImage, convert
from appc.schema.image import ImageManifest
from fuzz.python.sinks import LIMITS, Inside, NoThread
from oci_kit import CONFIG, INDEX, LAYER, MANIFEST
from oci_kit import layer as tar_of

MOST = 64 << 10
_MOST_TEXT = 1 << 18
WORDS = (
    b".wh.", b".wh..wh..opq", b"../", b"/", b"dev/", b"etc/passwd", b"{digest:layer-1}", b"{size:layer-1}",
    b"{digest:config}", b'"layers"', b'"manifests"', b'"config"', b'"rootfs"', b'"diff_ids"', b'"annotations"',
    b'"mediaType"', b'"platform"', b'"Volumes"', b'"ExposedPorts"', b'"Env"', b'"User"', b'"Labels"', b"null", b"[]",
    b"{}", b"-1", b"path=", b"size=", b"linkpath=", *(bytes([flag]) for flag in b"01234567SxgLK\0"),
)  # fmt: skip


def run(data: bytes) -> None:
    """Whatever can be converted becomes valid images, whole and by layers, the same whenever it is done."""
    with (
        patch.object(aci, "ReadAhead", NoThread),
        patch.object(layer, "ReadAhead", NoThread),
        patch.object(limits.DEFAULT, "size", LIMITS.size),
        patch.object(limits.DEFAULT, "entries", LIMITS.entries),
        patch.object(limits.DEFAULT, "ratio_floor", LIMITS.ratio_floor),
    ):
        source = _Source(_Files(data))
        first = _converted(source, False)
        assert _converted(source, False) == first
        _converted(source, True)


def _converted(source: _Source, layered: bool) -> list[str]:
    made: list[str] = []

    def emit(rest: int, write: object, expected: str) -> str:
        out = io.BytesIO()
        write(out)  # type: ignore[operator]
        out.seek(0)
        found = aci.read_aci(out, Inside(), LIMITS)
        ImageManifest.parse(found.manifest_bytes)
        if expected not in ("", found.image_id):
            raise ChangedImage("is another", "")
        made.append(found.image_id)
        return found.image_id

    convert(source, "", layered, emit, [])  # type: ignore[arg-type]
    assert made
    return made


class _Source:
    """Stands for `images.convert_source.Source`, without files."""

    path = "fuzzed"

    def __init__(self, files: _Files) -> None:
        docker = files.has(docker_archive.MANIFEST_FILE) or files.has(docker_archive.REPOSITORIES_FILE)
        select = docker_archive.select if docker else ocilayout.select
        self.image = select(files, "", ("linux", "amd64"), False)


class _Files:
    """The files of an input, as the `Blobs` that readers ask."""

    where = "fuzzed"

    def __init__(self, data: bytes) -> None:
        self._raw: dict[str, bytes] = {}
        for entry in Reader(io.BytesIO(data), LIMITS):
            if entry.type == FILE:
                self._raw[entry.name] = entry.read(MOST)
        self._done: dict[str, bytes] = {}
        for name in list(self._raw):
            content = self._content(name, 0)
            self._done[f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"] = content

    def _content(self, name: str, depth: int) -> bytes:
        """What a file is when all that it says of others is filled in."""
        if name in self._done:
            return self._done[name]
        content = self._raw[name]
        if depth < 6 and content[:1] in b"{[":
            for other in self._raw:
                raw = other.encode("utf-8", "surrogateescape")
                if b":" + raw + b"}" in content:
                    told = self._content(other, depth + 1)
                    digest = f"sha256:{hashlib.sha256(told).hexdigest()}".encode()
                    content = content.replace(b"{digest:%b}" % raw, digest)
                    content = content.replace(b"{size:%b}" % raw, b"%d" % len(told))
                    if len(content) > _MOST_TEXT:
                        raise ArchiveError("grows too long", name)
        self._done[name] = content
        return content

    def has(self, path: str) -> bool:
        return path in self._done

    def open(self, path: str) -> _Blob:
        if path not in self._done:
            raise ArchiveError("is missing", path)
        return _Blob(self._done[path])


class _Blob(io.BytesIO):
    @property
    def size(self) -> int:
        return len(self.getvalue())


# -- inputs to begin with ---------------------------------------------------------------------------

_CONFIG = {
    "created": "2020-01-01T00:00:00Z",
    "author": "someone",
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": "app:1",
        "ExposedPorts": {"80/tcp": {}, "8000-8010/udp": {}},
        "Env": ["A=1", "B"],
        "Entrypoint": ["/bin/app"],
        "Cmd": ["-v"],
        "Volumes": {"/var/lib/x": {}},
        "WorkingDir": "srv",
        "Labels": {"a": "b"},
        "StopSignal": "SIGTERM",
    },
    "rootfs": {"type": "layers", "diff_ids": ["{digest:layer-1}", "{digest:layer-2}", "{digest:layer-3}"]},
}
_LAYERS = {
    "layer-1": tar_of(
        ("etc", ("dir", 0o755)), ("etc/passwd", "app:x:5:6::/:/bin/sh\n"), ("lib", ("link", "usr/lib")),
        ("usr/lib", ("dir", 0o755)), ("usr/lib/a", "a"), ("usr/lib/b", ("hard", "usr/lib/a")), ("opt/x/y", "y"),
    ),
    "layer-2": tar_of(
        ("etc/.wh.passwd", ""), ("lib/c", "c"), ("opt/.wh..wh..opq", ""), ("opt/z", ("hard", "usr/lib/a")),
        ("run/pipe", ("fifo",)),
    ),
    "layer-3": tar_of(("usr/lib/.wh.a", ""), ("etc", "a file now"), ("./dev/null", ("link", "x"))),
}  # fmt: skip


def seeds() -> list[bytes]:
    """A layout, one with an index of platforms, docker archives of both ages, and an image that carries its ACI."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("config", CONFIG),
        "layers": [_descriptor(name, LAYER) for name in _LAYERS],
        "annotations": {"org.opencontainers.image.title": "x"},
    }
    layers = {name: _short(data) for name, data in _LAYERS.items()}
    common: dict[str, object] = {**layers, "config": _CONFIG, "manifest": manifest, "oci-layout": _LAYOUT}
    named = {"org.opencontainers.image.ref.name": "docker.io/library/x:1.0"}
    nested = {
        "schemaVersion": 2,
        "manifests": [
            {**_descriptor("manifest", MANIFEST), "platform": {"os": "linux", "architecture": name}}
            for name in ("arm64", "amd64")
        ],
    }
    docker = [{"Config": "config", "RepoTags": ["x:1.0"], "Layers": list(_LAYERS)}]
    old = {f"{number:064x}": name for number, name in enumerate(_LAYERS)}
    chain: dict[str, object] = {"repositories": {"x": {"1.0": list(old)[-1]}}}
    for number, (name, one) in enumerate(old.items()):
        parent = {"parent": list(old)[number - 1]} if number else {}
        chain[f"{name}/json"] = {"id": name, "os": "linux", "architecture": "amd64", "config": {}, **parent}
        chain[f"{name}/layer.tar"] = layers[one]
    return [
        _packed({**common, "index.json": {"manifests": [{**_descriptor("manifest", MANIFEST), "annotations": named}]}}),
        _packed({**common, "nested": nested, "index.json": {"manifests": [_descriptor("nested", INDEX)]}}),
        _packed({**layers, "config": _CONFIG, "manifest.json": docker}),
        _packed(chain),
        _carrying(),
    ]


_LAYOUT = {"imageLayoutVersion": "1.0.0"}


def _descriptor(name: str, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"{{digest:{name}}}", "size": f"{{size:{name}}}"}


def _packed(files: dict[str, object]) -> bytes:
    """The files as an input; sizes are numbers, so their quotes go."""
    ready = {}
    for name, content in files.items():
        if not isinstance(content, bytes):
            content = re.sub(r'"(\{size:[^}]*\})"', r"\1", json.dumps(content)).encode()
        ready[name] = content
    # Zeros at the very end would be taken for the archive's own.
    return _short(tar_of(*ready.items(), ("end", "x")))


def _short(archive: bytes) -> bytes:
    """An archive without the zeros behind its end marker, which only make it longer."""
    blocks = -(-len(archive.rstrip(b"\0")) // 512)
    return archive[: (blocks + 2) * 512]


def _carrying() -> bytes:
    """A layout that `appc image convert` made of an ACI, which becomes that ACI again."""
    import image_kit
    from appc.build.convert import How, convert_image
    from appc.store.images import ImageStore

    with tempfile.TemporaryDirectory() as place:
        app = {"exec": ["/a"], "user": "0", "group": "0"}
        image_kit.aci(Path(place, "a.aci"), {"a": "content", "d/b": ("hard", "a")}, app=app)
        how = How(("linux", "amd64"), compression="none")
        convert_image(ImageStore(f"{place}/data"), f"{place}/a.aci", f"oci:{place}/out:1", how, [])
        blobs = {path.name: path.read_bytes() for path in Path(place, "out/blobs/sha256").iterdir()}
        files = {"index.json": Path(place, "out/index.json").read_bytes(), "oci-layout": json.dumps(_LAYOUT).encode()}
    names = {digest: f"blob-{number}" for number, digest in enumerate(sorted(blobs))}
    for digest, content in blobs.items():
        files[names[digest]] = content
    for name, content in files.items():
        if content[:1] == b"{":
            for digest, other in names.items():
                size = b'"size":%d' % len(blobs[digest])
                content = content.replace(f"sha256:{digest}".encode(), b"{digest:%b}" % other.encode())
                content = content.replace(size, b'"size":{size:%b}' % other.encode())
            files[name] = content
    return _short(tar_of(*files.items()))


ALLOWED = (ArchiveError, ImageNotFound)
