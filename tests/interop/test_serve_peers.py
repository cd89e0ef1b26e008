"""Other people's clients and servers: actool, podman, skopeo and a browser at `appc serve`, nginx with its export."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appc.serve.export import export
from appc.trust.packets import read_certificates
from capabilities import need
from image_kit import aci
from interop import actool
from serve_kit import PLATFORM, Hosting, Signer, until

NAME = "localhost/team/app"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
APP = {"exec": ["/bin/busybox", "echo", "hello from serve"], "user": "0", "group": "0"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    need("busybox")
    (tmp_path / "images").mkdir()
    files = {"bin/busybox": ("file", Path("/bin/busybox").read_bytes(), {"mode": 0o755})}
    aci(tmp_path / "images/x.aci", files, NAME, "1.0.0", labels=PLATFORM, app=APP)
    signer = Signer()
    signer.sign(tmp_path / "images/x.aci")
    (tmp_path / "images/pubkeys.gpg").write_bytes(signer.certificate)
    return tmp_path / "images"


@pytest.fixture
def hosting(images: Path, tmp_path: Path) -> Iterator[Hosting]:
    with Hosting(images, cache=tmp_path / "cache") as hosting:
        yield hosting


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _actool() -> str:
    # Not a capability that APPC_MUST can ask for: the sources are not ours to give.
    path, reason = actool.find()
    if not path:
        pytest.skip(reason)
    return path


def _fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        data: bytes = answer.read()
    return data


def _discovered(port: int, name: str) -> tuple[str, str, str]:
    """The URLs that actool finds: image, signature, keys."""
    found = _run(_actool(), "discover", "--insecure", "--json", f"--port={port}", f"{name}:1.0.0")
    document = json.loads(found[found.index("\n{") if found[0] != "{" else 0 :])
    ((image,), (keys,)) = document["ACIEndpoints"], document["PublicKeys"]
    return image["ACI"], image["ASC"], keys


def test_actool_discovers_images_and_signatures(hosting: Hosting, images: Path) -> None:
    image, signature, keys = _discovered(hosting.port, NAME)
    assert _fetched(image) == (images / "x.aci").read_bytes()
    assert _fetched(signature) == (images / "x.aci.asc").read_bytes()
    assert _fetched(keys).startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_actool_climbs_to_the_parent(hosting: Hosting) -> None:
    """There is no image of that name, but its parent's page tells where it would be."""
    assert hosting.get("/team/app/gone").status == 404
    image, _, _ = _discovered(hosting.port, "localhost/team/gone")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _fetched(image)


def test_skopeo_copies_images(hosting: Hosting, tmp_path: Path) -> None:
    need("skopeo")
    source = f"docker://127.0.0.1:{hosting.port}/{NAME}"
    assert json.loads(_run("skopeo", "list-tags", "--tls-verify=false", source))["Tags"] == ["1.0.0", "latest"]
    _run("skopeo", "copy", "--all", "--src-tls-verify=false", f"{source}:1.0.0", f"oci:{tmp_path}/copy:1.0.0")
    index = json.loads((tmp_path / "copy/index.json").read_text())
    digest = hosting.get(f"/v2/{NAME}/manifests/1.0.0").fields["docker-content-digest"]
    assert index["manifests"][0]["digest"] == digest


def test_podman_pulls_and_runs_images(hosting: Hosting, tmp_path: Path) -> None:
    need("root", "podman", "runc", "cgroup")
    runroot = Path(tempfile.mkdtemp(prefix="appc-podman-"))
    words = ["podman", "--root", f"{tmp_path}/storage", "--runroot", str(runroot), "--storage-driver", "vfs"]
    words += ["--cgroup-manager", "cgroupfs", "--runtime", "runc"]
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    try:
        reference = f"127.0.0.1:{hosting.port}/{NAME}:1.0.0"
        _run(*words, "pull", "--tls-verify=false", reference)
        said = _run(*words, "run", "--rm", "--network", "none", *limits, reference)
        assert said == "hello from serve\n"
    finally:
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split(" ")[4]
            if target.startswith((f"{tmp_path}/", f"{runroot}/")):
                subprocess.run(["umount", "-l", target], check=False)
        shutil.rmtree(runroot, ignore_errors=True)


