"""One data directory with one image, and what must be true of its pods and its store after any fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import image_kit

IMAGE = "example.com/kill"
PATIENCE = 120.0 if os.environ.get("APPC_EMULATED") else 20.0


class Bench:
    """One data directory, an image file for it, and what the clean import of that file looks like."""

    def __init__(self, base: Path, appc: str, root: Path | None = None) -> None:
        self.base = base
        self.appc = appc
        self.root = root or base / "root"
        self.aci = base / "kill.aci"
        busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
        files: dict[str, image_kit.Entry] = {
            "bin/busybox": ("file", busybox, {"mode": 0o755}),
            "bin/sleep": ("link", "busybox"),
            "bin/true": ("link", "busybox"),
        }
        files.update({f"data/{number}": f"content {number}\n" * number for number in range(40)})
        manifest = image_kit.manifest(IMAGE, app={"exec": ["/bin/sleep", "0.1"], "user": "0", "group": "0"})
        self.aci.write_bytes(image_kit.COMPRESS["gzip"](image_kit.tar(files, manifest)))
        self.run("fetch", "--insecure", "image", str(self.aci))
        self.expected = self.digest()

    def words(self, *words: str) -> list[str]:
        return [self.appc, "--root", str(self.root), "--state", str(self.base / "state"), *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), check=check, capture_output=True, text=True, timeout=PATIENCE)

    def digest(self) -> dict[str, str]:
        """The trees of all images: path below the store -> type, mode and content."""
        found = {}
        images = self.root / "store/images"
        for path in sorted(images.glob("*/rootfs/**/*")):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else ""
            if path.is_file() and not path.is_symlink():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(images))] = f"{status.st_mode:o} {status.st_uid} {content}"
        return found

    def pods(self) -> dict[str, str]:
        return {pod["uuid"]: pod["state"] for pod in json.loads(self.run("list", "--format", "json").stdout)}

    def directories(self) -> dict[str, str]:
        return {path.name: path.parent.name for path in (self.root / "pods").glob("*/*")}


def states_are_true(bench: Bench, story: str) -> dict[str, str]:
    """Every pod directory is listed, and a pod that is said to run has a living keeper."""
    deadline = time.monotonic() + PATIENCE
    while True:
        told, present = bench.pods(), bench.directories()
        if told.keys() == present.keys():
            break
        assert time.monotonic() < deadline, f"{story}: listed {told}, on disk {present}"
    for uuid, state in told.items():
        if state == "running":
            _runs_indeed(bench, uuid, story)
    return told


def _runs_indeed(bench: Bench, uuid: str, story: str) -> None:
    """What is said to run has a keeper, as long as it is said."""
    deadline = time.monotonic() + PATIENCE
    while True:
        said = bench.run("status", "--format", "json", uuid, check=False)
        if said.returncode != 0:
            assert uuid not in bench.pods(), f"{story}: {said.stderr}"
            return
        status = json.loads(said.stdout)
        # It may end between the question and the look.
        if status["state"] != "running" or not status["keeper"] or Path(f"/proc/{status['keeper']}").exists():
            return
        assert time.monotonic() < deadline, f"{story}: {uuid} is said to run, and its keeper is gone"


def clear(bench: Bench, told: dict[str, str], story: str) -> None:
    for uuid, state in told.items():
        if state == "running":
            bench.run("status", "--wait=10s", uuid, check=False)
        if state == "prepared":
            bench.run("rm", uuid, check=False)
    done = bench.run("gc", "--grace-period", "0s", check=False)
    assert done.returncode == 0, f"{story}: gc says {done.stderr}"
    # A pod that ended in between (its keeper was killed) is collected by the second look at the latest.
    bench.run("gc", "--grace-period", "0s")
    assert bench.directories() == {}, f"{story}: {bench.directories()} outlived gc"
    leftovers = [path.name for path in (bench.root / "store/staging").glob("*")]
    assert leftovers == [], f"{story}: staging still holds {leftovers}"


def store_is_whole(bench: Bench, story: str) -> None:
    """An image is there whole or not at all; and importing it (again) works."""
    found = bench.digest()
    assert found in ({}, bench.expected), f"{story}: the store holds half an image"
    bench.run("fetch", "--insecure", "image", str(bench.aci))
    assert bench.digest() == bench.expected, f"{story}: importing again did not give the image"
