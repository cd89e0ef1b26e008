"""OCI runtime bundles become ACIs: what of their configuration belongs to an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appc.cli.main import main
from oci_kit import read_aci, write_files

PROCESS = {
    "args": ["bin/server", "-v"],
    "cwd": "/srv",
    "env": ["PATH=/bin", "A=b=c"],
    "user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]},
    "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"]},
    "noNewPrivileges": True,
    "oomScoreAdj": -5,
    "apparmorProfile": "tight",
    "selinuxLabel": "u:r:t:s0:c1,c2",
}
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "process": PROCESS,
    "hooks": {
        "prestart": [{"path": "/bin/before", "args": ["before", "now"]}, {"path": "/bin/more"}],
        "poststop": [{"path": "/bin/after"}],
        "poststart": [{"path": "/bin/x"}],
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
        {"destination": "/data", "type": "bind", "source": "/host", "options": ["rbind", "ro"]},
        {"destination": "/var/lib", "type": "bind", "source": "/other"},
    ],
    "linux": {
        "resources": {
            "memory": {"limit": 67108864},
            "cpu": {"quota": 25000, "period": 100000, "shares": 512},
            "pids": {"limit": 64},
        },
    },
    "annotations": {"org.opencontainers.image.created": "2020-01-02T03:04:05Z", "k": "v"},
}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))


def converted(config: dict[str, Any], *words: str) -> dict[str, Any]:
    write_files(Path("my.bundle"), {"config.json": json.dumps(config).encode(), "rootfs/bin/server": b"x"})
    assert main(["image", "convert", "--overwrite", *words, "bundle:my.bundle", "x.aci"]) == 0
    manifest, _, contents = read_aci(Path("x.aci"))
    assert contents["rootfs/bin/server"] == b"x"
    return manifest


def test_what_belongs_to_an_image_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = converted(CONFIG, "--platform", "linux/arm64")
    assert manifest["name"] == "my.bundle"
    assert manifest["labels"] == [{"name": "os", "value": "linux"}, {"name": "arch", "value": "aarch64"}]
    assert manifest["annotations"] == [{"name": "created", "value": "2020-01-02T03:04:05Z"}]
    app = manifest["app"]
    assert app["exec"] == ["bin/server", "-v"]
    assert app["workingDirectory"] == "/srv"
    assert app["environment"] == [{"name": "PATH", "value": "/bin"}, {"name": "A", "value": "b=c"}]
    assert (app["user"], app["group"], app["supplementaryGIDs"]) == ("5", "6", [7, 8])
    assert app["eventHandlers"] == [
        {"name": "pre-start", "exec": ["/bin/before", "now"]},
        {"name": "post-stop", "exec": ["/bin/after"]},
    ]
    assert app["mountPoints"] == [
        {"name": "volume-data", "path": "/data", "readOnly": True},
        {"name": "volume-var-lib", "path": "/var/lib"},
    ]
    assert {one["name"]: one["value"] for one in app["isolators"]} == {
        "resource/cpu": {"limit": "250m"},
        "resource/memory": {"limit": "67108864"},
        "resource/pids": {"limit": "64"},
        "os/linux/cpu-shares": 512,
        "os/linux/capabilities-retain-set": {"set": ["CAP_KILL", "CAP_CHOWN"]},
        "os/linux/no-new-privileges": True,
        "os/linux/oom-score-adj": -5,
        "os/linux/apparmor-profile": {"profile": "tight"},
        "os/linux/selinux-context": {"user": "u", "role": "r", "type": "t", "level": "s0:c1,c2"},
    }
    assert app["userAnnotations"] == {"k": "v"}
    said = capsys.readouterr().err
    assert "of its 2 prestart hooks the first" in said
    assert "no place for its poststart hooks" in said


def test_a_bundle_without_process_is_an_image_to_build_on() -> None:
    manifest = converted({"ociVersion": "1.0.2", "root": {"path": "rootfs"}}, "--name", "example.com/base")
    assert manifest["name"] == "example.com/base"
    assert "app" not in manifest


def test_unlimited_resources_are_no_isolators() -> None:
    resources = {"memory": {"limit": -1}, "cpu": {"quota": -1, "period": 100000}, "pids": {"limit": -1}}
    app = converted(
        {
            **CONFIG,
            "process": {"args": ["/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "linux": {"resources": resources},
        }
    )["app"]
    assert "isolators" not in app


def test_the_root_may_be_given_absolutely_if_it_is_in_the_bundle() -> None:
    converted({**CONFIG, "root": {"path": str(Path("my.bundle/rootfs").absolute())}})