def test_the_conformance_suite_of_the_distribution_specification(hosting: Hosting, tmp_path: Path) -> None:
    """Its parts for registries that are only read: pull, and content discovery."""
    program = shutil.which("oci-conformance") or str(actool.CACHE / "bin/oci-conformance")
    if not os.path.exists(program):
        # As with actool, the sources are not ours to give.
        pytest.skip("no oci-conformance on PATH or in .cache/bin: `go build` it in conformance/ of distribution-spec")
    answer = hosting.get(f"/v2/{NAME}/manifests/1.0.0")
    manifest, digest = json.loads(answer.body), answer.fields["docker-content-digest"]
    blobs = [one["digest"] for one in (manifest["config"], *manifest["layers"])]
    environment = {
        "OCI_REGISTRY": f"127.0.0.1:{hosting.port}",
        "OCI_TLS": "disabled",
        "OCI_REPO1": NAME,
        "OCI_RO_DATA_TAGS": "1.0.0 latest",
        "OCI_RO_DATA_MANIFESTS": digest,
        "OCI_RO_DATA_BLOBS": " ".join(blobs),
        "OCI_RO_DATA_REFERRERS": digest,
        "OCI_RESULTS_DIR": f"{tmp_path}/results",
        **{f"OCI_API_{api}": "false" for api in ("PUSH", "BLOBS_DELETE", "MANIFESTS_DELETE", "TAGS_DELETE")},
    }
    done = subprocess.run([program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "OCI Conformance Result: Pass" in done.stdout, done.stdout[-3000:]
    assert re.search(r"FAIL\.+: +0\n", done.stdout)
    for part in ("Tag listing", "Blob get", "Manifest get by digest", "Manifest get by tag", "Referrers"):
        assert re.search(rf"  {part}\.*: +Pass", done.stdout), part


@contextmanager
def _nginx(root: Path, place: Path, port: int) -> Iterator[None]:
    config = place / "nginx.conf"
    config.write_text(
        f"""
        daemon off; pid {place}/nginx.pid; error_log {place}/error.log; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off; default_type application/octet-stream; types {{ text/html html; }}
            {" ".join(f"{kind}_temp_path {place}/{kind};" for kind in TEMPORARY)}
            server {{
                listen 127.0.0.1:{port};
                root {root};
                location / {{ try_files $uri $uri/index.html =404; }}
            }}
        }}
        """
    )
    os.chmod(place, 0o755)
    server = subprocess.Popen([shutil.which("nginx") or "nginx", "-c", str(config), "-p", str(place)])
    try:
        until(lambda: _listens(port))
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def exported(images: Path) -> Iterator[int]:
    """The port where nginx has what was exported."""
    need("nginx")
    # nginx's workers are another user, who cannot enter the directories of tests.
    place = Path(tempfile.mkdtemp(prefix="appc-nginx-"))
    try:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        export(str(images), f"{place}/htdocs", url=f"http://localhost:{port}")
        with _nginx(place / "htdocs", place, port):
            yield port
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("page", ["", "team", "team/app"])
def test_an_export_behind_nginx_has_what_its_templates_promise(exported: int, images: Path, page: str) -> None:
    text = _fetched(f"http://127.0.0.1:{exported}/{page}?ac-discovery=1").decode()
    (template,) = re.findall(r'<meta name="ac-discovery" content="(?:\S+) http://localhost:[0-9]+(/\S+)">', text)
    values = {"name": NAME, "version": "1.0.0", "os": "linux", "arch": "amd64"}
    url = f"http://127.0.0.1:{exported}" + template.format(**values, ext="aci")
    assert _fetched(url) == (images / "x.aci").read_bytes()
    assert _fetched(f"{url}.asc") == (images / "x.aci.asc").read_bytes()


def test_actool_discovers_an_export_behind_nginx(exported: int) -> None:
    image, signature, keys = _discovered(exported, NAME)
    assert image == f"http://localhost:{exported}/-/aci/{NAME}-1.0.0-linux-amd64.aci"
    assert signature == f"{image}.asc"
    assert keys == f"http://localhost:{exported}/-/pubkeys.gpg"


def test_appc_fetches_an_export_behind_nginx(exported: int, images: Path, tmp_path: Path) -> None:
    """By name: discovery, keys, signature, and what is the same is not fetched again."""
    config = tmp_path / "config"
    (config / "config.d").mkdir(parents=True)
    (config / "config.d/ports.json").write_text(json.dumps({"discovery": {"ports": {"localhost": exported}}}))
    appc = [sys.executable, "-m", "appc", "--root", f"{tmp_path}/data", "--config", str(config)]
    (key,) = read_certificates((images / "pubkeys.gpg").read_bytes())
    _run(*appc, "trust", "add", "--prefix", NAME, "--fingerprint", key.fingerprint, "--insecure", "pubkey")
    fetched = _run(*appc, "fetch", "--insecure", "http", f"{NAME}:1.0.0,os=linux,arch=amd64")
    assert fetched == _run(*appc, "image", "id", str(images / "x.aci"))
    assert _run(*appc, "fetch", "--insecure", "http", f"{NAME}:1.0.0,os=linux,arch=amd64") == fetched


def _browser(place: Path, *words: str) -> str:
    """What the browser prints; it must have nothing to complain of, such as what the pages' policy forbids them."""
    command = [shutil.which("chromium") or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={place}/profile", "--enable-logging=stderr", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ":CONSOLE:" not in done.stderr, done.stderr
    return done.stdout


def test_a_browser_shows_the_pages(hosting: Hosting, tmp_path: Path) -> None:
    need("chromium")
    url = f"http://127.0.0.1:{hosting.port}/{NAME}"
    document = _browser(tmp_path, "--dump-dom", url)
    assert "<h1>localhost/team/app</h1>" in document
    assert "appc run localhost/team/app:1.0.0" in document
    (image,) = set(re.findall(r'href="(/-/image/[^"]+)"', document))
    for page in ("/", "/localhost/team", image):
        assert "localhost/team/app" in _browser(tmp_path, "--dump-dom", f"http://127.0.0.1:{hosting.port}{page}")
    day, night = tmp_path / "day.png", tmp_path / "night.png"
    _browser(tmp_path, "--window-size=800,600", f"--screenshot={day}", url)
    _browser(tmp_path, "--window-size=800,600", "--force-dark-mode", f"--screenshot={night}", url)
    # The style applies although the policy forbids every style but this one: the corner is its paper, not the default.
    assert _corner(day) == (0xFF, 0xFF, 0xFF)
    assert _corner(night) == (0x14, 0x17, 0x1B)


def _corner(path: Path) -> tuple[int, ...]:
    """The colour of the first pixel of a PNG file without interlacing."""
    data = path.read_bytes()
    at, pixels, depth = 8, b"", 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IHDR":
            depth = {2: 3, 6: 4}[data[at + 17]]
        elif kind == b"IDAT":
            pixels += data[at + 8 : at + 8 + length]
        at += length + 12
    return tuple(zlib.decompress(pixels)[1 : 1 + depth][:3])


def test_the_program_serves_and_ends(images: Path, tmp_path: Path) -> None:
    """As a user starts it: the URL is said, requests are logged, SIGTERM ends it."""
    log = tmp_path / "access.log"
    words = ["--listen", "127.0.0.1:0", "--access-log", str(log), "--cache", str(tmp_path / "cache"), str(images)]
    with subprocess.Popen([sys.executable, "-m", "appc", "serve", *words], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = server.stderr.readline().rpartition(" ")[2].strip()
        assert b"localhost/team/app" in _fetched(f"{url}/")
        log.rename(tmp_path / "old.log")
        server.send_signal(signal.SIGHUP)
        until(log.exists)
        _fetched(f"{url}/{NAME}")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert '"GET / HTTP/1.1" 200' in (tmp_path / "old.log").read_text()
    assert f'"GET /{NAME} HTTP/1.1" 200' in log.read_text()
