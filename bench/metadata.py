"""How long the metadata service takes to answer a pod's first question, while every processor has other work.

The specification's validator gives up after 100 ms, and the service is not running until it is asked. Each round ends
the service, and asks again; beside it one busy loop runs for each processor.

    python bench/metadata.py [--rounds N] [--idle] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APP = "echo $AC_METADATA_URL >/out/new; /bin/busybox mv /out/new /out/url; exec /bin/busybox sleep 3600"


class Pod:
    """A running pod on the host's network, so that the questions can be asked in its app's place."""

    def __init__(self, base: Path) -> None:
        self.appc = shutil.which("appc") or sys.exit("bench: appc is not on PATH: pip install it first")
        self.root = base / "root"
        self.directories = ("--root", str(self.root), "--state", str(base / "state"))
        busybox = shutil.which("busybox") or sys.exit("bench: busybox-static is missing")
        (base / "layout/rootfs/bin").mkdir(parents=True)
        shutil.copy2(busybox, base / "layout/rootfs/bin/busybox")
        app = {
            "exec": ["/bin/busybox", "sh", "-c", APP],
            "user": "0",
            "group": "0",
            "mountPoints": [{"name": "out", "path": "/out"}],
        }
        manifest = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/bench-metadata", "app": app}
        (base / "layout/manifest").write_text(json.dumps(manifest))
        image, out = str(base / "bench.aci"), base / "out"
        out.mkdir()
        self.command("image", "build", str(base / "layout"), image)
        options = ("--detach", "--net", "host", "--insecure", "image", "--volume", f"out,kind=host,source={out}")
        self.uuid = self.command("run", *options, image).strip()
        while not (out / "url").exists():
            time.sleep(0.01)
        self.url = (out / "url").read_text().strip()

    def command(self, *words: str) -> str:
        argv = [self.appc, *self.directories, *words]
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout

    def ask(self) -> float:
        """Ask for the pod's UUID; return how long the answer took, in milliseconds."""
        start = time.perf_counter_ns()
        with urllib.request.urlopen(self.url + "/acMetadata/v1/pod/uuid", timeout=20) as answer:
            given = answer.read().decode()
        elapsed = (time.perf_counter_ns() - start) / 1e6
        if given != self.uuid:
            raise SystemExit(f"bench: the service says {given!r}")
        return elapsed

    def services(self) -> list[int]:
        """The processes that serve this pod."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.root).encode() in words and any(word.endswith(b"/metadata/start.py") for word in words):
                found.append(int(entry.name))
        return found

    def end_service(self) -> None:
        for pid in self.services():
            os.kill(pid, signal.SIGKILL)
        while self.services():
            time.sleep(0.005)
        time.sleep(0.02)

    def end(self) -> None:
        self.command("stop", "--force", self.uuid)
        self.command("gc", "--grace-period", "0s")


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--idle", action="store_true", help="without the busy loops")
    parser.add_argument("--json", metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="appc-bench-"))
    loops = 0 if options.idle else os.cpu_count() or 1
    try:
        pod = Pod(base)
        times = []
        with busy(loops):
            load = os.getloadavg()[0]
            for _ in range(options.rounds):
                pod.end_service()
                times.append(pod.ask())
        pod.end()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    times.sort()
    figures = {
        "rounds": options.rounds,
        "busy loops": loops,
        "load before": load,
        "median": statistics.median(times),
        "p99": times[max(0, int(options.rounds * 0.99) - 1)],
        "max": times[-1],
    }
    print(
        f"first answer of the metadata service, {loops} busy loops (load before: {load:.1f}): "
        f"median {figures['median']:.1f} ms, p99 {figures['p99']:.1f} ms, max {figures['max']:.1f} ms"
    )
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
