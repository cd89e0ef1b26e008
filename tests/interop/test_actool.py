"""Images go both ways between appc and the specification's own actool."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import subprocess
from pathlib import Path

import pytest

from appc.cli.main import main
from interop.actool import find

MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/interop",
    "labels": [{"name": "version", "value": "1.0.0"}],
    "app": {"exec": ["/bin/app"], "user": "0", "group": "0"},
}
OPEN = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "none": open}


@pytest.fixture(scope="module")
def actool() -> str:
    # Not a capability that APPC_MUST can ask for: the sources are not ours to give.
    path, reason = find()
    if not path:
        pytest.skip(reason)
    return path


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    rootfs = tmp_path / "layout" / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    (rootfs / "bin" / "app").write_bytes(b"#!/bin/sh\n")
    (rootfs / "bin" / "app").chmod(0o755)
    os.link(rootfs / "bin" / "app", rootfs / "bin" / "hard")
    os.symlink("app", rootfs / "bin" / "soft")
    os.mkfifo(rootfs / "fifo")
    deep = rootfs / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    (deep / ("f" * 90)).write_bytes(os.urandom(70_000))
    (rootfs / "ümlaut").write_bytes(b"")
    os.utime(rootfs / "ümlaut", ns=(1, 1_500_000_000_123_456_789))
    (tmp_path / "layout" / "manifest").write_text(json.dumps(MANIFEST))
    return tmp_path / "layout"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "none"])
def test_actool_accepts_what_appc_builds(actool: str, layout: Path, compression: str) -> None:
    out = layout.parent / "ours.aci"
    assert main(["image", "build", "--compress", compression, str(layout), str(out)]) == 0
    result = run(actool, "--debug", "validate", out)
    assert result.returncode == 0, result.stderr
    assert "valid app container image" in result.stderr
    assert json.loads(run(actool, "cat-manifest", out).stdout) == MANIFEST


@pytest.mark.parametrize("flags", [(), ("--no-compression",), ("--owner-root",)])
def test_what_actool_builds_has_the_id_of_its_tar(
    actool: str, layout: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = layout.parent / "theirs.aci"
    result = run(actool, "build", *flags, layout, out)
    assert result.returncode == 0, result.stderr
    with OPEN["none" if "--no-compression" in flags else "gzip"](out, "rb") as file:  # type: ignore[operator]
        expected = "sha512-" + hashlib.sha512(file.read()).hexdigest()
    assert main(["image", "validate", str(out)]) == 0
    assert main(["image", "id", str(out)]) == 0
    assert capsys.readouterr().out == expected + "\n"
    assert main(["--root", str(layout.parent / "root"), "fetch", "--insecure", "image", str(out)]) == 0
    assert capsys.readouterr().out == expected + "\n"


def test_what_actool_builds_is_the_same_tree_here(actool: str, layout: Path) -> None:
    theirs = layout.parent / "theirs.aci"
    assert run(actool, "build", layout, theirs).returncode == 0
    assert main(["image", "extract", str(theirs), str(layout.parent / "out")]) == 0
    assert _tree(layout.parent / "out" / "rootfs") == _tree(layout / "rootfs")


def _tree(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else os.readlink(path) if path.is_symlink() else ""
        # actool rounds to whole seconds.
        found[str(path.relative_to(root))] = (
            status.st_mode,
            status.st_nlink,
            (status.st_mtime_ns + 500_000_000) // 10**9,
            content,
        )
    return found


@pytest.mark.parametrize("name", ["rootfsX", "evil", "manifest"])
def test_both_refuse_what_the_specification_refuses(actool: str, layout: Path, name: str) -> None:
    image = layout.parent / "bad.aci"
    transform = f"s,^rootfs/fifo$,{name},"
    words = ["tar", "-C", layout, f"--transform={transform}", "-cf", image, "manifest", "rootfs"]
    assert run(*words).returncode == 0
    ours = main(["image", "validate", str(image)])
    assert ours == 1
    # actool looks at the beginning of a name only, so that it lets rootfsX pass.
    assert (run(actool, "validate", image).returncode != 0) == (name == "evil")
