"""The readers of foreign bytes, each with what must hold of everything they accept."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from functools import cache
from unittest.mock import patch

from appc.errors import AppcError, ArchiveError, InvalidValue, LaunchError, ManifestError, NetworkError
from appc.formats import aci, acipatch, compress, openpgp
from appc.formats.tar import Entry, Reader
from appc.formats.tarlog import TarLog, replay
from appc.net import challenges, tokens
from appc.plan.ops import Op, Plan, Track
from appc.plan.wire import encode
from appc.plan.wire_read import decode
from appc.schema.cdi import Spec
from appc.schema.image import ImageManifest
from appc.schema.oci_image import Index
from appc.schema.pod import PodManifest
from appc.schema.registry import RegistryReference
from appc.values import Digest
from fuzz.python import fetching, hosting, oci
from fuzz.python.engine import Target
from fuzz.python.sinks import LIMITS, Inside, NoThread
from hostile.corpus import cases
from hostile.tarbuild import MANIFEST, file, image

_TAR_WORDS = (
    b"../", b"..", b"/", b"./", b"rootfs/", b"rootfs", b"manifest", b"ustar\x0000", b"ustar  \0", b"tar\0", bytes(512),
    b"path=", b"linkpath=", b"size=", b"mtime=-1.5", b"uid=", b"SCHILY.xattr.user.a=", b"LIBARCHIVE.xattr.",
    b"GNU.sparse.map=0,1", b"GNU.sparse.major=1", b"GNU.sparse.size=", b"GNU.sparse.realsize=",
    b"GNU.sparse.offset=", b"GNU.sparse.numbytes=",
    b"\x80\0\0\0", b"\xff\xff\xff\xff", *(bytes([flag]) for flag in b"01234567SxXgLKVMDN\0"),
)  # fmt: skip


@cache
def targets() -> dict[str, Target]:
    """All of them, by name."""
    plain = [case.data for case in cases() if compress.detect(case.data) == "tar"]
    return {
        "tar": Target(_tar, (ArchiveError,), plain, words=_TAR_WORDS, repair=repair, unit=512),
        "aci": Target(_aci, (ArchiveError,), plain, words=_TAR_WORDS, repair=repair, unit=512),
        "patch": Target(_patch, (ArchiveError,), plain, words=_TAR_WORDS, repair=repair, unit=512),
        "oci": Target(oci.run, oci.ALLOWED, oci.seeds(), words=oci.WORDS, repair=repair, unit=512, most=oci.MOST),
        "openpgp": Target(_openpgp, (), [b"\x8c\x0d\x04\x09\x03\x0a" + bytes(9) + b"\xd2\xff\0\0\x04\0\x01"]),
        "compress": Target(_compress, (ArchiveError,), [case.data for case in cases()]),
        "tarlog": Target(_tarlog, (ArchiveError,), [_log(image(file(b"rootfs/a")))]),
        "image-manifest": _manifest(ImageManifest.parse, MANIFEST, _IMAGE),
        "pod-manifest": _manifest(PodManifest.parse, _POD),
        "cdi": _manifest(Spec.parse, _CDI),
        "challenges": Target(_challenges, (InvalidValue,), _CHALLENGES, words=(b'="', b'", ', b"\\", b"Basic ", b"==")),
        "registry-index": Target(_registry_index, (ManifestError,), [_INDEX], words=(b'"digest":', b'"manifests":[')),
        "registry-token": Target(_registry_token, (NetworkError,), [b'{"token":"a.b-c","expires_in":300}']),
        "registry-reference": Target(_registry_reference, (InvalidValue,), [b"r.io:5000/a/b__c:1@sha256:" + b"0" * 64]),
        "hosting": Target(hosting.run, hosting.ALLOWED, hosting.SEEDS, words=hosting.WORDS),
        **fetching.TARGETS,
        "plan": Target(_plan, (LaunchError,), [encode(_PLAN), encode(Plan([], {}))]),
    }


def repair(data: bytearray) -> None:
    """Give every block that looks like a header the checksum it should have."""
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % (sum(data[at : at + 512]) & 0o777777)


def _tar(data: bytes) -> None:
    """Whatever is accepted has sensible values, and content of the length it says."""
    for entry in Reader(io.BytesIO(data), LIMITS):
        length = sum(len(chunk) for chunk in entry.chunks())
        assert length == entry.size, "content of another length"
        assert 0 <= entry.mode <= 0o7777
        assert 0 <= entry.uid < (1 << 32) - 1
        assert 0 <= entry.gid < (1 << 32) - 1
        assert abs(entry.mtime_ns) < 1 << 63
        assert entry.name
        assert "\0" not in entry.name + entry.linkname
        entry.name.encode("utf-8", "surrogateescape")


def _aci(data: bytes) -> None:
    with patch.object(aci, "ReadAhead", NoThread):
        found = aci.read_aci(io.BytesIO(data), Inside(), LIMITS)
    assert found.size == len(data)
    assert found.image_id == "sha512-" + hashlib.sha512(data).hexdigest()


class _Contents:
    """A sink that remembers what came by, the manifest aside."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def entry(self, entry: Entry) -> None:
        fields = (
            entry.name,
            entry.type,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime_ns,
            entry.linkname,
            entry.sparse,
        )
        self.seen.append((*fields, entry.xattrs, entry.pax, b"".join(entry.chunks())))


