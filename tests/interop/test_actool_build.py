"""What build files and single commands make, in the eyes of actool: valid images that say what was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import image_kit
from capabilities import need
from interop.actool import find

STEPS = """
[[steps]]
run = "echo 1 > /new; rm /bin/cat"
[[steps]]
set = { exec = "/bin/sh -c true", user = "5", group = "6", port = "http,protocol=tcp,port=80", env = { A = "1" } }
"""


@pytest.fixture
def actool() -> str:
    path, reason = find()
    if not path:
        pytest.skip(reason)
    return path


def test_actool_accepts_what_is_built(actool: str, sandbox: Path) -> None:
    need("root", "native", "overlay", "busybox")
    busybox = next(path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path))
    files: dict[str, image_kit.Entry] = {
        "bin/busybox": ("file", Path(busybox).read_bytes(), {"mode": 0o755}),
        "bin/sh": ("link", "busybox"),
        "bin/rm": ("link", "busybox"),
        "bin/cat": ("link", "busybox"),
    }
    image_kit.aci(sandbox / "box.aci", files, "example.com/box", "1", compress="none")

    def appc(*words: str | Path) -> None:
        places = ("--root", sandbox / "store", "--state", sandbox / "state", "--config", sandbox)
        command = [sys.executable, "-m", "appc", *map(str, (*places, *words))]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    for output in ("thin", "flat"):
        head = f'name = "example.com/{output}"\nbase = "{sandbox}/box.aci"\noutput = "{output}"\nlabels.version = "1"\n'
        (sandbox / "Appfile.toml").write_text(head + STEPS)
        build = ("image", "build", "--insecure", "image", "--file", sandbox / "Appfile.toml")
        appc(*build, sandbox / f"{output}.aci")
    for line in (
        ("begin", "example.com/box:1"), ("set-name", "example.com/made"), ("set-exec", "/bin/sh"),
        ("run", "--", "rm", "/bin/cat"), ("port", "add", "http", "tcp", "80"),
        ("set-event-handler", "pre-start", "/bin/sh"),
        ("write", str(sandbox / "made.aci")), ("end",),
    ):  # fmt: skip
        appc("build", line[0], "--work-path", sandbox, *line[1:])
    (sandbox / "context").mkdir()
    (sandbox / "context/Dockerfile").write_text(
        f'FROM {sandbox}/box.aci\nARG TARGETARCH\nEXPOSE 80 9000-9002/udp\nVOLUME /data\nLABEL a="b c"\nENV A=1\n'
        'USER 5:6\nWORKDIR /srv\nSTOPSIGNAL SIGQUIT\nENTRYPOINT ["/bin/sh"]\nCMD ["-c", "true"]\n'
    )
    appc("image", "build", "from-dockerfile", "--insecure", "image", sandbox / "context", sandbox / "docker.aci")
    appc(
        "image",
        "build",
        "from-binary",
        "--user",
        "5",
        "--port",
        "http,protocol=tcp,port=80",
        busybox,
        sandbox / "binary.aci",
    )
    appc("image", "extract", sandbox / "box.aci", sandbox / "box")
    appc("image", "build", "from-rootfs", "--name", "example.com/box", sandbox / "box/rootfs", sandbox / "rootfs.aci")
    appc("image", "convert", sandbox / "docker.aci", f"docker-archive:{sandbox}/docker.tar")
    appc(
        "image", "convert", "--name", "example.com/x", f"docker-archive:{sandbox}/docker.tar", sandbox / "converted.aci"
    )
    (sandbox / "project").mkdir()
    (sandbox / "project/main.py").write_text("print(1)\n")
    appc("image", "build", "from-python", sandbox / "project", sandbox / "python.aci")
    appc("run", "--insecure", "image", sandbox / "made.aci", "--exec", "/bin/sh", "--", "-c", "echo 2 >/left")
    (pod,) = (sandbox / "store/pods/exited").iterdir()
    appc("export", pod.name, sandbox / "exported.aci")
    for name in ("thin", "flat", "made", "docker", "binary", "rootfs", "converted", "python", "exported"):
        checked = subprocess.run([actool, "validate", sandbox / f"{name}.aci"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
    shown = subprocess.run([actool, "cat-manifest", sandbox / "thin.aci"], capture_output=True, check=True)
    manifest = json.loads(shown.stdout)
    assert manifest["dependencies"][0]["imageName"] == "example.com/box"
    assert "/new" in manifest["pathWhitelist"]
    assert "/bin/cat" not in manifest["pathWhitelist"]
    assert manifest["app"]["ports"][0]["port"] == 80
