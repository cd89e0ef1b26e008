"""What each builder makes of real programs runs as a pod and, converted, under podman."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from debkit import Repository
from podkit import appc, build

import golang
from capabilities import missing, need

pytestmark = [pytest.mark.interop, pytest.mark.slow]
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
PATIENCE = 30  # seconds until a server has to answer

C_PROGRAM = r"""
#include <math.h>
#include <stdio.h>
int main(int n, char **words) { printf("%s %.0f\n", words[n - 1], cbrt(13.5 * n)); return 3; }
"""
GO_PROGRAM = """
package main
import ("fmt"; "os")
%s
func main() { fmt.Println(os.Getuid(), len(os.Args)%s) }
"""


class Pod:
    """Runs an image file as a pod."""

    def __init__(self, place: Path) -> None:
        need("native", "overlay", "cgroup")
        self.place = place
        self.uuid = ""

    def run(self, image: Path) -> subprocess.CompletedProcess[str]:
        """In the foreground, to its end."""
        return appc(self.place, "run", "--insecure", "image", "--rm", image)

    def start(self, image: Path) -> None:
        """In the background, on the host's network."""
        started = appc(self.place, "run", "--insecure", "image", "--net", "host", "--detach", image)
        assert started.returncode == 0, started.stderr
        self.uuid = started.stdout.strip()

    def logs(self) -> str:
        """What the server said."""
        return appc(self.place, "logs", self.uuid).stdout

    def close(self) -> None:
        """Leave nothing."""
        if self.uuid:
            appc(self.place, "stop", self.uuid)
            appc(self.place, "rm", self.uuid)


class Podman:
    """Runs an image file under podman, converted to a docker archive."""

    def __init__(self, place: Path) -> None:
        need("podman", "runc", "cgroup")
        self.place = place
        # Podman takes no longer path than 50 characters for what it needs while it runs.
        self.state = tempfile.mkdtemp(prefix="podman-")
        stores = ("--root", f"{place}/podman", "--runroot", self.state, "--storage-driver", "vfs")
        self.command = ("podman", *stores, "--cgroup-manager", "cgroupfs", "--runtime", "runc")
        self.container = ""

    def _do(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, *words], capture_output=True, text=True, check=False)

    def _load(self, image: Path) -> str:
        saved = f"docker-archive:{self.place}/built.tar"
        converted = appc(self.place, "image", "convert", "--insecure", "image", image, saved)
        assert converted.returncode == 0, converted.stderr
        loaded = self._do("load", "-q", "-i", f"{self.place}/built.tar")
        assert loaded.returncode == 0, loaded.stderr
        return loaded.stdout.strip().rpartition(": ")[2]

    def run(self, image: Path) -> subprocess.CompletedProcess[str]:
        """In the foreground, to its end."""
        return self._do("run", "--rm", "--network", "none", *LIMITS, self._load(image))

    def start(self, image: Path) -> None:
        """In the background, on the host's network."""
        started = self._do("run", "--detach", "--network", "host", *LIMITS, self._load(image))
        assert started.returncode == 0, started.stderr
        self.container = started.stdout.strip()

    def logs(self) -> str:
        """What the server said."""
        done = self._do("logs", self.container)
        return done.stdout + done.stderr

    def close(self) -> None:
        """Leave nothing."""
        if self.container:
            self._do("rm", "--force", "--time", "2", self.container)
        shutil.rmtree(self.state, ignore_errors=True)


Engine = Pod | Podman
ENGINES: dict[str, type[Pod] | type[Podman]] = {"pod": Pod, "podman": Podman}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = ENGINES[request.param](tmp_path)
    yield made
    made.close()


class Images:
    """Images that are built once, when a test first asks, in directories of their own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._ports: dict[str, int] = {}

    def get(self, name: str, make: Callable[[Path, Path], object]) -> Path:
        """The image `name`; `make` builds it at the second path, with the first for what it needs."""
        place = self.base / name
        out = place / "out.aci"
        if not place.exists():
            place.mkdir()
            make(place, out)
        if not out.exists():
            pytest.skip(f"{name} could not be built")
        return out

    def port(self, name: str) -> int:
        """A port of the host that was free a moment ago, always the same for one name."""
        if name not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as server:
                self._ports[name] = int(server.getsockname()[1])
        return self._ports[name]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("built"))


def _answer(engine: Engine, ask: Callable[[], bytes]) -> bytes:
    """What a server answers once it does."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except OSError as error:
            assert time.monotonic() < deadline, f"{error}: {engine.logs()}"
            time.sleep(0.1)


