"""`appc image patch` beside actool's patch-manifest: the same edits make the same manifests, and the same archives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

import image_kit
from appc.cli.main import main
from interop.actool import find

APP = {
    "exec": ["/bin/app"], "user": "0", "group": "0",
    "mountPoints": [{"name": "old", "path": "/old"}],
    "isolators": [{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}}],
}  # fmt: skip


@pytest.fixture
def actool() -> str:
    path, reason = find()
    if not path:
        pytest.skip(reason)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files: dict[str, image_kit.Entry] = {
        "bin/app": ("file", b"app" * 999, {"mode": 0o4755, "uname": "somebody"}), "bin/l": ("link", "app"),
        "bin/h": ("hard", "bin/app"), "d" * 120: "long name",
    }  # fmt: skip
    image_kit.aci(tmp_path / "in.aci", files, app=APP)
    return tmp_path


def plain(value: Any) -> Any:
    """A manifest without what Go writes although it is empty, such as `"labels": null`."""
    if isinstance(value, dict):
        found = {key: plain(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, [], {}, "", False)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def described(path: Path) -> tuple[dict[str, Any], list[object]]:
    """An image's manifest, and its other entries in their order."""
    entries: list[object] = []
    manifest = {}
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            data = content.read() if content is not None else b""
            if member.name == "manifest":
                manifest = json.loads(data)
                continue
            fields = (member.name, member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname)
            entries.append((*fields, hashlib.sha256(data).hexdigest()))
    return manifest, entries


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (["--name=example.com/new"], ["--name", "example.com/new"]),
        (["--exec=/bin/sh -c x", "--user=1", "--group=2"], ["--exec", "/bin/sh -c x", "--user", "1", "--group", "2"]),
        (["--mounts=data,path=/data,readOnly=true"], ["--mount", "data,path=/data,readOnly=true"]),
        (
            ["--ports=http,protocol=tcp,port=80:dns,protocol=udp,port=53,count=2"],
            ["--port", "http,protocol=tcp,port=80", "--port", "dns,protocol=udp,port=53,count=2"],
        ),
        (
            ["--isolators=resource/cpu,request=50m,limit=100m"],
            ["--isolator", "resource/cpu,request=50m,limit=100m"],
        ),
        (["--capability=CAP_CHOWN,CAP_FOWNER"], ["--caps-retain", "CAP_CHOWN,CAP_FOWNER"]),
        (
            ["--seccomp-mode=remove,errno=EPERM", "--seccomp-set=reboot,swapon"],
            ["--seccomp", "mode=remove,errno=EPERM,reboot,swapon"],
        ),
        (["--supplementary-groups=10,20"], ["--supplementary-gids", "10,20"]),
    ],
    ids=lambda words: words[0].partition("=")[0],
)
def test_the_same_edit_makes_the_same_image(actool: str, place: Path, theirs: list[str], ours: list[str]) -> None:
    subprocess.run([actool, "patch-manifest", *theirs, "in.aci", "theirs.aci"], check=True, capture_output=True)
    assert main(["image", "patch", "in.aci", "ours.aci", *ours]) == 0
    (their_manifest, their_entries), (our_manifest, our_entries) = (
        described(place / "theirs.aci"),
        described(place / "ours.aci"),
    )
    assert our_entries == their_entries == described(place / "in.aci")[1]

    def unordered(manifest: dict[str, Any]) -> dict[str, Any]:
        # actool moves what it replaces to the end.
        app = plain(manifest)["app"]
        isolators = sorted(app.pop("isolators", []), key=lambda one: str(one["name"]))
        return {**plain(manifest), "app": app, "isolators": isolators}

    assert unordered(our_manifest) == unordered(their_manifest)


def test_actool_accepts_what_was_patched(actool: str, place: Path) -> None:
    words = [
        "--label", "version=2", "--env", "A=1", "--handler", "pre-start=/x", "--dependency", "example.com/b:1",
        "--path-whitelist", "/bin/app", "--annotation", "homepage=https://example.com", "--working-dir", "/",
        "--user-label", "tier=web",
    ]  # fmt: skip
    assert main(["image", "patch", "in.aci", "ours.aci", *words]) == 0
    done = subprocess.run([actool, "--debug", "validate", "ours.aci"], capture_output=True, text=True, check=False)
    assert (done.returncode, "valid app container image" in done.stderr) == (0, True), done
