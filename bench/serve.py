"""`appc serve` beside nginx on the same files: throughput of one large image and requests for small ones.

Each contender serves the same directory on loopback, nginx with one worker and sendfile; wrk asks, over 200 connections
and over one. Memory is the largest resident set of the server's processes until then. Contenders take turns; processor
time is what to compare on a machine that does other work too.

    python bench/serve.py [--seconds N] [--mib SIZE] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

NAME = "localhost/bench"
SMALL, LARGE = f"{NAME}-small-linux-amd64.aci", f"{NAME}-large-linux-amd64.aci"
ROUNDS = 3


def image(path: Path, version: str, size: int) -> None:
    """An uncompressed image with one file of `size` bytes."""
    labels = [
        {"name": name, "value": value} for name, value in (("version", version), ("os", "linux"), ("arch", "amd64"))
    ]
    manifest = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": NAME, "labels": labels}
    with tarfile.open(path, "w") as archive:
        directory = tarfile.TarInfo("rootfs")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
        for name, data in (("manifest", json.dumps(manifest).encode()), ("rootfs/data", os.urandom(size))):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, BytesIO(data))


class Contender:
    """A server: how it is started, and where it has the images."""

    def __init__(self, name: str, argv: list[str], url: str) -> None:
        self.name = name
        self.url = url
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        port = int(url.split(":")[2].partition("/")[0])
        for _ in range(200):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit(f"bench: {name} does not listen")

    def resident(self) -> int:
        """KiB, of the process and its children."""
        total = 0
        for pid in self.pids():
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            total += int(found.group(1)) if found else 0
        return total

    def processor(self) -> float:
        """Seconds of processor time until now, of the process and its children."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

    def pids(self) -> list[int]:
        return [self.process.pid, *children(self.process.pid)]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wrk(url: str, connections: int, seconds: float) -> dict[str, Any]:
    """Ask for one URL; requests and MiB a second, and how many failed."""
    words = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:.0f}s", "--timeout", "30s", url]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1))  # type: ignore[union-attr]
    number, unit = re.search(r"Transfer/sec:\s+([\d.]+)(\w+)", said).groups()  # type: ignore[union-attr]
    mib = float(number) * {"B": 1 / (1 << 20), "KB": 1 / 1024, "MB": 1.0, "GB": 1024.0}[unit]
    failed = re.search(r"(Socket errors|Non-2xx).*", said)
    return {"requests/s": rate, "MiB/s": mib, "failed": failed.group(0) if failed else ""}


def contenders(place: Path) -> list[Contender]:
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(probe.getsockname()[1])
    config = place / "nginx.conf"
    temporary = " ".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; pid {place}/pid; error_log /dev/null; worker_processes 1; events {{ worker_connections 1024; }} "
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary} "
        f"server {{ listen 127.0.0.1:{ports[1]}; root {place}/htdocs; }} }}"
    )
    appc = [shutil.which("appc") or sys.exit("bench: appc is not on PATH: pip install it first")]
    subprocess.run([*appc, "serve", "--export", f"{place}/htdocs", f"{place}/images"], check=True)
    place.chmod(0o755)
    listen = ["--listen", f"127.0.0.1:{ports[0]}", "--cache", f"{place}/cache"]
    urls = [f"http://127.0.0.1:{port}/-/aci/" for port in ports]
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    return [
        Contender("appc serve", [*appc, "serve", *listen, f"{place}/images"], urls[0]),
        Contender("nginx", [nginx, "-c", str(config), "-p", str(place)], urls[1]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--mib", type=int, default=64, help="size of the large image")
    parser.add_argument("--json", help="write the figures here too")
    args = parser.parse_args()
    cases = [
        ("large image, 200 clients", LARGE, 200),
        ("large image, 1 client", LARGE, 1),
        ("4 KiB image, 200 clients", SMALL, 200),
    ]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="appc-bench-") as directory:
        place = Path(directory)
        (place / "images").mkdir()
        image(place / "images/small.aci", "small", 1024)
        image(place / "images/large.aci", "large", args.mib << 20)
        servers = contenders(place)
        try:
            for title, path, connections in cases:
                runs: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
                for _ in range(ROUNDS):
                    for server in servers:
                        before = server.processor()
                        one = wrk(server.url + path, connections, args.seconds)
                        used = server.processor() - before
                        one["s/GiB"] = used * 1024 / (one["MiB/s"] * args.seconds)
                        one["ms/request"] = used * 1000 / max(1.0, one["requests/s"] * args.seconds)
                        runs[server.name].append(one)
                for server in servers:
                    found = runs[server.name]
                    figures[f"{title}: {server.name}"] = {
                        "MiB/s": round(statistics.median(one["MiB/s"] for one in found)),
                        "requests/s": round(statistics.median(one["requests/s"] for one in found), 1),
                        "CPU s/GiB": round(statistics.median(one["s/GiB"] for one in found), 2),
                        "CPU ms/request": round(statistics.median(one["ms/request"] for one in found), 2),
                        "failed": "; ".join(filter(None, (one["failed"] for one in found))),
                        "resident MiB": round(server.resident() / 1024),
                    }
        finally:
            for server in servers:
                server.stop()
    for title, row in figures.items():
        print(f"{title:45}", *(f"{key}={value}" for key, value in row.items() if value != ""))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