def _patch(data: bytes) -> None:
    """What can be read can be patched, and reads as before but for the manifest."""
    new = b'{"another": "' + b"x" * 700 + b'"}'
    with patch.object(aci, "ReadAhead", NoThread):
        before, after, out = _Contents(), _Contents(), io.BytesIO()
        aci.read_aci(io.BytesIO(data), before, LIMITS)
        made = acipatch.patch_aci(io.BytesIO(data), out, lambda _: new, compression="none", limits=LIMITS)
        read = aci.read_aci(io.BytesIO(out.getvalue()), after, LIMITS)
    assert read.manifest_bytes == new
    assert (read.image_id, read.size) == (made.image_id, made.size)
    assert after.seen == before.seen


def _openpgp(data: bytes) -> None:
    openpgp.is_message(data)
    assert all(0 <= tag < 64 and 0 <= version < 256 for tag, version in openpgp.packets(data))


def _compress(data: bytes) -> None:
    reader = compress.reader(io.BytesIO(data), LIMITS)
    while reader.read(1 << 16):
        assert reader.produced <= max(LIMITS.ratio_floor, LIMITS.ratio * reader.consumed) + (1 << 16)


def _log(data: bytes) -> bytes:
    out = io.BytesIO()
    aci.read_aci(io.BytesIO(data), log=TarLog(out))
    return out.getvalue()


def _tarlog(data: bytes) -> None:
    for _ in replay(io.BytesIO(data), lambda _: io.BytesIO(b"content\n")):
        pass


def _manifest(parse: Callable[[bytes], object], *seeds: bytes) -> Target:
    words = {
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"-1",
        b"1e400",
        b"\\ud800",
        b"\xff",
        b'"acKind"',
        b"18446744073709551616",
    }
    for seed in seeds:
        words |= {json.dumps(word).encode() for word in _strings(json.loads(seed))}

    def run(data: bytes) -> None:
        first = parse(data)
        again = first.to_dict()  # type: ignore[attr-defined]
        assert parse(json.dumps(again).encode()).to_dict() == again  # type: ignore[attr-defined]

    return Target(run, (AppcError,), seeds, words=sorted(words))


def _strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {text for child in value.values() for text in _strings(child)}
    if isinstance(value, list):
        return {text for child in value for text in _strings(child)}
    return {value} if isinstance(value, str) else set()


def _plan(data: bytes) -> None:
    """What is accepted is encoded to the same bytes again."""
    assert encode(decode(data)) == data


