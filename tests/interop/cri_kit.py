"""containerd's CRI plug-in with our runtime as a handler; and images, made here, that critest asks registries for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from engine_kit import PATIENCE, listens, run, write_runtime

from oci_kit import Entries, Layout, layer

PAUSE = "registry.k8s.io/pause:3.6"
HERE, THERE = "registry.k8s.io/e2e-test-images", "gcr.io/k8s-staging-cri-tools"
BOX = f"{HERE}/busybox:1.29-2"
NETWORK = "appc-cri"
PROGRAMS = "/usr/lib/cni"
SNAPSHOTTER = "overlayfs"

# Beside appc there is runc, for what one has to be compared with.
CONFIG = """version = 2
root = "{base}/root"
state = "{base}/state"
[grpc]
address = "{base}/sock"
[ttrpc]
address = "{base}/ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{base}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "appc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.appc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.appc.options]
BinaryName = "{runtime}"
Root = "{base}/states"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
CNI = {
    "cniVersion": "0.4.0",
    "name": NETWORK,
    "plugins": [
        {
            "type": "bridge",
            "bridge": NETWORK,
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.98.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
USERS = {"root": 0, "default-user": 1000, "www-data": 33, "nobody": 65534}
# A web server that says where its process is.
NGINX = """daemon off;
worker_processes 1;
error_log stderr;
pid /var/run/nginx.pid;
user nobody;
events {{ }}
http {{
    access_log off;
    server {{ listen {port}; location / {{ root /html; }} }}
}}
"""
# What Debian's busybox lacks, as far as it is asked for.
SCRIPTS = {
    "pgrep": 'for entry in /proc/[0-9]*; do [ "$(cat $entry/comm)" != "$1" ] || echo "${entry#/proc/}"; done',
    "ipcs": "cat /proc/sysvipc/shm",
}
# Says on behalf of whom a program with the set-user-ID bit runs.
EFFECTIVE = '#include <stdio.h>\n#include <unistd.h>\nint main(void){printf("Effective uid: %u\\n",geteuid());}\n'


def program(content: bytes, mode: int = 0o755) -> tuple[object, ...]:
    """An entry that is a program."""
    return ("file", content, {"mode": mode})


def box() -> Entries:
    """busybox with each of its applets as a file of its own, which can be masked."""
    busybox = os.path.realpath(shutil.which("busybox") or "/bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, check=True).stdout.decode().split()
    made: Entries = [(name, ("dir", 0o755)) for name in ("bin", "etc", "root", "proc", "sys", "dev", "var", "var/run")]
    users = "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in USERS.items())
    groups = "".join(f"{name}:x:{number}:\n" for name, number in USERS.items())
    groups += "users:x:100:\ngroup-defined-in-image:x:50000:default-user\n"
    made += [("tmp", ("dir", 0o1777)), ("etc/passwd", users), ("etc/group", groups)]
    made += [(f"bin/{name}", program(f"#!/bin/sh\n{script}\n".encode())) for name, script in SCRIPTS.items()]
    made += [("bin/busybox", program(Path(busybox).read_bytes()))]
    return made + [(f"bin/{name}", ("hard", "bin/busybox", 0o755)) for name in applets if name != "busybox"]


def nginx(port: int) -> Entries:
    """What Debian's nginx needs to serve one page."""
    path = shutil.which("nginx") or "/usr/sbin/nginx"
    told = subprocess.run(["ldd", path], capture_output=True, check=True).stdout.decode()
    needed = [word for word in told.split() if word.startswith("/")]
    made: Entries = [("usr/sbin/nginx", program(Path(path).read_bytes()))]
    made += [(name[1:], program(Path(name).read_bytes())) for name in needed]
    made += [("html/index.html", "Welcome to nginx!\n"), ("var/log/nginx", ("dir", 0o755))]
    return [*made, ("var/lib/nginx", ("dir", 0o755)), ("etc/nginx/nginx.conf", NGINX.format(port=port))]


def wanted(effective: bytes) -> dict[str, tuple[list[bytes], dict[str, object]]]:
    """Name of an image → its layers and configuration."""
    common, web = layer(*box()), {"Entrypoint": ["/usr/sbin/nginx"]}
    httpd = {"Entrypoint": ["/bin/sh", "-c", "echo httpd -D FOREGROUND; exec nginx"]}
    users = {
        "user-uid": "1002",
        "user-username": "www-data",
        "user-uid-group": "1003:users",
        "user-username-group": "www-data:100",
        "predefined-group": "1000",
    }
    return {
        PAUSE: ([common], {"Entrypoint": ["/bin/tail", "-f", "/dev/null"]}),
        BOX: ([common], {"Cmd": ["sh"]}),
        f"{HERE}/nginx:1.14-2": ([common, layer(*nginx(80))], web),
        f"{HERE}/httpd:2.4.39-4": ([common, layer(*nginx(80))], httpd),
        f"{HERE}/nonewprivs:1.3": ([common, layer(("nnp", program(effective, 0o4755)))], {"Entrypoint": ["/nnp"]}),
        f"{THERE}/hostnet-nginx-amd64:latest": ([common, layer(*nginx(12003))], web),
        **{f"{THERE}/test-image-{name}:latest": ([common], {"User": user}) for name, user in users.items()},
    }


def write_images(base: Path) -> list[Path]:
    """Write archives of all the images; return their paths."""
    compiled = base / "effective"
    compiler = ["cc", "-static", "-x", "c", "-o", str(compiled), "-"]
    subprocess.run(compiler, input=EFFECTIVE.encode(), check=True, timeout=PATIENCE)
    paths = []
    for number, (name, (layers, config)) in enumerate(wanted(compiled.read_bytes()).items()):
        image = Layout()
        made = image.image(layers, {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **config}, compress="")
        image.tag(made, annotations={"io.containerd.image.name": name})
        paths.append(base / f"image{number}.tar")
        image.archive(paths[-1])
    return paths


class Cri:
    """A containerd in namespaces of its own, with its CRI plug-in; critest leaves segments of shared memory there."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.endpoint = f"unix://{base}/sock"
        # Where the runtime keeps states.
        self.states = base / "states"
        runtime = write_runtime(base / "appc-oci")
        (base / "cni").mkdir()
        (base / "cni/10-pods.conflist").write_text(json.dumps(CNI))
        config = CONFIG.format(base=base, pause=PAUSE, cni=PROGRAMS, runtime=runtime, snapshotter=SNAPSHOTTER)
        (base / "config.toml").write_text(config)
        script = 'ip link set lo up && exec containerd --config "$0"'
        with (base / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "--ipc", "sh", "-c", script, str(base / "config.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not listens(base / "sock"):
            assert self._process.poll() is None, (base / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for path in write_images(base):
            self("ctr", "--address", str(base / "sock"), "--namespace", "k8s.io", "images", "import", str(path))
            path.unlink()

    def __call__(self, *words: str, patience: float = PATIENCE, fails: int | None = 0) -> str:
        """Run a command in containerd's namespaces; return what it said."""
        own = f"/proc/{self._process.pid}/ns"
        entered = ("nsenter", f"--net={own}/net", f"--ipc={own}/ipc", *words)
        return run([*entered], patience=patience, fails=fails)

    def end(self) -> None:
        """End containerd."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)
