"""Conversion as root: owners, devices and attributes on every way, a full disk, a killed writer, running the result."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appc.cli.main import main
from capabilities import need
from oci_kit import Layout, layer, simple

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
MANIFEST = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/a"}
MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("APPC_STATE", str(tmp_path / "state"))
    return tmp_path


def appc(*words: str) -> None:
    assert main(list(words)) == 0


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "appc", *words]


def fill(root: Path) -> None:
    (root / "d" / "s").mkdir(parents=True)
    (root / "d" / "f").write_bytes(os.urandom(100_000))
    os.link(root / "d" / "f", root / "d" / "s" / "g")
    os.chown(root / "d" / "f", 70_000, 4_000_000_000)
    (root / "d" / "f").chmod(0o6711)
    os.setxattr(root / "d" / "f", "user.note", bytes(range(256)))
    (root / "ping").write_bytes(b"ping")
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    os.setxattr(root / "d", "trusted.kept", b"1")
    os.mknod(root / "null", 0o620 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(root / "disk", 0o660 | stat.S_IFBLK, os.makedev(8, 300))
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("/d/f")
    os.chown(root / "link", 3, 4, follow_symlinks=False)
    (root / "d").chmod(0o1777)
    os.utime(root / "ping", ns=(1, 1_234_567_890_123_456_789))


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else status.st_rdev
        if path.is_symlink():
            content = os.readlink(path).encode()
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        same = "" if stat.S_ISDIR(status.st_mode) else inodes.setdefault(status.st_ino, path.name)
        what = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes, same)
        found[str(path.relative_to(root))] = what
    return found


def test_nothing_is_lost_on_any_way(place: Path) -> None:
    fill(place / "tree")
    (place / "m.json").write_text(json.dumps(MANIFEST))
    appc("image", "build", "--manifest", "m.json", "tree", "a.aci")
    before = seen(place / "tree")
    steps = ["a.aci", "docker-archive:1.tar", "oci:2", "oci-archive:3.tar", "docker-archive:4.tar", "b.aci"]
    for source, target in itertools.pairwise(steps):
        appc("image", "convert", source, target)
    for number, source in enumerate(steps[1:]):
        if not source.endswith(".aci"):
            appc("image", "convert", source, f"{number}.aci")
            assert gzip.decompress(Path(f"{number}.aci").read_bytes()) == gzip.decompress(Path("a.aci").read_bytes())
            # The same once more as somebody who knows nothing of the ACI it was.
            appc("image", "convert", "--name", "example.com/n", source, f"{number}-fresh.aci")
            appc("image", "extract", "--rootfs-only", f"{number}-fresh.aci", f"tree{number}")
            after = seen(place / f"tree{number}")
            assert {name: what for name, what in after.items() if not name.startswith("dev")} == before
    appc("image", "extract", "--rootfs-only", "b.aci", "b")
    assert seen(place / "b") == before


def test_a_layout_runs_as_it_is(sandbox: Path, place: Path) -> None:
    need("native", "overlay", "cgroup", "busybox")
    busybox = Path("/bin/busybox").read_bytes()
    program = ("file", busybox, {"mode": 0o755})
    config = {
        "Entrypoint": ["/bin/busybox", "cat"], "Cmd": ["/a", "/b"], "User": "9:8", "Volumes": {"relative": {}},
    }  # fmt: skip
    simple(place / "src", layer(("bin/busybox", program), ("a", "1"), ("b", "2")), layer(("a", "3")), config=config)
    for new in (True, False):
        words = command("run", "--rm", "--net", "none", "--insecure", "image", "oci:src")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.stdout == "32", done.stderr
        # What conversion leaves out is said when it takes place.
        assert ("oci:src: its volume 'relative' is no absolute path and was left out" in done.stderr) == new
    refused = subprocess.run(command("run", "--rm", "oci:src"), capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "is not signed" in refused.stderr


def test_a_full_disk_is_said_and_nothing_is_left(place: Path) -> None:
    need("mount")
    (place / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", "small"], check=True)
    try:
        data = os.urandom(6 * MIB)
        simple(place / "src", layer(("big", data)))
        appc("image", "convert", "oci:src", "big.aci")
        for source in ("oci:src", "big.aci"):
            for target in ("x.aci", "oci:x", "oci-archive:x", "docker-archive:x"):
                if source == "big.aci" and target == "x.aci":
                    continue
                words = command("image", "convert", f"{source}", target.replace("x", "small/x", 1))
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                assert done.returncode == 125, (source, target)
                assert "No space left on device" in done.stderr
                assert len(done.stderr.splitlines()) <= 2
                assert os.listdir("small") == []
    finally:
        subprocess.run(["umount", "small"], check=True)


@pytest.mark.parametrize("target", ["oci:out", "oci-archive:out", "docker-archive:out", "out.aci"])
def test_a_killed_writer_is_in_nobodys_way(target: str, place: Path) -> None:
    need("own-speed")
    simple(place / "src", layer(("big", os.urandom(60 * MIB))), compress="none")
    for delay in (0.3, 0.5, 0.8):
        words = command("image", "convert", "--name", "example.com/n", "oci:src", target)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = {str(path) for path in place.rglob("*") if path.is_file() and "src" not in path.parts}
    assert left <= {str(place / "out.aci")} | {str(place / "out")} | {str(path) for path in (place / "out").rglob("*")}
    appc("image", "convert", "--overwrite", "oci:src", target)
    appc("image", "convert", "--overwrite", "oci:src" if target == "out.aci" else target, "check.aci")


def test_a_writer_killed_before_its_last_rename_is_in_nobodys_way(place: Path) -> None:
    simple(place / "src", layer(("f", b"x")))
    (place / "out/blobs/sha256").mkdir(parents=True)
    for name in (".oci-layout.0a1b2c", ".index.json.0a1b2c"):
        (place / "out" / name).write_text("{")
    appc("image", "convert", "--name", "example.com/n", "oci:src", "oci:out")
    assert sorted(os.listdir(place / "out")) == ["blobs", "index.json", "oci-layout"]


def test_memory_does_not_grow_with_the_image(place: Path) -> None:
    need("own-speed")
    layout = Layout()
    piece = os.urandom(MIB)
    layout.tag(
        layout.image(
            [layer(("big", piece * 200)), layer(("other", piece * 100), ("link", ("hard", "big")))], compress="none"
        )
    )
    layout.write(place / "src")
    del layout
    for target in ("x.aci", "oci:copy", "docker-archive:copy.tar"):
        words = command("image", "convert", "--compress", "none", "oci:src", target)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        assert isinstance(usage, resource.struct_rusage)
        # A child begins as a copy of this process, which holds the image; what it grows by after exec counts from 0.
        assert usage.ru_maxrss < 150 * 1024 or usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
