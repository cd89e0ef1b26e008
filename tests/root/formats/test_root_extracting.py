"""What only root can extract and pack: owners, device nodes, capabilities, all attributes; and a disk that is full."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from appc.cli.main import main
from appc.formats.acibuild import build_aci
from appc.formats.tar import Reader
from capabilities import need

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
MANIFEST = b'{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/a"}'


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything about every file below `root` that an image keeps."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        name = str(path.relative_to(root))
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            content = status.st_rdev
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        same_as = "" if kind == stat.S_IFDIR else inodes.setdefault(status.st_ino, name)
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes, same_as)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "layout" / "rootfs"
    (root / "d").mkdir(parents=True)
    (root / "d" / "setuid").write_bytes(b"x" * 100_000)
    os.chown(root / "d" / "setuid", 1000, 4_000_000_000)
    (root / "d" / "setuid").chmod(0o6755)
    os.setxattr(root / "d" / "setuid", "user.note", bytes(range(256)))
    (root / "ping").write_bytes(b"ping")
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    os.chown(root / "d", 5, 6)
    (root / "d").chmod(0o2775)
    os.setxattr(root / "d", "trusted.kept", b"1")
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.chmod(root / "null", 0o666)
    os.mknod(root / "disk", 0o660 | stat.S_IFBLK, os.makedev(259, 70_000))
    os.mknod(root / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mkfifo(root / "fifo")
    os.symlink("/nowhere", root / "soft")
    os.lchown(root / "soft", 7, 8)
    os.setxattr(root / "soft", "trusted.onlink", b"2", follow_symlinks=False)
    os.link(root / "soft", root / "soft2")
    os.link(root / "null", root / "null2")
    os.link(root / "ping", root / "d" / "ping2")
    (tmp_path / "layout" / "manifest").write_bytes(MANIFEST)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_234_567_890_000_000_001 + number), follow_symlinks=False)
    os.utime(root, ns=(0, -1))
    return root


def test_everything_survives_packing_and_unpacking(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", "build", str(tree.parent), str(tmp_path / "a.aci")]) == 0
    assert main(["image", "extract", str(tmp_path / "a.aci"), str(tmp_path / "copy")]) == 0
    assert capsys.readouterr().err == ""
    assert seen(tmp_path / "copy" / "rootfs") == seen(tree)


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "oldgnu"])
def test_gnu_tar_and_appc_agree_about_archives_of_gnu_tar(tree: Path, tmp_path: Path, format: str) -> None:
    """Extracted by appc as by GNU tar itself, from each of its formats, sparse files included."""
    with open(tree / "sparse", "wb") as file:
        for offset in range(0, 100 << 20, 5 << 20):
            file.seek(offset)
            file.write(b"data at %d" % offset)
        file.truncate(100 << 20)
    if format == "ustar":
        os.chown(tree / "d" / "setuid", 1000, 1000)
    if format != "ustar":
        (tree / ("long" * 30) / ("name" * 30)).mkdir(parents=True)
        (tree / ("long" * 30) / ("name" * 30) / "ä").symlink_to("t" * 200)
    os.utime(tree, (1000, 1000))
    image = tmp_path / "a.aci"
    flags = ["--xattrs", "--xattrs-include=*"] if format == "pax" else []
    sparse = [] if format == "ustar" else ["--sparse"]
    words = [
        "tar",
        f"--format={format}",
        *flags,
        *sparse,
        "-C",
        str(tree.parent),
        "-cf",
        str(image),
        "manifest",
        "rootfs",
    ]
    subprocess.run(words, check=True)
    (tmp_path / "theirs").mkdir()
    subprocess.run(["tar", *flags, "-C", str(tmp_path / "theirs"), "-xpf", str(image)], check=True)
    assert main(["image", "extract", str(image), str(tmp_path / "ours")]) == 0
    theirs, ours = seen(tmp_path / "theirs" / "rootfs"), seen(tmp_path / "ours" / "rootfs")
    assert ours == theirs
    assert (tmp_path / "ours/rootfs/sparse").stat().st_blocks < 10_000 or format == "ustar"


@pytest.mark.parametrize(("major", "version"), [("0", "0.0"), ("0", "0.1"), ("1", "1.0")])
def test_all_sparse_formats_of_gnu_tar(tree: Path, tmp_path: Path, major: str, version: str) -> None:
    with open(tree / "sparse", "wb") as file:
        for offset in range(0, 50 << 20, 1 << 20):
            file.seek(offset)
            file.write(b"data at %d" % offset)
    image = tmp_path / "a.aci"
    words = ["tar", "--format=pax", "--sparse", f"--sparse-version={version}", "-C", str(tree.parent)]
    subprocess.run([*words, "-cf", str(image), "manifest", "rootfs"], check=True)
    assert main(["image", "extract", str(image), str(tmp_path / "ours")]) == 0
    assert (tmp_path / "ours/rootfs/sparse").read_bytes() == (tree / "sparse").read_bytes()


def test_gnu_tar_extracts_what_appc_packs(tree: Path, tmp_path: Path) -> None:
    assert main(["image", "build", str(tree.parent), str(tmp_path / "a.aci")]) == 0
    (tmp_path / "theirs").mkdir()
    words = ["tar", "--xattrs", "--xattrs-include=*", "-C", str(tmp_path / "theirs"), "-xpf", str(tmp_path / "a.aci")]
    subprocess.run(words, check=True)
    assert seen(tmp_path / "theirs" / "rootfs") == seen(tree)


def test_without_root_the_rest_is_extracted_and_the_loss_is_said(tree: Path, tmp_path: Path) -> None:
    image = str(tmp_path / "a.aci")
    assert main(["image", "build", str(tree.parent), image]) == 0
    # The one without privileges may not be able to read appc's files; now they have been read.
    assert main(["image", "extract", image, str(tmp_path / "as-root")]) == 0
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory.name.startswith(("pytest", "test")):
            directory.chmod(0o755)
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    copy = tmp_path / "theirs" / "copy"
    status, said = _unprivileged("image", "extract", image, str(copy))
    assert status == 0, said
    for name, loss in (("owner", ""), ("device node", " of 4 entries"), ("extended attribute security.capability", "")):
        assert f"appc: warning: {name} of " in said
        assert loss in said
    rootfs = copy / "rootfs"
    assert (rootfs / "d" / "setuid").read_bytes() == b"x" * 100_000
    assert (rootfs / "d" / "setuid").stat().st_mtime_ns == (tree / "d" / "setuid").stat().st_mtime_ns
    assert (rootfs / "d" / "setuid").stat().st_uid == 12345
    assert not (rootfs / "null").exists()
    assert not (rootfs / "null2").exists()


def _unprivileged(*words: str) -> tuple[int, str]:
    """Exit status and stderr of a command line under another user's ID."""
    import_module("appc.cli.rootless")  # what that user alone needs of appc's files, which they may not be able to read
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            with open(writer, "w") as sys.stderr:
                os.setgroups([])
                os.setgid(12345)
                os.setuid(12345)
                os.environ["HOME"] = "/nonexistent"
                status = main(words)
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@pytest.fixture
def small(sandbox: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    (sandbox / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(sandbox / "small")], check=True)
    yield sandbox / "small"
    subprocess.run(["umount", str(sandbox / "small")], check=True)