def _get(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return bytes(answer.read())


def _installable(*packages: str) -> None:
    need("apt-get", "dpkg-deb")
    for package in packages:
        done = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False)
        if "Candidate: " not in done.stdout or "Candidate: (none)" in done.stdout:
            pytest.skip(f"apt knows no package {package} here")


# -- programs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["static", "dynamic"])
def test_a_c_program(engine: Engine, images: Images, link: str) -> None:
    need("gcc")

    def make(place: Path, out: Path) -> None:
        (place / "main.c").write_text(C_PROGRAM)
        static = ("-static",) if link == "static" else ()
        subprocess.run(["gcc", *static, "-fno-builtin", place / "main.c", "-lm", "-o", place / "cube"], check=True)
        build(place, "from-binary", place / "cube", out, "--", "root")

    done = engine.run(images.get(f"c-{link}", make))
    assert (done.returncode, done.stdout) == (3, "root 3\n"), done.stderr


@pytest.mark.parametrize("link", ["static", "cgo"])
def test_a_go_program(engine: Engine, images: Images, link: str) -> None:
    cgo = link == "cgo"
    try:
        go = golang.tool()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no Go: {error}")
    if cgo:
        need("gcc")

    def make(place: Path, out: Path) -> None:
        extra = ('// int answer(void) { return 42; }\nimport "C"', ", C.answer()") if cgo else ("", "")
        (place / "main.go").write_text(GO_PROGRAM % extra)
        command = [go, "build", "-o", place / "program", place / "main.go"]
        subprocess.run(command, check=True, env=golang.environment(cgo))
        build(place, "from-binary", place / "program", out)

    done = engine.run(images.get(f"go-{link}", make))
    assert (done.returncode, done.stdout) == (0, "0 1 42\n" if cgo else "0 1\n"), done.stderr


def test_an_installed_shell(engine: Engine, images: Images) -> None:
    def make(place: Path, out: Path) -> None:
        build(place, "from-binary", "/bin/sh", out, "--", "-c", "echo $0 $((6 * 7))")

    assert engine.run(images.get("shell", make)).stdout == "/bin/sh 42\n"


# -- Python projects ------------------------------------------------------------------------------


def test_a_python_project(engine: Engine, images: Images) -> None:
    need("/usr/bin/python3")

    def make(place: Path, out: Path) -> None:
        (place / "project").mkdir()
        (place / "project/main.py").write_text("import ssl, sys; print(sys.executable, sys.argv[1:])")
        build(place, "from-python", place / "project", out, "--", "x y")

    assert engine.run(images.get("python", make)).stdout == "/usr/bin/python3 ['x y']\n"


def test_a_flask_application_serves(engine: Engine, images: Images) -> None:
    need("/usr/bin/python3")
    if missing("pip3"):
        pytest.skip("pip is not installed")
    port = images.port("flask")

    def make(place: Path, out: Path) -> None:
        project = place / "shop"
        project.mkdir()
        (project / "requirements.txt").write_text("flask\n")
        (project / "app.py").write_text(
            "import os\nfrom flask import Flask\napp = Flask(__name__)\n"
            '@app.get("/")\ndef index():\n    return "open"\n'
            'app.run("127.0.0.1", int(os.environ["PORT"]))\n'
        )
        done = appc(place, "image", "build", "from-python", "--port", str(port), project, out)
        assert done.returncode == 0 or "No matching distribution" in done.stderr, done.stderr

    engine.start(images.get("flask", make))
    assert _answer(engine, lambda: _get(port)) == b"open"


# -- Debian packages ------------------------------------------------------------------------------


