"""Fetching one signed image by its name over TLS on loopback, beside its stages alone, and skopeo with umoci.

`appc serve` hosts the first 1.6 GB of /usr as an image. appc finds it by discovery, verifies and extracts it. Its
stages are measured alone too, each by the fastest tool at hand; skopeo copies the same tree from the same server, and
from docker-registry where that is installed, and umoci unpacks it. All take turns; the clock stops when `sync -f` of
the output has returned. The processor time of the servers is counted and stated beside the client's.

    python bench/fetch.py [--quick] [--mb SIZE] [--rounds N] [--json FILE] [--dir DIR]

What can be expected of fetching is the longer of two times: the slowest stage's, and what the processors need for all
stages together. The last line says how the whole compares.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from images import MANIFEST, conditions, describe, usr_tree
from measure import Contender, clear, run
from serve import children

NAME = "localhost/bench"
STAGE = Path(__file__).with_name("stage.py")


class Server:
    """A server that was started, listening on `port`."""

    def __init__(self, port: int, argv: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                argv, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
            )
        for _ in range(600):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise SystemExit(f"bench: {argv[0]} does not listen: {log.read_text(errors='replace')[-400:]}")

    def processor(self) -> float:
        """Seconds of processor time until now."""
        ticks = 0
        for pid in (self._process.pid, *children(self._process.pid)):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(40)


class World:
    """The image, its servers with their certificate, and a configuration that trusts both; below `work`."""

    def __init__(self, work: Path, size: int) -> None:
        self.work = work
        self.rootfs = work / "layout/rootfs"
        self.rootfs.mkdir(parents=True)
        usr_tree(self.rootfs, size)
        (work / "layout/manifest").write_text(json.dumps({**MANIFEST, "name": NAME}))
        self.images, self.config, self.certificate = work / "images", work / "config", work / "tls.crt"
        self.images.mkdir()
        self.config.mkdir()
        self.aci, self.key = self.images / "bench.aci", work / "key.asc"
        self.port, self.registry_port = _free_port(), _free_port()
        self.servers: list[Server] = []
        settings = {
            "net": {"caFile": str(self.certificate)},
            "discovery": {"ports": {"localhost": self.port}},
            "paths": {"state": f"{work}/state"},
        }
        (self.config / "config.d").mkdir()
        (self.config / "config.d/bench.json").write_text(json.dumps(settings))
        self.tool = f"appc --config {self.config}"
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the servers."""
        for server in self.servers:
            server.stop()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/-/aci/{NAME}-1-linux-amd64.aci"

    @property
    def registry(self) -> str:
        """The same image for skopeo in docker-registry."""
        return f"docker://localhost:{self.registry_port}/bench:1"

    def _make(self) -> None:
        work = self.work
        home = work / "gnupg"
        home.mkdir(mode=0o700)
        os.environ["GNUPGHOME"] = str(home)
        _do(f"{self.tool} image build {work}/layout {self.aci}")
        _do("gpg --batch --passphrase '' --quick-gen-key bench@example.com ed25519 sign")
        _do(f"{self.tool} image sign {self.aci} && gpg --export --armor > {self.key} && gpgconf --kill all")
        _do(f"{self.tool} trust add --skip-fingerprint-review --prefix {NAME} {self.key}")
        _do(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
            f" -addext subjectAltName=DNS:localhost -keyout {work}/tls.key -out {self.certificate}"
        )
        (work / "trusted").mkdir()
        os.link(self.certificate, work / "trusted/ca.crt")
        _do(f"zcat {self.aci} > {work}/plain.tar")
        self._serve()

    def _serve(self) -> None:
        work = self.work
        words = ["--tls-cert", f"{self.certificate}", "--tls-key", f"{work}/tls.key", "--cache", f"{work}/cache"]
        argv = [shutil.which("appc") or "appc", "serve", "--listen", f"127.0.0.1:{self.port}", *words, f"{self.images}"]
        self.servers.append(Server(self.port, argv, work / "serve.log"))
        if shutil.which("skopeo"):
            # The first who asks waits for the conversion, or is told to come back.
            ask = f"skopeo inspect --cert-dir {work}/trusted docker://localhost:{self.port}/{NAME}:1"
            _do(f"for n in {{1..99}}; do {ask} && exit; sleep 3; done; exit 1")
        program = shutil.which("docker-registry")
        if not program or not shutil.which("skopeo"):
            return
        config = work / "registry.yml"
        http = {
            "addr": f"127.0.0.1:{self.registry_port}",
            "tls": {"certificate": f"{self.certificate}", "key": f"{work}/tls.key"},
        }
        storage = {"filesystem": {"rootdirectory": f"{work}/registry"}}
        config.write_text(json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": http}))
        registry = Server(self.registry_port, [program, "serve", str(config)], work / "registry.log")
        self.servers.append(registry)
        source = f"docker://localhost:{self.port}/{NAME}:1"
        certificates = f"--src-cert-dir {work}/trusted --dest-cert-dir {work}/trusted"
        _do(f"skopeo --insecure-policy copy -q {certificates} {source} {self.registry}")

    def stages(self) -> list[Contender]:
        """What fetching consists of, each alone."""
        python, work = f"{sys.executable} {STAGE}", self.work
        return [
            Contender(
                "receive over TLS, and keep", f"curl -sS --cacert {self.certificate} -o $OUT/image.aci {self.url}"
            ),
            Contender("verify", f"{python} verify {self.key} {self.aci}.asc {self.aci}"),
            Contender("decompress, and identify", f"{python} identify {self.aci}"),
            Contender("extract", f"tar -C $OUT --numeric-owner -xpf {work}/plain.tar"),
        ]

    def whole(self) -> list[Contender]:
        """All of it, by appc and by others."""
        found = [Contender("appc fetch", f"{self.tool} --root $OUT/store fetch {NAME}:1")]
        sources = {"appc serve": f"docker://localhost:{self.port}/{NAME}:1", "docker-registry": self.registry}
        for server, source in list(sources.items())[: len(self.servers)]:
            if shutil.which("skopeo") and shutil.which("umoci"):
                copy = f"skopeo --insecure-policy copy -q --src-cert-dir {self.work}/trusted {source} oci:$OUT/oci:1"
                unpack = "umoci unpack --image $OUT/oci:1 $OUT/bundle"
                found.append(Contender(f"skopeo, umoci from {server}", f"{copy} && {unpack}"))
        return found


class Row(NamedTuple):
    """Medians of one contender: seconds of the clock, of the client's and of the servers' processors; peak KiB."""

    name: str
    seconds: float
    client: float
    server: float
    rss: int


def measure(world: World, contenders: list[Contender], rounds: int) -> list[Row]:
    """Let all take turns."""
    found: dict[str, list[Row]] = {one.name: [] for one in contenders}
    for _ in range(rounds):
        for one in contenders:
            subprocess.run(["cat", world.aci, f"{world.work}/plain.tar"], stdout=subprocess.DEVNULL, check=True)
            before = sum(server.processor() for server in world.servers)
            result = run(one, world.work / "out", world.work / "log")
            used = sum(server.processor() for server in world.servers) - before
            found[one.name].append(Row(one.name, result.wall, result.cpu, used, result.rss))
    return [
        Row(
            name,
            *(statistics.median(one[field] for one in rows) for field in (1, 2, 3)),
            max(one.rss for one in rows),
        )
        for name, rows in found.items()
    ]


def judge(stages: list[Row], appc: Row, others: list[Row]) -> dict[str, Any]:
    """How the whole compares to its parts and to others."""
    slowest = max(one.seconds for one in stages)
    together = sum(one.client + one.server for one in stages) / len(os.sched_getaffinity(0))
    return {
        "slowest stage": slowest,
        "all stages on all processors": together,
        "time of what can be expected": appc.seconds / max(slowest, together),
        "faster than others": {one.name: one.seconds / appc.seconds for one in others},
        "peak MiB": appc.rss / 1024,
    }


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [f"{'':36}{'s':>8}{'client CPU s':>14}{'server CPU s':>14}{'peak MiB':>10}"]
    lines += [
        f"{one.name:36}{one.seconds:8.2f}{one.client:14.2f}{one.server:14.2f}{one.rss / 1024:10.0f}" for one in rows
    ]
    return "\n".join(lines)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _do(command: str) -> None:
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"bench: {command}: {done.stderr.decode(errors='replace').strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 MB of /usr, one round")
    parser.add_argument("--mb", type=int, help="MB of /usr, 1600 unless --quick")
    parser.add_argument("--rounds", type=int, help="3 unless --quick")
    parser.add_argument("--json", default="bench-fetch.json", help="where the figures go")
    parser.add_argument("--dir", help="where to work; some eight times the size is needed")
    options = parser.parse_args()
    for program in ("appc", "curl", "gpg", "openssl"):
        if not shutil.which(program):
            sys.exit(f"bench: {program} is not on PATH")
    size = (options.mb or (100 if options.quick else 1600)) * 1_000_000
    rounds = options.rounds or (1 if options.quick else 3)
    # As after Ctrl-C: what was made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    base = Path(tempfile.mkdtemp(prefix="appc-fetch-", dir=options.dir))
    try:
        world = World(base / "work", size)
        try:
            tree = describe(world.rootfs)
            compressed = world.aci.stat().st_size
            said = f"{tree['files']} files, {tree['bytes'] / 1e6:.0f} MB, compressed {compressed / 1e6:.0f} MB\n"
            print(said, flush=True)
            stages, whole = world.stages(), world.whole()
            rows = measure(world, [*stages, *whole], rounds)
        finally:
            world.close()
        print(table(rows))
        verdict = judge(rows[: len(stages)], rows[len(stages)], rows[len(stages) + 1 :])
        print(f"\nappc fetch takes {verdict['time of what can be expected']:.2f} × the time that can be expected")
        for name, factor in verdict["faster than others"].items():
            print(f"{name} takes {factor:.1f} × the time of appc fetch")
        result = {
            "conditions": conditions(base),
            "tree": {**tree, "compressed": compressed},
            "rounds": rounds,
            "rows": [one._asdict() for one in rows],
            **verdict,
        }
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    finally:
        clear(base)


if __name__ == "__main__":
    main()