_PLAN = Plan(
    [
        Track("keeper", [Op("app", "web", "app web", "null", "log", "log", "logs/web.log", "", source="apps[0]")]),
        Track("app web", [Op("exec", ("/bin/x",), ("x", "-v"), ("A=b",), source="process.args")]),
    ],
    {"cgroup": "v2"},
)
_IMAGE = json.dumps(
    {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/reduce-worker",
        "labels": [
            {"name": "version", "value": "1.0.0"},
            {"name": "arch", "value": "amd64"},
            {"name": "os", "value": "linux"},
        ],
        "app": {
            "exec": ["/usr/bin/reduce-worker", "--quiet"],
            "user": "100",
            "group": "300",
            "supplementaryGIDs": [400, 500],
            "eventHandlers": [{"exec": ["/usr/bin/x"], "name": "pre-start"}],
            "workingDirectory": "/opt/work",
            "environment": [{"name": "A", "value": "true"}],
            "isolators": [
                {"name": "resource/cpu", "value": {"request": "250m", "limit": "500m"}},
                {"name": "resource/memory", "value": {"request": "1G", "limit": "2Gi"}},
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_NET_BIND_SERVICE"]}},
                {"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"], "errno": "EPERM"}},
                {"name": "os/linux/no-new-privileges", "value": True},
            ],
            "mountPoints": [{"name": "work", "path": "/opt/work", "readOnly": False}],
            "ports": [{"name": "health", "port": 4000, "protocol": "tcp", "socketActivated": True, "count": 2}],
        },
        "dependencies": [
            {"imageName": "example.com/base", "imageID": "sha512-" + "a" * 128, "labels": [], "size": 22017258}
        ],
        "pathWhitelist": ["/etc/ca/example.com/crt"],
        "annotations": [{"name": "created", "value": "2014-10-27T19:32:27.67021798Z"}],
    }
).encode()
_CDI = json.dumps(
    {
        "cdiVersion": "1.0.0",
        "kind": "vendor.com/class",
        "containerEdits": {"env": ["A=1"], "hooks": []},
        "devices": [
            {
                "name": "one",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/a", "hostPath": "/dev/b", "type": "c", "major": 1, "minor": 2}],
                    "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro"], "type": "bind"}],
                    "additionalGids": [1],
                },
            }
        ],
    }
).encode()
_POD = json.dumps(
    {
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [
            {
                "name": "reduce-worker",
                "image": {
                    "name": "example.com/r",
                    "id": "sha512-" + "b" * 128,
                    "labels": [{"name": "version", "value": "1"}],
                },
                "app": {"exec": ["/bin/r"], "user": "0", "group": "0", "mountPoints": [{"name": "w", "path": "/w"}]},
                "mounts": [{"volume": "worklib", "path": "/w", "appVolume": {"name": "v", "kind": "empty"}}],
                "readOnlyRootFS": True,
            }
        ],
        "volumes": [
            {"name": "worklib", "kind": "host", "source": "/opt/work", "readOnly": True, "recursive": True},
            {"name": "buildoutput", "kind": "empty", "mode": "0755", "uid": 0, "gid": 0},
        ],
        "isolators": [{"name": "resource/memory", "value": {"limit": "4G"}}],
        "annotations": [{"name": "ip-address", "value": "10.1.2.3"}],
        "ports": [{"name": "ftp", "hostPort": 2121, "hostIP": "10.0.0.1"}],
        "userAnnotations": {"a": "b"},
        "userLabels": {"c": "d"},
    }
).encode()


_CHALLENGES = [
    b'Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"',
    b'Basic realm="a \\"b\\"", Negotiate dGVzdA==',
]


def _challenges(data: bytes) -> None:
    """What is accepted has schemes that are tokens, and parameters within the limits."""
    for one in challenges.parse([data.decode("latin-1")]):
        assert one.scheme
        assert one.scheme == one.scheme.lower()
        assert len(one.parameters) <= challenges.MAX_PARAMETERS


def _registry_reference(data: bytes) -> None:
    """What is accepted is canonical, and nothing in it means anything in a URL."""
    found = RegistryReference.parse(data.decode("latin-1"))
    assert str(RegistryReference.parse(str(found))) == str(found)
    assert not set(f"{found.repository}{found.tag}") & set(" ?#%@\n\\")


_INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "sha256:" + "0" * 64,
                "size": 7,
                "artifactType": "application/x",
                "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
            }
        ],
    }
).encode()


def _registry_index(data: bytes) -> None:
    """What is accepted leads to digests, of sizes that are sizes."""
    for one in Index.parse(data).manifests:
        assert Digest.parse(one.digest) == one.digest
        assert one.size >= 0


def _registry_token(data: bytes) -> None:
    """What is accepted fits into one line of a header."""
    token, lifetime = tokens._read(data, "fuzz")
    assert token.isprintable()
    assert token.isascii()
    assert " " not in token
    assert len(token) <= tokens.MAX_TOKEN
    assert lifetime > 0