def test_redis_of_debian_answers(engine: Engine, images: Images) -> None:
    _installable("redis-server")
    port = images.port("redis")

    def make(place: Path, out: Path) -> None:
        words = ("--bind", "127.0.0.1", "--port", str(port), "--save", "")
        options = ("--no-docs", "--no-locales")
        build(place, "from-deb", *options, "redis-server", out, "--", "/usr/bin/redis-server", *words)

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100)

    engine.start(images.get("redis", make))
    assert _answer(engine, ask) == b"+PONG\r\n"


def test_nginx_of_debian_serves(engine: Engine, images: Images) -> None:
    """On top of the image of the package comes its configuration, as one would do it: with a Dockerfile."""
    _installable("nginx")
    port = images.port("nginx")

    def make(place: Path, out: Path) -> None:
        build(place, "from-deb", "--no-docs", "--no-locales", "nginx", place / "base.aci")
        context = place / "context"
        context.mkdir()
        (context / "nginx.conf").write_text(
            "daemon off; error_log stderr; events {} "
            f'http {{ access_log off; server {{ listen 127.0.0.1:{port}; return 200 "served"; }} }}'
        )
        (context / "Dockerfile").write_text(
            f'FROM {place}/base.aci\nCOPY nginx.conf /etc/nginx/nginx.conf\nCMD ["/usr/sbin/nginx"]\n'
        )
        build(place, "from-dockerfile", "--insecure", "image", context, out)

    engine.start(images.get("nginx", make))
    assert _answer(engine, lambda: _get(port)) == b"served"


# -- Dockerfiles ----------------------------------------------------------------------------------


def test_a_dockerfile_of_several_stages(engine: Engine, images: Images) -> None:
    need("busybox", "gcc")

    def make(place: Path, out: Path) -> None:
        context = place / "context"
        context.mkdir()
        shutil.copy(shutil.which("busybox") or "", context / "busybox")
        (context / "main.c").write_text(C_PROGRAM)
        subprocess.run(
            ["gcc", "-static", "-fno-builtin", context / "main.c", "-lm", "-o", context / "cube"], check=True
        )
        (context / "Dockerfile").write_text(
            'FROM scratch AS tools\nCOPY busybox /bin/busybox\nSHELL ["/bin/busybox", "sh", "-c"]\n'
            "RUN /bin/busybox --install -s /bin\n"
            "FROM tools AS made\nCOPY cube /src/cube\nRUN cp /src/cube /out && echo made > /note\n"
            "FROM scratch\nCOPY --from=made --chown=33:33 /out /usr/bin/cube\nCOPY --from=made /note /note\n"
            'USER 33:33\nENTRYPOINT ["/usr/bin/cube"]\nCMD ["staged"]\n'
        )
        build(place, "from-dockerfile", context, out)

    done = engine.run(images.get("stages", make))
    assert (done.returncode, done.stdout) == (3, "staged 3\n"), done.stderr


def test_debian_packages_as_the_base_of_a_dockerfile(engine: Engine, images: Images) -> None:
    need("apt-get", "dpkg-deb", "busybox")

    def make(place: Path, out: Path) -> None:
        repository = Repository(place / "repository")
        repository.add("greet", "1", {"usr/share/greet/text": "hello\n"})
        build(place, "from-deb", "--sources", repository.index(), "greet", place / "base.aci")
        context = place / "context"
        context.mkdir()
        shutil.copy(shutil.which("busybox") or "", context / "busybox")
        (context / "Dockerfile").write_text(
            f"FROM {place}/base.aci\nCOPY busybox /bin/cat\nCOPY busybox /bin/sh\n"
            "RUN /bin/cat /usr/share/greet/text > /greeting\nUSER 33:33\nCMD /bin/cat /greeting\n"
        )
        build(place, "from-dockerfile", "--insecure", "image", context, out)

    assert engine.run(images.get("greet", make)).stdout == "hello\n"


def test_a_root_file_system(engine: Engine, images: Images) -> None:
    need("busybox")

    def make(place: Path, out: Path) -> None:
        (place / "tree/bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "", place / "tree/bin/busybox")
        (place / "tree/bin/sh").symlink_to("busybox")
        words = ("--name", "example.com/tree", place / "tree", out, "--", "/bin/sh", "-c", "echo from a tree")
        build(place, "from-rootfs", *words)

    assert engine.run(images.get("tree", make)).stdout == "from a tree\n"
