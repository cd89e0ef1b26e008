"""A pod that checks its surroundings from inside, as the specification's validator does, and more closely."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from capabilities import need

HERE = Path(__file__).parent
ARCH = {"x86_64": "amd64", "aarch64": "aarch64"}.get(platform.machine(), platform.machine())
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ANNOTATIONS = [{"name": "authors", "value": "Carly"}, {"name": "lorem", "value": "ipsum"}]


def image(directory: Path, name: str, **app: Any) -> Path:
    """Build an image with busybox and the script."""
    layout = directory / name
    rootfs = layout / "rootfs"
    (rootfs / "opt" / "work").mkdir(parents=True)
    (rootfs / "bin").mkdir()
    shutil.copy2("/bin/busybox", rootfs / "busybox")
    for applet in ("sh", "cat", "env", "mkdir", "nc", "sed", "sleep", "tail", "timeout"):
        (rootfs / "bin" / applet).symlink_to("/busybox")
    shutil.copy(HERE / "conformance_app.sh", rootfs / "check")
    (rootfs / "check").chmod(0o755)
    manifest = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": f"example.com/conformance/{name}",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": ARCH}],
        "app": {
            "exec": ["/check", name],
            "user": "0",
            "group": "0",
            "mountPoints": [{"name": "database", "path": "/db"}],
            **app,
        },
        "annotations": ANNOTATIONS,
    }
    (layout / "manifest").write_text(json.dumps(manifest, indent=2))
    appc("image", "build", str(layout), str(directory / f"{name}.aci"))
    return directory / f"{name}.aci"


def appc(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "appc", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Answer:
    """One answer of the metadata service, as it came over the wire."""

    def __init__(self, path: Path) -> None:
        head, _, self.body = path.read_bytes().partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        self.status = int(line.split(" ")[1])
        self.fields = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}


@pytest.fixture(params=["none", "host"])
def database(request: pytest.FixtureRequest, sandbox: Path) -> Path:
    """Run the pod on either network; return the volume with what it found, and the pod's output in `said`."""
    need("busybox")
    main = image(
        sandbox,
        "main",
        workingDirectory="/opt/work",
        environment=[{"name": "IN_POD", "value": "correct"}],
        eventHandlers=[
            {"name": "pre-start", "exec": ["/check", "prestart"]},
            {"name": "post-stop", "exec": ["/check", "poststop"]},
        ],
        isolators=[{"name": "resource/memory", "value": {"limit": "1G"}}],
    )
    sidekick = image(sandbox, "sidekick")
    shared = sandbox / "shared"
    shared.mkdir()
    directories = ("--root", str(sandbox / "root"), "--state", str(sandbox / "state"))
    uuid = sandbox / "uuid"
    appc(
        *(*directories, "run", "--insecure", "image", "--net", request.param, "--uuid-file-save", str(uuid)),
        *("--volume", f"database,kind=host,source={shared}", "--annotation", "ip-address=10.1.2.3"),
        *(str(main), "--annotation", "lorem=dolor", "--annotation", "example.com/new=1", "---", str(sidekick)),
    )
    (shared / "said").write_text(appc(*directories, "logs", uuid.read_text().strip()).stdout)
    appc(*directories, "gc", "--grace-period", "0s")
    return shared


def test_the_pod_is_as_the_specification_says(database: Path) -> None:
    said = (database / "said").read_text()
    assert [said.count(f"{mode} OK") for mode in ("prestart", "main", "sidekick", "poststop")] == [1, 1, 1, 1]
    check_surroundings(database)
    check_metadata(database)


def check_surroundings(database: Path) -> None:
    environment = dict(line.split("=", 1) for line in (database / "env").read_text().splitlines())
    assert environment["PATH"] == PATH
    assert environment["AC_APP_NAME"] == "main"
    assert environment["IN_POD"] == "correct"
    assert "container" in environment
    assert not {name for name in os.environ if name.startswith("PYTEST")} & environment.keys()
    assert (database / "cwd").read_text() == "/opt/work\n"
    mounts = {line.split()[4]: line.split()[5] for line in (database / "mountinfo").read_text().splitlines()}
    assert "rw" in mounts["/db"].split(",")
    assert {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm"} <= mounts.keys()
    sidekick = dict(line.split("=", 1) for line in (database / "sidekick.env").read_text().splitlines())
    assert sidekick["AC_APP_NAME"] == "sidekick"
    assert sidekick["AC_METADATA_URL"] == environment["AC_METADATA_URL"]
    assert "IN_POD" not in sidekick


def check_metadata(database: Path) -> None:
    unanswered = database / "unanswered"
    assert not unanswered.exists(), unanswered.read_text()
    answers = {path.name: Answer(path) for path in (database / "answers").iterdir()}
    assert {answer.fields["metadata-flavor"] for answer in answers.values()} == {"AppContainer"}
    refused = {"forged": 403, "stranger": 401}
    assert {name: answer.status for name, answer in answers.items() if answer.status != 200} == refused
    for name in ("pod-manifest", "pod-annotations", "app-annotations", "image-manifest"):
        assert answers[name].fields["content-type"] == "application/json"
    for name in ("pod-uuid", "image-id", "sidekick-id", "sign", "verify"):
        assert answers[name].fields["content-type"] == "text/plain; charset=us-ascii"

    manifest = json.loads(answers["pod-manifest"].body)
    apps = {app["name"]: app for app in manifest["apps"]}
    assert apps.keys() == {"main", "sidekick"}
    assert answers["image-id"].body.decode() == apps["main"]["image"]["id"]
    assert answers["sidekick-id"].body.decode() == apps["sidekick"]["image"]["id"]
    pod_annotations = json.loads(answers["pod-annotations"].body)
    assert pod_annotations == manifest["annotations"]
    assert {"name": "ip-address", "value": "10.1.2.3"} in pod_annotations
    app_annotations = json.loads(answers["app-annotations"].body)
    assert app_annotations[:3] == [
        ANNOTATIONS[0],
        {"name": "lorem", "value": "dolor"},
        {"name": "example.com/new", "value": "1"},
    ]
    assert json.loads(answers["image-manifest"].body)["annotations"] == ANNOTATIONS
    assert len(answers["sign"].body) == 88
