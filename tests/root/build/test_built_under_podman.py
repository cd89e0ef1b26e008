"""What builders make runs elsewhere too: converted, under podman (what that leaves behind is not judged here)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from debkit import Repository
from podkit import appc, build

from capabilities import need

pytestmark = [pytest.mark.interop, pytest.mark.slow]
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture(autouse=True)
def podman() -> None:
    need("podman", "runc", "cgroup", "busybox")


def _run(tmp_path: Path, image: Path) -> str:
    converted = appc(tmp_path, "image", "convert", "--insecure", "image", image, f"docker-archive:{tmp_path}/built.tar")
    assert converted.returncode == 0, converted.stderr
    # Podman takes no longer path than 50 characters for what it needs while it runs.
    with tempfile.TemporaryDirectory(prefix="podman-") as state:
        stores = ("--root", f"{tmp_path}/podman", "--runroot", state, "--storage-driver", "vfs")
        command = ("podman", *stores, "--cgroup-manager", "cgroupfs", "--runtime", "runc")
        loaded = _succeed(*command, "load", "-q", "-i", f"{tmp_path}/built.tar").strip().rpartition(": ")[2]
        return _succeed(*command, "run", "--rm", "--network", "none", *LIMITS, loaded)


def _succeed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program(tmp_path: Path) -> None:
    build(tmp_path, "from-binary", "/bin/sh", tmp_path / "out.aci", "--", "-c", "echo $0 $((6 * 7))")
    assert _run(tmp_path, tmp_path / "out.aci") == "/bin/sh 42\n"


def test_a_python_project(tmp_path: Path) -> None:
    need("/usr/bin/python3")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/main.py").write_text("import ssl, sys; print(sys.executable, sys.argv[1:])")
    build(tmp_path, "from-python", tmp_path / "project", tmp_path / "out.aci", "--", "x y")
    assert _run(tmp_path, tmp_path / "out.aci") == "/usr/bin/python3 ['x y']\n"


def test_debian_packages_as_the_base_of_a_dockerfile(tmp_path: Path) -> None:
    need("apt-get", "dpkg-deb")
    repository = Repository(tmp_path / "repository")
    repository.add("greet", "1", {"usr/share/greet/text": "hello\n"})
    build(tmp_path, "from-deb", "--sources", repository.index(), "greet", tmp_path / "base.aci")
    context = tmp_path / "context"
    context.mkdir()
    (context / "busybox").write_bytes(Path(shutil.which("busybox") or "").read_bytes())
    (context / "busybox").chmod(0o755)
    (context / "Dockerfile").write_text(
        f"FROM {tmp_path}/base.aci\nCOPY busybox /bin/cat\nCOPY busybox /bin/sh\n"
        "RUN /bin/cat /usr/share/greet/text > /greeting\nUSER 33:33\nCMD /bin/cat /greeting\n"
    )
    build(tmp_path, "from-dockerfile", "--insecure", "image", context, tmp_path / "out.aci")
    assert _run(tmp_path, tmp_path / "out.aci") == "hello\n"
