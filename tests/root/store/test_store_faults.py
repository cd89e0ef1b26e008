"""The store against kill -9, full disks and disks that fail: nothing half, nothing left after `gc`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import appc
import image_kit
from appc.errors import AppcError
from appc.store.images import ImageStore, StoredImage
from capabilities import need

SOURCE = str(Path(appc.__file__).parent.parent)

# What changes the disk. Starting Python makes hardly any of these calls.
CHANGES = (
    "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mknodat,"
    "fchown,fchownat,fchmod,fchmodat,utimensat,fsync,syncfs,ftruncate,flock,write"
)

IMPORT = "with open(image, 'rb') as f: store.import_file(f, where='app.aci', keep='always')"
REMOVE = "store.remove(store.list()[0])"
COLLECT = "store.gc(grace=-1)"
REPAIR = "store.repair(store.list()[0])"

FILES: dict[str, image_kit.Entry] = {
    "bin/app": ("file", os.urandom(3000), {"mode": 0o4755, "uid": 5, "gid": 6}),
    "bin/same": ("hard", "bin/app"),
    "etc/link": ("link", "conf"),
    "etc/conf": "x",
    "dev/null": ("char", 1, 3),
    "tmp": ("dir", 0o1777),
}


def strace(action: str, root: Path, image: Path, *options: str) -> tuple[int, str]:
    """Run an action with faults; return how many calls of CHANGES it made and what it said.

    It is traced from where it begins, and done on another store before: starting Python and importing modules makes
    thousands of calls, and a traced process stops at each.
    """
    code = (
        f"import os, signal, sys; sys.path.append({SOURCE!r})\n"
        "from appc.store.images import ImageStore\n"
        f"store, image = ImageStore({str(root.with_suffix('.before'))!r}), {str(image)!r}\n{IMPORT}\n{action}\n"
        f"store = ImageStore({str(root)!r})\nos.kill(os.getpid(), signal.SIGSTOP)\n{action}"
    )
    log = root.with_suffix(".strace")
    python = [sys.executable, "-I", "-B", "-c", code]
    with subprocess.Popen(python, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        command = ["strace", "-f", "-p", str(process.pid), "-o", str(log), "-e", f"trace={CHANGES}", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            process.send_signal(signal.SIGCONT)
            said = process.stderr.read()
            tracer.communicate()
    return sum("(" in line for line in log.read_text(errors="replace").splitlines()), said


def load(root: Path, path: Path, **how: object) -> StoredImage:
    with path.open("rb") as stream:
        return ImageStore(str(root)).import_file(stream, where=str(path), **how)  # type: ignore[arg-type]


def whole(root: Path) -> list[str]:
    """Check that every image in the store is whole and found by its name; return their IDs."""
    store = ImageStore(str(root))
    for image in store.list():
        assert store.check(image) == []
        assert store.find(str(image.name)).id == image.id
    return [str(image.id) for image in store.list()]


def left(root: Path) -> list[str]:
    """What `gc` left of things that are no image, tree or lock."""
    paths = image_kit.listing(root / "store") if (root / "store").exists() else []
    places = ("images", "locks", "names", "sources", "staging", "trees")
    return [path for path in paths if path not in places and path.split("/")[0] in ("staging", "trees")]


def points(calls: int, count: int, seed: int) -> list[int]:
    """At which of so many calls to strike: the last ones, where things become visible, and some of the others."""
    chance = random.Random(seed)
    return sorted({*range(max(1, calls - 6), calls + 1), *(chance.randrange(1, calls + 1) for _ in range(count))})


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image_kit.aci(tmp_path / "app.aci", FILES)
    return tmp_path / "app.aci"


SEED = int(os.environ.get("APPC_SEED", "20260101"))
# At how many points an action is killed beside its last calls: 12, and fewer or more with the other tests that kill.
POINTS = max(4, int(os.environ.get("APPC_KILLS", "30")) * 2 // 5)


@pytest.mark.parametrize("action", ["import", "remove", "collect", "repair"])
def test_killing_at_any_point_leaves_nothing_wrong(tmp_path: Path, image: Path, action: str) -> None:
    need("strace")
    code = {"import": IMPORT, "remove": REMOVE, "collect": COLLECT, "repair": REPAIR}[action]

    def prepare(root: Path) -> None:
        if action != "import":
            load(root, image, keep="always")
        if action == "repair":
            conf = next(root.glob("store/images/*/rootfs/etc/conf"))
            conf.write_text("damaged")

    prepare(tmp_path / "measure")
    calls, _ = strace(code, tmp_path / "measure", image)
    assert calls > 10
    outcomes = set()
    for point in points(calls, POINTS, SEED):
        root = tmp_path / f"at-{point}"
        prepare(root)
        strace(code, root, image, "-e", f"inject={CHANGES}:signal=KILL:when={point}")
        store = ImageStore(str(root))
        message = f"seed {SEED}, call {point} of {calls}"
        if action == "repair":
            # Damaged or repaired, but never beyond repair.
            for stored in store.list():
                if store.check(stored):
                    store.repair(stored)
        store.gc()
        ids = whole(root)
        outcomes.add(len(ids))
        assert left(root) == [], message
        assert len(ids) == 1 or action != "repair", message
        # And the store works on.
        if not ids:
            load(root, image)
        assert len(whole(root)) == 1, message
    if action in ("import", "remove", "collect"):
        assert outcomes == {0, 1}


@pytest.mark.parametrize(
    ("calls", "stored"),
    [("syncfs", True), ("syncfs,fsync", False), ("fsync", False), ("rename", False), ("ftruncate", True)],
)
def test_a_disk_that_fails_is_reported_and_nothing_is_visible(
    tmp_path: Path, image: Path, calls: str, stored: bool
) -> None:
    """Where only syncfs fails every file is synced by itself."""
    need("strace")
    _, said = strace(IMPORT, tmp_path / "data", image, "-e", f"inject={calls}:error=EIO")
    ids = whole(tmp_path / "data")
    assert bool(ids) == stored
    if not stored:
        assert "StoreError: " in said
        assert "cannot be stored: Input/output error" in said
        assert image_kit.listing(tmp_path / "data/store/staging") == []
        assert image_kit.listing(tmp_path / "data/store/names") == []


@pytest.fixture
def small(sandbox: Path) -> Iterator[Path]:
    """A file system of 16 MiB and 200 inodes."""
    need("mount")
    mounted = sandbox / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,nr_inodes=200", "small", str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_an_image_that_does_not_fit_is_refused_before_it_is_tried(tmp_path: Path, small: Path) -> None:
    image_kit.aci(tmp_path / "big.aci", {"big": os.urandom(17 << 20)}, compress="none")
    with pytest.raises(AppcError, match="does not fit: 15 MiB are free|does not fit: 16 MiB are free") as caught:
        load(small / "data", tmp_path / "big.aci")
    assert caught.value.exit_status == 125
    assert "appc image gc" in caught.value.hint
    assert left(small / "data") == []


def test_an_image_that_grows_when_it_is_unpacked_is_stopped(tmp_path: Path, small: Path) -> None:
    image_kit.aci(tmp_path / "big.aci", {f"zeros{number}": b"\0" * (6 << 20) for number in range(5)})
    with pytest.raises(AppcError, match="does not fit"):
        load(small / "data", tmp_path / "big.aci")
    assert left(small / "data") == []


def test_a_disk_that_fills_up_on_the_way_is_reported(tmp_path: Path, small: Path) -> None:
    image_kit.aci(tmp_path / "many.aci", {f"f{number}": "x" for number in range(300)})
    with pytest.raises(AppcError, match="No space left on device") as caught:
        load(small / "data", tmp_path / "many.aci")
    assert caught.value.exit_status == 125
    assert left(small / "data") == []
    image_kit.aci(tmp_path / "few.aci", {f"f{number}": "x" for number in range(100)})
    load(small / "data", tmp_path / "few.aci")
    assert len(whole(small / "data")) == 1


def test_a_store_that_cannot_be_written_can_still_be_read(tmp_path: Path, small: Path, image: Path) -> None:
    stored = load(small / "data", image)
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    store = ImageStore(str(small / "data"))
    found = store.find("example.com/app")
    store.touch(found)
    with store.hold(found):
        assert store.check(found) == []
    assert found.id == stored.id
    image_kit.aci(tmp_path / "other.aci", {"other": "x"})
    with pytest.raises(AppcError, match="Read-only file system"):
        load(small / "data", tmp_path / "other.aci")


def test_owners_devices_and_attributes_are_kept_and_checked(tmp_path: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + b"\0" * 12  # cap_net_bind_service=p
    records = {"SCHILY.xattr.user.note": "hi", "SCHILY.xattr.security.capability": capability.decode()}
    files = {**FILES, "bin/ping": ("file", "x", {"uid": 1000, "gid": 1001, "pax_headers": records})}
    image_kit.aci(tmp_path / "app.aci", files)
    stored = load(tmp_path / "data", tmp_path / "app.aci")
    ping = f"{stored.tree}/bin/ping"
    status = os.stat(ping)
    assert (status.st_uid, status.st_gid) == (1000, 1001)
    assert os.getxattr(ping, "user.note") == b"hi"
    assert os.getxattr(ping, "security.capability") == capability
    assert os.stat(f"{stored.tree}/dev/null").st_rdev == os.makedev(1, 3)
    store = ImageStore(str(tmp_path / "data"))
    assert store.check(stored) == []
    os.removexattr(ping, "security.capability")
    os.setxattr(ping, "user.note", b"ho")
    os.chown(f"{stored.tree}/etc/conf", 7, 8)
    os.unlink(f"{stored.tree}/dev/null")
    os.mknod(f"{stored.tree}/dev/null", 0o020644, os.makedev(1, 5))
    reasons = {path: reason for path, reason in store.check(stored) if "time" not in reason}
    assert reasons["/etc/conf"] == "belongs to 7:8, not 0:0"
    assert reasons["/dev/null"] == "is another device"
    assert {reason for path, reason in store.check(stored) if path == "/bin/ping"} == {
        "lost the extended attribute security.capability",
        "has another value in the extended attribute user.note",
    }
