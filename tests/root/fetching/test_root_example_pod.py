"""The specification's example of a pod, from three signed images on a server to its end.

A worker, a backup of what it has worked, and what registers both: pods.md, "Pod Manifest Schema".
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from netns_hosts import CLIENT, Hosts
from pod_kit import APPLETS, Appc, Done, base_files, pod_manifest, wait_for

from capabilities import need
from fetch_kit import Signer
from net_kit import Authority

HOST = {"example.com": 10}
PLATFORM = [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}]
ENDING = "trap 'echo ending; exit 0' TERM; "
FOREVER = "while :; do sleep 0.05; done"

# What the scripts find in their images: the worker answers at its port, and counts what it has done.
WORKER = f"""#!/bin/sh
{ENDING}
echo "$@"
nc -ll -p 2121 -e echo "$REPLY_WITH" &
echo done >/var/lib/work/result
{FOREVER}
"""
BACKUP = f"""#!/bin/sh
{ENDING}
until [ -s /mnt/bar/result ]; do sleep 0.05; done
(echo spoiled >/mnt/bar/result) 2>/dev/null && exit 9
cat /mnt/bar/result >/mnt/out/copy
{FOREVER}
"""
REGISTER = f"""#!/bin/sh
{ENDING}
echo registered
{FOREVER}
"""
# One request to the metadata service: METHOD, the path below the version, the body and the token to ask with.
ASK = r"""
u=${AC_METADATA_URL#http://}; where=${u%%/*}; token=${4:-${u#*/}}
printf '%s /%s/acMetadata/v1/%s HTTP/1.0\r\nMetadata-Flavor: AppContainer\r\n%s\r\n%s' "$1" "$token" "$2" \
    "${3:+Content-Type: application/x-www-form-urlencoded
Content-Length: ${#3}
}" "$3" | nc ${where%:*} ${where#*:}
"""


def handler(name: str, says: str) -> dict[str, Any]:
    return {"name": name, "exec": ["/bin/echo", says]}


IMAGES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    # The app: its image, the image's version, its script, and the rest of its app section.
    "reduce-worker": (
        "example.com/reduce-worker",
        "1.0.0",
        WORKER,
        {
            "environment": [{"name": "REPLY_WITH", "value": "reduced"}],
            "ports": [{"name": "ftp", "protocol": "tcp", "port": 2121}],
            "mountPoints": [{"name": "worklib", "path": "/var/lib/work"}],
            "eventHandlers": [handler("pre-start", "beginning"), handler("post-stop", "ended")],
            "isolators": [
                {"name": "resource/memory", "value": {"limit": "256Mi"}},
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN", "CAP_KILL"]}},
            ],
        },
    ),
    "backup": (
        "example.com/worker-backup",
        "latest",
        BACKUP,
        {
            "mountPoints": [
                {"name": "backup", "path": "/mnt/bar", "readOnly": True},
                {"name": "buildoutput", "path": "/mnt/out"},
            ],
            "eventHandlers": [handler("post-stop", "ended")],
            "isolators": [{"name": "resource/cpu", "value": {"limit": "500m"}}],
        },
    ),
    "register": (
        "example.com/reduce-worker-register",
        "3.0.0",
        REGISTER,
        {"eventHandlers": [handler("post-stop", "ended")]},
    ),
}


def app_section(name: str, *arguments: str) -> dict[str, Any]:
    return {"exec": [f"/bin/{name}", *arguments], "user": "0", "group": "0", **IMAGES[name][3]}


class Bench:
    """A server with the three images under example.com, and the machine that the pod is to run on."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.appc = Appc(base / "appc")
        signer = Signer()
        (base / "secret").write_bytes(bytes(signer.secret))
        self.fingerprint = signer.fingerprint
        images = base / "images"
        (images / "keys").mkdir(parents=True)
        (images / "keys" / "release.asc").write_bytes(signer.public)
        self.ids = {name: self._build(name, images) for name in IMAGES}
        authority = Authority(base / "ca")
        certificate, key = authority.certificate(*HOST)
        settings = {"net": {"caFile": str(authority.file), "offline": False}}
        (self.appc.config / "config.d" / "test.json").write_text(json.dumps(settings))
        serve = ("serve", "--listen", "10.83.0.10:443", "--tls-cert", str(certificate), "--tls-key", str(key))
        server = self.appc.words(*serve, "--cache", str(base / "cache"), str(images))
        self.hosts = Hosts(base, HOST, server)
        connect = [*self.hosts.in_client, "busybox", "nc", "10.83.0.10", "443", "-e", "true"]
        wait_for(lambda: subprocess.run(connect, capture_output=True).returncode == 0, "the server")

    def _build(self, name: str, images: Path) -> str:
        image, version, script, _ = IMAGES[name]
        layout = self.base / name
        (layout / "rootfs/bin").mkdir(parents=True)
        (layout / "rootfs/bin/busybox").write_bytes(base_files()["bin/busybox"][1])
        (layout / "rootfs/bin" / name).write_text(script)
        for path in (layout / "rootfs/bin").iterdir():
            path.chmod(0o755)
        for applet in APPLETS:
            (layout / "rootfs/bin" / applet).symlink_to("busybox")
        labels = [{"name": "version", "value": version}, *PLATFORM]
        manifest = {
            "acKind": "ImageManifest",
            "acVersion": "0.8.11",
            "name": image,
            "labels": labels,
            "app": app_section(name),
            "annotations": [{"name": "foo", "value": "bar"}],
        }
        (layout / "manifest").write_text(json.dumps(manifest))
        file = str(images / f"{name}.aci")
        built = self.appc("image", "build", str(layout), file)
        assert built.status == 0, built
        assert self.appc("image", "sign", "--key-file", str(self.base / "secret"), file).status == 0
        return built.out.strip()

    def __call__(self, *words: str) -> Done:
        command = [*self.hosts.in_client, *self.appc.words(*words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return Done(done.returncode, done.stdout, done.stderr)

    def manifest(self, ids: dict[str, str]) -> str:
        """A pod manifest of the shape of the example; `ids` are image IDs by app."""
        worklib = self.base / "worklib"
        worklib.mkdir(exist_ok=True)
        apps: list[dict[str, Any]] = []
        for name in ("reduce-worker", "backup", "register"):
            image, version, *_ = IMAGES[name]
            labels = [{"name": "version", "value": version}] if name != "reduce-worker" else []
            wanted = {"name": image, **({"labels": labels} if labels else {})}
            apps.append({"name": name, "image": wanted | ({"id": ids[name]} if name in ids else {})})
        apps[0]["app"] = app_section("reduce-worker", "--debug=true", "--data-dir=/var/lib/work")
        apps[0]["readOnlyRootFS"] = True
        apps[1]["mounts"] = [{"volume": "worklib", "path": "/mnt/bar"}]
        apps[1]["annotations"] = [{"name": "foo", "value": "baz"}]
        return pod_manifest(
            self.base / "pod.json",
            apps,
            volumes=[
                {"name": "worklib", "kind": "host", "source": str(worklib)},
                {"name": "buildoutput", "kind": "empty", "mode": "0777", "uid": 0, "gid": 0},
            ],
            isolators=[
                {"name": "resource/memory", "value": {"limit": "1Gi"}},
                {"name": "os/unix/sysctl", "value": {"net.ipv4.tcp_fin_timeout": "6"}},
            ],
            annotations=[{"name": "ip-address", "value": "10.1.2.3"}],
            ports=[{"name": "ftp", "hostPort": 2121}],
        )

    def start(self, ids: dict[str, str]) -> str:
        done = self("run", "--detach", "--net", "default", "--pod-manifest", self.manifest(ids))
        assert done.status == 0, done
        return done.out.strip()

    def inside(self, uuid: str, app: str, *command: str) -> str:
        done = self("enter", uuid, "--app", app, *command)
        assert done.status == 0, done
        return done.out

    def ask(self, uuid: str, app: str, path: str, *, form: str = "", token: str = "") -> tuple[str, str]:
        """Ask the metadata service from inside an app; return the status and the body."""
        words = ("POST" if form else "GET", path, form, token)
        head, _, body = self.inside(uuid, app, "/bin/sh", "-c", ASK, "ask", *words).partition("\n\n")
        return head.split()[1], body

    def stop(self, uuid: str) -> None:
        assert self("stop", uuid).status == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    need("root", "mount", "openssl", "unshare", "nsenter", "ip", "nft", "busybox", "native", "memory-controller")
    made = Bench(tmp_path_factory.mktemp("example"))
    yield made
    made.hosts.close()


@pytest.fixture
def bench(shared: Bench, sandbox: Path) -> Iterator[Bench]:
    yield shared
    for pod in shared.appc.pods():
        shared("rm", "--force", pod.uuid)
    assert shared.appc.pods() == []


def test_from_names_to_its_end(bench: Bench) -> None:
    assert bench("run", "--net", "default", "--pod-manifest", bench.manifest({})).err.startswith("appc: ")
    trusted = bench("trust", "add", "--prefix", "example.com", "--fingerprint", bench.fingerprint)
    assert trusted.status == 0, trusted
    uuid = bench.start({})

    reified = json.loads(bench("manifest", uuid).out)
    assert {app["name"]: app["image"]["id"] for app in reified["apps"]} == bench.ids
    assert reified["apps"][1]["image"]["labels"][0] == {"name": "version", "value": "latest"}
    outcomes = {(row["scope"], row["name"]): row["outcome"] for row in bench.appc.status(uuid)["isolators"]}
    assert outcomes["reduce-worker", "resource/memory"] == outcomes["pod", "resource/memory"] == "enforced"
    assert set(outcomes.values()) == {"enforced"}

    # Volumes, read only for one of them; the port, from another machine; the pod's parameters.
    wait_for(lambda: bench("enter", uuid, "--app", "backup", "/bin/cat", "/mnt/out/copy").out == "done\n")
    assert (bench.base / "worklib/result").read_text() == "done\n"
    neighbour = [*bench.hosts.in_servers, "busybox", "nc", "-w", "5", CLIENT, "2121"]
    assert subprocess.run(neighbour, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout == "reduced\n"
    assert bench.inside(uuid, "register", "/bin/cat", "/proc/sys/net/ipv4/tcp_fin_timeout") == "6\n"
    assert bench("enter", uuid, "--app", "reduce-worker", "/bin/mkdir", "/new").status != 0

    # Each app is told of itself, and of the pod.
    for app, foo in (("reduce-worker", "bar"), ("backup", "baz"), ("register", "bar")):
        assert bench.ask(uuid, app, "pod/uuid") == ("200", uuid)
        assert bench.ask(uuid, app, "pod/annotations/ip-address") == ("200", "10.1.2.3")
        assert bench.ask(uuid, app, f"apps/{app}/image/id") == ("200", bench.ids[app])
        assert bench.ask(uuid, app, f"apps/{app}/annotations/foo") == ("200", foo)
    assert bench.ask(uuid, "register", "apps/nobody/image/id")[0] == "404"
    _, signature = bench.ask(uuid, "register", "pod/hmac/sign", form="content=register+me")
    quoted = signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    verdict = [
        bench.ask(uuid, "backup", "pod/hmac/verify", form=f"content={content}&uuid={uuid}&signature={quoted}")[0]
        for content in ("register+me", "register+you")
    ]
    assert verdict == ["200", "403"]

    # Changed while it runs.
    changed = bench("update", uuid, "--app", "backup", "--cpu", "250m", "--memory", "64Mi")
    assert (changed.status, changed.out) == (0, "resource/memory=enforced\nresource/cpu=enforced\n")
    told = json.loads(bench.ask(uuid, "register", "pod/manifest")[1])
    isolators = {entry["name"]: entry["value"] for entry in told["apps"][1]["app"]["isolators"]}
    assert isolators["resource/cpu"]["limit"] == "250m"
    assert isolators["resource/memory"]["limit"] == "64Mi"

    # Each app ends, and then its handler runs.
    bench.stop(uuid)
    ended = bench.appc.status(uuid)
    assert {app["name"]: app["exit-status"] for app in ended["apps"]} == dict.fromkeys(IMAGES, 0)
    lines = [json.loads(line) for line in bench("logs", uuid, "--format", "json").out.splitlines()]
    for app in IMAGES:
        said = [line["text"] for line in lines if line["app"] == app]
        assert said[-2:] == ["ending", "ended"]
    worker = [line["text"] for line in lines if line["app"] == "reduce-worker"]
    assert worker[:2] == ["beginning", "--debug=true --data-dir=/var/lib/work"]


def test_a_strangers_token_opens_nothing(bench: Bench) -> None:
    bench("trust", "add", "--prefix", "example.com", "--fingerprint", bench.fingerprint)
    uuid = bench.start({})
    stranger = bench("run", "--detach", "example.com/reduce-worker-register")
    assert stranger.status == 0, stranger
    url = bench.inside(stranger.out.strip(), "reduce-worker-register", "/bin/sh", "-c", "echo $AC_METADATA_URL")
    for token in (url.strip().rpartition("/")[2], "0" * 32, "..", uuid):
        for path in ("pod/uuid", "pod/manifest", "pod/annotations", "apps/backup/image/manifest", "pod/log"):
            status, body = bench.ask(uuid, "backup", path, token=token)
            assert status == "401", (path, token)
            assert uuid not in body
        assert bench.ask(uuid, "backup", "pod/hmac/sign", form="content=x", token=token)[0] == "401"


def test_ids_say_which_images_are_fetched(bench: Bench) -> None:
    bench("trust", "add", "--prefix", "example.com", "--fingerprint", bench.fingerprint)
    bench("image", "rm", *bench.ids.values())
    assert bench("image", "list", "--no-legend").out == ""
    done = bench("run", "--offline", "--net", "default", "--pod-manifest", bench.manifest(bench.ids))
    assert (done.status, "is not in the store" in done.err) == (1, True)
    uuid = bench.start(bench.ids)
    assert {app["image"]["id"] for app in json.loads(bench("manifest", uuid).out)["apps"]} == set(bench.ids.values())
    bench.stop(uuid)
    bench("rm", uuid)
    other = "sha512-" + "0" * 128
    done = bench("run", "--net", "default", "--pod-manifest", bench.manifest({**bench.ids, "backup": other}))
    assert done.status == 1
    assert other[:20] in done.err
    assert bench.appc.pods() == []
