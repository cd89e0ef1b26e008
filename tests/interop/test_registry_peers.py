"""Debian's docker-registry, over TLS and with passwords, filled and read by appc, podman and skopeo."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest

from appc.cli.main import main
from appc.schema.platforms import from_machine
from capabilities import need
from image_kit import aci
from net_kit import Authority

CONFIG = """
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: DATA}, delete: {enabled: true}}
http: {addr: "127.0.0.1:PORT", tls: {certificate: CERTIFICATE, key: KEY}}
"""
HTPASSWD = "auth: {htpasswd: {realm: test, path: PASSWORDS}}\n"
ARCH = from_machine(platform.machine())


class Peer:
    """A running docker-registry, and the working directory that it and everything else is in."""

    def __init__(self, path: Path, authority: Authority, auth: bool) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.host = f"localhost:{port}"
        self.path = path
        self.authority = authority
        certificate, key = authority.certificate("localhost", "127.0.0.1")
        text = CONFIG + (HTPASSWD if auth else "")
        words = {"DATA": path / "data", "PORT": port, "CERTIFICATE": certificate, "KEY": key}
        if auth:
            (path / "passwords").write_text(run("htpasswd", "-Bbn", "me", "se:cret"))
            words["PASSWORDS"] = path / "passwords"
        for word, value in words.items():
            text = text.replace(word, str(value))
        (path / "registry.yml").write_text(text)
        self.log = (path / "registry.log").open("wb")
        # It takes variables that begin like this for its configuration.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        command = ["docker-registry", "serve", path / "registry.yml"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        self._wait(port)

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                return
            except ConnectionRefusedError:
                assert self.process.poll() is None, (self.path / "registry.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.log.close()

    def at(self, name: str) -> str:
        return f"docker://{self.host}/{name}"


def run(*words: str | Path, **environment: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


def appc(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    capfd.readouterr()
    status = main(list(words))
    captured = capfd.readouterr()
    assert status == 0, f"{' '.join(words)}: {captured.err}"
    return captured.out.strip()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=[False, True], ids=["open", "htpasswd"])
def peer(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Peer]:
    need("docker-registry")
    auth = request.param
    if auth:
        need("htpasswd")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("APPC_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    made = Peer(tmp_path, authority, auth)
    auths = {made.host: {"auth": "bWU6c2U6Y3JldA=="}} if auth else {}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    try:
        yield made
    finally:
        made.stop()


def image(path: Path, arch: str = ARCH, size: int = 0) -> str:
    labels = [("os", "linux"), ("arch", arch)]
    app = {"exec": ["/bin/busybox", "echo", "hello"], "user": "0", "group": "0"}
    busybox = Path("/bin/busybox").read_bytes()
    files = {"bin/busybox": ("file", busybox, {"mode": 0o755}), "noise": os.urandom(size)}
    return aci(path, files, version="1.0", labels=labels, app=app)


def test_push_and_pull_by_tag_and_digest(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("busybox")
    image_id = image(peer.path / "app.aci", size=40 << 20)  # in chunks
    digest = appc(capfd, "image", "push", "app.aci", peer.at("a/app:1"))
    for reference in (peer.at("a/app:1"), peer.at(f"a/app@{digest}")):
        assert appc(capfd, "fetch", "--insecure", "image", reference) == image_id
    appc(capfd, "image", "push", "--artifact", "app.aci", peer.at("a/aci:1"))
    assert appc(capfd, "fetch", "--insecure", "image", peer.at("a/aci:1")) == image_id
    assert appc(capfd, "image", "convert", peer.at("a/app:1"), "back.aci") == image_id
    assert main(["fetch", "--insecure", "image", peer.at("a/app:none")]) == 1
    assert "has no image none" in capfd.readouterr().err


def test_layers_are_mounted_and_platforms_chosen(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("busybox")
    other = "aarch64" if ARCH != "aarch64" else "amd64"
    image_id = image(peer.path / "own.aci")
    image(peer.path / "other.aci", other)
    appc(capfd, "image", "push", "own.aci", peer.at("a/app:1"))
    uploads = sorted((peer.path / "data").rglob("_uploads/*"))
    appc(capfd, "image", "push", peer.at("a/app:1"), peer.at("b/app:1"))
    assert sorted((peer.path / "data").rglob("_uploads/*")) == uploads
    digest = appc(capfd, "image", "push", "own.aci", "other.aci", peer.at("c/app:1"))
    assert appc(capfd, "fetch", "--insecure", "image", peer.at("c/app:1")) == image_id
    assert appc(capfd, "fetch", "--insecure", "image", peer.at(f"c/app@{digest}")) == image_id


def test_signatures_stand_beside_images(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("busybox")
    key = pysequoia.Tsk.generate(user_id="One <one@example.com>")
    (peer.path / "secret").write_bytes(bytes(key))
    (peer.path / "public").write_bytes(bytes(key.extract_certificate()))
    config = ("--config", str(peer.path / "config"))
    (peer.path / "config").mkdir()
    image_id = image(peer.path / "app.aci")
    appc(capfd, "image", "push", "app.aci", peer.at("a/app:1"))
    assert main([*config, "fetch", peer.at("a/app:1")]) == 1
    assert "is not signed" in capfd.readouterr().err
    appc(capfd, "image", "sign", "--key-file", "secret", peer.at("a/app:1"))
    appc(capfd, *config, "trust", "add", "--root", "public")
    assert appc(capfd, *config, "fetch", peer.at("a/app:1")) == image_id
    said = appc(capfd, *config, "image", "verify", peer.at("a/app:1"))
    assert f"signer={key.extract_certificate().fingerprint.lower()}" in said


def test_a_transfer_that_was_killed_goes_on(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("busybox")
    image_id = image(peer.path / "app.aci", size=60 << 20)
    appc(capfd, "image", "push", "app.aci", peer.at("a/app:1"))
    words = ["fetch", "--insecure", "image", peer.at("a/app:1")]
    code = f"import sys; from appc.cli.main import main; sys.exit(main({words!r}))"
    downloads = peer.path / "root/store/downloads"
    arrived = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
        while process.poll() is None and _size(downloads) <= arrived + (1 << 20):
            time.sleep(0.001)
        process.kill()
        process.wait()
        arrived = _size(downloads)
        if (peer.path / "root/store/images").is_dir():
            break
    assert arrived
    assert appc(capfd, *words) == image_id
    assert _size(downloads) == 0


def _size(directory: Path) -> int:
    try:
        return sum(path.stat().st_size for path in directory.rglob("data"))
    except FileNotFoundError:
        return 0


def test_skopeo_both_ways(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("skopeo", "busybox")
    image_id = image(peer.path / "app.aci")
    appc(capfd, "image", "push", "app.aci", peer.at("a/app:1"))
    run("skopeo", "copy", "-q", peer.at("a/app:1"), f"oci:{peer.path}/copy:1")
    assert appc(capfd, "fetch", "--insecure", "image", f"oci:{peer.path}/copy:1") == image_id
    for form in ("oci", "v2s2"):
        run("skopeo", "copy", "-q", "--format", form, f"oci:{peer.path}/copy:1", peer.at(f"b/app:{form}"))
        assert appc(capfd, "image", "convert", "--overwrite", peer.at(f"b/app:{form}"), "back.aci")
    run("skopeo", "copy", "-q", "--dest-compress-format", "zstd", f"oci:{peer.path}/copy:1", peer.at("b/app:zstd"))
    assert appc(capfd, "fetch", "--insecure", "image", peer.at("b/app:zstd"))


def test_podman_both_ways(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("podman", "busybox")
    image(peer.path / "app.aci")
    appc(capfd, "image", "push", "app.aci", peer.at("a/app:1"))
    with tempfile.TemporaryDirectory(prefix="pm-") as state:
        where = ("--root", f"{peer.path}/podman", "--runroot", state, "--storage-driver", "vfs")
        podman = ("podman", *where, "--cgroup-manager", "cgroupfs")
        try:
            run(*podman, "pull", "-q", f"{peer.host}/a/app:1")
            shown = json.loads(run(*podman, "inspect", f"{peer.host}/a/app:1"))
            assert shown[0]["Config"]["Entrypoint"] == ["/bin/busybox", "echo", "hello"]
            run(*podman, "tag", f"{peer.host}/a/app:1", f"{peer.host}/b/app:1")
            run(*podman, "push", "-q", f"{peer.host}/b/app:1")
        finally:
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                target = line.split(" ")[4]
                if target.startswith((f"{peer.path}/", f"{state}/")):
                    subprocess.run(["umount", "-l", target], check=False)
    reference = peer.at("b/app:1")
    found = appc(capfd, "fetch", "--insecure", "image", reference)
    assert found.startswith("sha512-")
    assert appc(capfd, "image", "manifest", found)


def test_what_takes_images_takes_them_from_registries(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    need("busybox", "overlay")
    image(peer.path / "app.aci")
    appc(capfd, "image", "push", "app.aci", peer.at("a/app:1"))
    reference = peer.at("a/app:1")
    assert appc(capfd, "image", "diff", "--exit-code", reference, "app.aci") == ""
    patched = appc(capfd, "image", "patch", reference, "patched.aci", "--env", "A=B")
    assert appc(capfd, "image", "diff", "app.aci", "patched.aci").startswith("M app.environment")
    assert appc(capfd, "image", "id", "patched.aci") == patched
    appc(capfd, "image", "convert", "--insecure", "image", reference, f"bundle:{peer.path}/bundle")
    assert (peer.path / "bundle/config.json").is_file()
    (peer.path / "context").mkdir()
    (peer.path / "context/Dockerfile").write_text(f"FROM {reference.removeprefix('docker://')}\nCOPY Dockerfile /\n")
    words = ["image", "build", "from-dockerfile", "--insecure", "image", "context", "built.aci"]
    environment = {**os.environ, "APPC_ROOT": str(peer.path / "builder")}

    def build(*more: str) -> int:
        # In a process of its own: it makes a mount namespace and stays in it.
        code = f"import sys; from appc.cli.main import main; sys.exit(main({[*words, *more]!r}))"
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode

    assert build("--offline") == 1
    assert build() == 0
    assert "Dockerfile" in appc(capfd, "image", "diff", "app.aci", "built.aci")
