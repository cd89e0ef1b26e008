"""Images in registries as what builds begin with: build files, single commands and Dockerfiles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from podkit import appc, run
from test_build_appfile import APPLETS, BUSYBOX, left, manifest, members, place

import oci_kit
from net_kit import Server
from registry_kit import FakeRegistry

__all__ = ["place"]

INSECURE = ("--insecure", "image,http")


@pytest.fixture
def base(sandbox: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What Docker would call an image with an ENTRYPOINT and a CMD that is in a registry."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    entries: oci_kit.Entries = [
        ("bin", ("dir", 0o755)),
        ("bin/busybox", ("file", Path(BUSYBOX).read_bytes(), {"mode": 0o755})),
        *((f"bin/{name}", ("link", "busybox")) for name in APPLETS),
    ]
    config = {"Entrypoint": ["/bin/echo", "said"], "Cmd": ["base"], "Env": ["A=1"], "StopSignal": "SIGQUIT"}
    layout = oci_kit.Layout()
    layers = [oci_kit.layer(*entries), oci_kit.layer(("etc/passwd", "app:x:5:6::/:/bin/sh\n"))]
    layout.tag(layout.image(layers, config), "1")
    with Server() as server:
        registry = FakeRegistry(server)
        registry.take("a/box", layout.finished())
        yield f"{registry.host}/a/box:1"
    assert left(sandbox) == []


def test_a_build_file(sandbox: Path, place: Path, base: str) -> None:
    (place / "Appfile.toml").write_text(
        f'base = "docker://{base}"\noutput = "thin"\n[[steps]]\nrun = "echo $A > /a"\n[[steps]]\nremove = "/bin/awk"\n'
    )
    words = ("image", "build", "--file", place / "Appfile.toml", sandbox / "out.aci")
    assert "is not to be used" in appc(sandbox, *words, "--offline").stderr
    assert "is not signed" in appc(sandbox, *words, "--insecure", "http").stderr
    done = appc(sandbox, *words, *INSECURE)
    assert done.returncode == 0, done.stderr
    # It is in the store now, and the step's layer too.
    again = appc(sandbox, *words, *INSECURE, "--offline", "--overwrite")
    assert (again.stdout, again.stderr.count("(unchanged)")) == (done.stdout, 2)
    assert "imageID" in manifest(sandbox / "out.aci")["dependencies"][0]
    assert run(sandbox, sandbox / "out.aci").stdout == "said base\n"


def test_single_commands(sandbox: Path, place: Path, base: str) -> None:
    def step(*words: str | Path) -> str:
        done = appc(sandbox, "build", words[0], "--work-path", place, *words[1:])
        assert done.returncode == 0, done.stderr
        return done.stdout

    step("begin", *INSECURE, f"docker://{base}")
    step("run", "--net", "none", "--", "sh", "-c", "echo $A > /a")
    step("set-name", "example.com/made")
    step("write", sandbox / "out.aci")
    step("end")
    assert {"a", "etc/passwd", "bin/busybox"} <= set(members(sandbox / "out.aci"))
    assert run(sandbox, sandbox / "out.aci").stdout == "said base\n"


def test_a_dockerfile(sandbox: Path, place: Path, base: str) -> None:
    """CMD takes the place of the base's CMD alone, also when the base was built here."""
    (place / "Dockerfile").write_text(
        f'FROM {base} AS one\nUSER app\nCMD ["own"]\n'
        f"FROM scratch\nCOPY --from=docker://{base} /etc/passwd /passwd\nFROM one\nSTOPSIGNAL SIGINT\n"
    )
    words = ("image", "build", "from-dockerfile", place)
    assert "is not in the store" in appc(sandbox, *words, sandbox / "out.aci", "--offline").stderr
    assert "is not signed" in appc(sandbox, *words, sandbox / "out.aci", "--insecure", "http").stderr
    assert not os.path.exists(sandbox / "out.aci")
    done = appc(sandbox, *words, sandbox / "out.aci", *INSECURE)
    assert done.returncode == 0, done.stderr
    assert manifest(sandbox / "out.aci")["app"]["exec"] == ["/bin/echo", "said", "own"]
    assert {"name": "appc.io/docker/stopsignal", "value": "SIGINT"} in manifest(sandbox / "out.aci")["annotations"]
    (place / "Dockerfile").write_text(f'FROM {sandbox}/out.aci\nCMD ["mine"]\n')
    done = appc(sandbox, *words, sandbox / "two.aci", *INSECURE, "--offline")
    assert done.returncode == 0, done.stderr
    assert run(sandbox, sandbox / "two.aci").stdout == "said mine\n"
    (place / "Dockerfile").write_text(f'FROM {sandbox}/out.aci\nENTRYPOINT ["/bin/echo", "new"]\n')
    appc(sandbox, *words, sandbox / "two.aci", *INSECURE, "--overwrite")
    assert run(sandbox, sandbox / "two.aci").stdout == "new\n"
