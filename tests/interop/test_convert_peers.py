"""Images exchanged with skopeo, umoci, buildah, podman and runc: accepted by them, and the same files at each step."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import actool
import pytest

import image_kit
from appc.cli.main import main
from capabilities import need

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
LINKS = ("dev", "dev/fd", "dev/stderr", "dev/stdin", "dev/stdout")
MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/peers",
    "labels": [
        {"name": "version", "value": "1.0"},
        {"name": "os", "value": "linux"},
        {"name": "arch", "value": "amd64"},
    ],
    "app": {
        "exec": ["/bin/busybox", "sh", "-c", "echo $WHO; cat /d/file"],
        "user": "0",
        "group": "0",
        "environment": [{"name": "WHO", "value": "appc"}],
        "isolators": [{"name": "resource/memory", "value": {"limit": "128Mi"}}],
    },
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    need("busybox")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("APPC_STATE", str(tmp_path / "state"))
    yield tmp_path
    # What podman mounted below its own root.
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        target = line.split(" ")[4]
        if target.startswith((f"{tmp_path}/", f"{tempfile.gettempdir()}/podman-{os.getpid()}/")):
            subprocess.run(["umount", "-l", target], check=False)
    shutil.rmtree(f"{tempfile.gettempdir()}/podman-{os.getpid()}", ignore_errors=True)


def appc(*words: str) -> None:
    assert main(list(words)) == 0


def convert(*words: str) -> None:
    appc("image", "convert", *words)


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def podman(*words: str) -> str:
    # Podman takes no longer path than 50 characters for what it needs while it runs.
    state = f"{tempfile.gettempdir()}/podman-{os.getpid()}"
    where = ("--root", f"{os.getcwd()}/podman", "--runroot", state, "--storage-driver", "vfs")
    return run("podman", *where, "--cgroup-manager", "cgroupfs", "--runtime", "runc", *words)


def buildah(*words: str) -> str:
    where = ("--root", f"{os.getcwd()}/buildah", "--runroot", f"{os.getcwd()}/buildah-run", "--storage-driver", "vfs")
    return run("buildah", *where, *words).strip()


def fill(root: Path) -> None:
    """Everything a layer can hold."""
    for name in ("bin", "d/sub", "empty"):
        (root / name).mkdir(parents=True)
    program = shutil.which("busybox")
    assert program
    shutil.copy(program, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "d" / "file").write_text("content\n")
    os.link(root / "d" / "file", root / "d" / "sub" / "again")
    os.chown(root / "d" / "file", 1000, 2000)
    (root / "d" / "file").chmod(0o6640)
    os.setxattr(root / "d" / "file", "user.note", b"note")
    (root / "d" / "ping").write_text("ping")
    os.setxattr(root / "d" / "ping", "security.capability", CAPABILITY)
    os.mknod(root / "d" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / "d" / "fifo")
    (root / "d" / "ünï").write_text("name")
    (root / ("long" * 50)).write_text("long")
    (root / "d").chmod(0o2775)
    os.chown(root / "d" / "sub", 7, 8)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(1_400_000_000_000_000_000, 1_400_000_000_250_000_000), follow_symlinks=False)


def seen(root: Path, without: tuple[str, ...] = ()) -> dict[str, tuple[object, ...]]:
    """All that an image keeps of every file below `root`; umoci gives the root directory itself times of its own."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name in without:
            continue
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind == stat.S_IFCHR:
            content = status.st_rdev
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        same_as = "" if kind == stat.S_IFDIR else inodes.setdefault(status.st_ino, name)
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes, same_as)
    return found