def test_a_full_disk_leaves_nothing(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "layout" / "rootfs").mkdir(parents=True)
    (tmp_path / "layout" / "rootfs" / "big").write_bytes(os.urandom(3 << 20))
    (tmp_path / "layout" / "manifest").write_bytes(MANIFEST)
    assert main(["image", "build", str(tmp_path / "layout"), str(small / "a.aci")]) == 125
    assert capsys.readouterr().err.startswith(
        f"appc: {small}/a.aci: cannot be written: No space left on device\nhint: "
    )
    assert list(small.iterdir()) == []
    assert main(["image", "build", str(tmp_path / "layout"), str(tmp_path / "a.aci")]) == 0
    capsys.readouterr()
    for target in (small / "new", small):
        assert main(["image", "extract", str(tmp_path / "a.aci"), str(target)]) == 125
        said = capsys.readouterr().err
        assert f"appc: {tmp_path}/a.aci: rootfs/big: cannot be extracted: No space left on device" in said
        assert list(small.iterdir()) == []


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    need("own-speed")
    """A quarter of a GiB through building and reading, in a process that may use 150 MB."""
    (tmp_path / "layout" / "rootfs").mkdir(parents=True)
    with open(tmp_path / "layout" / "rootfs" / "big", "wb") as file:
        file.truncate(256 << 20)
    (tmp_path / "layout" / "manifest").write_bytes(MANIFEST)
    script = (
        "import sys; from appc.cli.main import main\n"
        "assert main(['image', 'build', '--level', '1', 'layout', 'a.aci']) == 0\n"
        "assert main(['image', 'validate', 'a.aci']) == 0\n"
        # ru_maxrss would count what this process was before it became Python.
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    words = [sys.executable, "-c", script]
    result = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert int(result.stdout.split()[-1]) * 1024 < 150_000_000


def test_a_tree_read_as_records_has_the_names_of_its_files(tree: Path) -> None:
    out = io.BytesIO()
    fd = os.open(tree, os.O_RDONLY)
    build_aci(fd, MANIFEST, out, compression="none")
    os.close(fd)
    out.seek(0)
    found = {entry.name.rstrip("/"): entry.type for entry in Reader(out)}
    assert found["rootfs/null"] == "char"
    assert found["rootfs/null2"] == "hardlink"
    assert found["rootfs/soft2"] == "hardlink"
    assert found["rootfs/disk"] == "block"