def image_id(path: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    appc("image", "id", path)
    return capsys.readouterr().out.strip()


def extracted(path: str, name: str) -> dict[str, tuple[object, ...]]:
    appc("image", "extract", "--rootfs-only", path, name)
    return seen(Path(name), LINKS)


def unpacked(layout: str, name: str) -> dict[str, tuple[object, ...]]:
    """What umoci makes of an OCI layout."""
    run("umoci", "unpack", "--image", layout, name)
    return seen(Path(name, "rootfs"), LINKS)


@pytest.fixture
def built(place: Path) -> dict[str, tuple[object, ...]]:
    """a.aci, and what is in it."""
    fill(place / "tree")
    (place / "m.json").write_text(json.dumps(MANIFEST))
    appc("image", "build", "--manifest", "m.json", "tree", "a.aci")
    return seen(place / "tree")


def test_skopeo_and_umoci_accept_what_is_written(
    built: dict[str, tuple[object, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    need("skopeo", "umoci")
    before = image_id("a.aci", capsys)
    for kind in ("gzip", "none"):
        convert("--compress", kind, "a.aci", f"oci:{kind}:1.0")
        assert json.loads(run("skopeo", "inspect", f"oci:{kind}:1.0"))["Architecture"] == "amd64"
        assert unpacked(f"{kind}:1.0", f"{kind}-bundle") == built
    convert("a.aci", "docker-archive:saved.tar:peers:1.0")
    convert("a.aci", "oci-archive:layout.tar:1.0")
    for number, source in enumerate(
        ("oci:gzip:1.0", "oci-archive:layout.tar:1.0", "docker-archive:saved.tar:peers:1.0")
    ):
        run("skopeo", "copy", source, f"oci:copy{number}:x")
        run("skopeo", "copy", source, f"docker-archive:copy{number}.tar:foo:bar")
        for there, copy in enumerate((f"oci:copy{number}", f"docker-archive:copy{number}.tar")):
            convert(copy, f"copy{number}{there}.aci")
            assert image_id(f"copy{number}{there}.aci", capsys) == before


def test_the_identity_of_an_image_of_others_survives_skopeo(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its headers are tarfile's, so their record has to come along."""
    need("skopeo")
    before = image_kit.aci(
        place / "a.aci", {"bin/app": "x" * 3000, "etc/ä": "y", "l": ("link", "bin")}, "example.com/a"
    )
    convert("a.aci", "oci:layout:1.0")
    run("skopeo", "copy", "oci:layout:1.0", "oci:copy:1.0")
    run("skopeo", "copy", "oci:copy:1.0", "docker-archive:copy.tar:foo:bar")
    for source in ("oci:copy", "docker-archive:copy.tar"):
        convert("--overwrite", source, "b.aci")
        assert image_id("b.aci", capsys) == before


def test_umoci_edits_and_repacks(built: dict[str, tuple[object, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    need("umoci")
    convert("a.aci", "oci:layout:1.0")
    run("umoci", "config", "--image", "layout:1.0", "--config.env", "MORE=1")
    convert("oci:layout", "b.aci")
    assert extracted("b.aci", "b") == built
    capsys.readouterr()
    appc("image", "manifest", "b.aci")
    app = json.loads(capsys.readouterr().out)["app"]
    assert {"name": "MORE", "value": "1"} in app["environment"]
    assert app["isolators"] == MANIFEST["app"]["isolators"]  # type: ignore[index]
    run("umoci", "unpack", "--image", "layout:1.0", "bundle")
    shutil.rmtree("bundle/rootfs/d")
    Path("bundle/rootfs/new").write_text("new")
    run("umoci", "repack", "--image", "layout:1.0", "bundle")
    convert("oci:layout", "c.aci")
    after = extracted("c.aci", "c")
    assert "new" in after
    assert not any(name.startswith("d/") or name == "d" for name in after)


def test_podman_loads_runs_and_saves_it(
    sandbox: Path, built: dict[str, tuple[object, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    need("podman", "runc", "cgroup")
    before = image_id("a.aci", capsys)
    convert("a.aci", "docker-archive:saved.tar:localhost/peers:1.0")
    convert("a.aci", "oci-archive:layout.tar:1.0")
    for source in ("saved.tar", "layout.tar"):
        podman("load", "-q", "-i", source)
    assert podman("run", "--rm", "--network", "none", *LIMITS, "localhost/peers:1.0") == "appc\ncontent\n"
    for number, form in enumerate(("docker-archive", "oci-archive")):
        podman("save", "-q", "--format", form, "-o", f"{number}.tar", "localhost/peers:1.0")
        convert(f"{form}:{number}.tar", f"{number}.aci")
        assert image_id(f"{number}.aci", capsys) == before


def test_images_of_buildah_become_acis_that_run(sandbox: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    need("buildah", "umoci", "native", "overlay", "cgroup")
    first = buildah("from", "scratch")
    root = Path(buildah("mount", first))
    fill(root)
    buildah("umount", first)
    buildah("commit", "-q", first, "localhost/base:1")
    second = buildah("from", "localhost/base:1")
    root = Path(buildah("mount", second))
    shutil.rmtree(root / "d" / "sub")
    (root / "d" / "ping").unlink()
    shutil.rmtree(root / "empty")
    (root / "empty").write_text("a file now")
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nwww:x:44:\n")
    buildah("umount", second)
    command = (
        "--entrypoint",
        '["/bin/sh","-c"]',
        "--cmd",
        "'id -u; id -g; cat /empty'",
        "--user",
        "web",
        "--env",
        "A=b",
    )
    buildah("config", *command, second)
    buildah("commit", "-q", second, "localhost/top:2")
    buildah("push", "-q", "localhost/top:2", "oci:layout:2")
    buildah("push", "-q", "localhost/top:2", "docker-archive:saved.tar:localhost/top:2")

    expected = unpacked("layout:2", "bundle")
    assert "d/ping" not in expected
    convert("oci:layout", "one.aci")
    convert("docker-archive:saved.tar", "two.aci")
    convert("--layers", "oci:layout", "three.aci")
    assert extracted("one.aci", "one") == extracted("two.aci", "two") == expected
    found, _ = actool.find()
    for path in ("one.aci", "two.aci", "three.aci", "three-1.aci"):
        appc("image", "validate", path)
        if found:
            run(found, "validate", path)
    convert("two.aci", "oci:again:2")
    assert unpacked("again:2", "again-bundle") == expected

    appc("fetch", "--insecure", "image", "three-1.aci", "three.aci")
    appc("image", "render", "layout:2", "rendered")
    assert seen(Path("rendered", "rootfs"), LINKS) == expected
    for image in ("oci:layout", "docker-archive:saved.tar", "three.aci"):
        capfd.readouterr()
        words = ["run", "--net", "none", "--insecure", "image", "--rm", image]
        done = subprocess.run(["/usr/bin/env", *appc_words(), *words], capture_output=True, text=True, check=False)
        assert done.stdout == "33\n44\na file now", done.stderr


def appc_words() -> list[str]:
    """The command line in a process of its own: a run in the foreground replaces its process by the pod's keeper."""
    import sys

    return [sys.executable, "-m", "appc"]


@pytest.mark.slow
def test_a_real_image_is_the_same_in_every_form(sandbox: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a docker archive, as podman saves an image of Debian packages, to an ACI, an OCI layout and an ACI again."""
    need("podman", "runc", "cgroup", "umoci", "native", "overlay", "apt-get", "dpkg-deb")
    known = subprocess.run(["apt-cache", "show", "redis-server"], capture_output=True, check=False)
    if known.returncode != 0:
        pytest.skip("apt knows no redis-server here")
    appc("image", "build", "from-deb", "--no-locales", "redis-server", "debian.aci")
    appc("image", "extract", "--rootfs-only", "debian.aci", "files")
    # What few packages have, and images of distributions do.
    os.setxattr("files/usr/bin/redis-cli", "security.capability", CAPABILITY)
    os.link("files/usr/bin/redis-cli", "files/usr/bin/another")
    os.chown("files/var/tmp", 12, 34)
    os.utime("files/etc", ns=(0, 1_500_000_000_000_000_000))
    expected = seen(place / "files", LINKS)
    assert len(expected) > 500
    run(
        "tar",
        "--format=pax",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-C",
        "files",
        "-cf",
        "files.tar",
        ".",
    )
    command = ("--change", 'ENTRYPOINT ["/usr/bin/redis-server"]', "--change", 'CMD ["--version"]')
    podman("import", *command, "files.tar", "localhost/real:1.0")
    podman("save", "-q", "--format", "docker-archive", "-o", "real.tar", "localhost/real:1.0")
    convert("docker-archive:real.tar", "real.aci")
    first = image_id("real.aci", capsys)
    assert extracted("real.aci", "first") == expected
    convert("real.aci", "oci:layout:1.0")
    assert unpacked("layout:1.0", "bundle") == expected
    convert("oci:layout", "back.aci")
    assert image_id("back.aci", capsys) == first
    assert extracted("back.aci", "last") == expected
    words = [*appc_words(), "run", "--insecure", "image", "--rm", "back.aci"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Redis server v="), done.stderr


def test_bundles_both_ways(sandbox: Path, built: dict[str, tuple[object, ...]], place: Path) -> None:
    need("runc", "cgroup")
    convert("--insecure", "image", "a.aci", "bundle:bundle")
    assert seen(place / "bundle" / "rootfs") == built
    convert("--name", "example.com/back", "bundle:bundle", "back.aci")
    assert extracted("back.aci", "back") == built
    convert("bundle:bundle", "oci:layout:1")
    assert unpacked("layout:1", "unpacked") == built
    # Last, because runc makes directories to mount on.
    name = f"appc-peers-{os.getpid()}"
    assert run("runc", "--root", f"{place}/runc", "run", "-b", "bundle", name) == "appc\ncontent\n"
