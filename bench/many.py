"""Many pods at once: how fast they start, what they weigh, how long `list` takes, what the metadata service answers.

Every pod runs `sleep` with a memory limit and without a network. The service is asked by wrk in the network of one of
them. At the end one command stops and removes all.

    python bench/many.py [--pods N] [--seconds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = "example.com/bench-many"
STARTERS = 2  # processes that start pods at a time: one for each processor of a small machine
ROUNDS = 9


class Machine:
    """appc as it is on PATH, with everything of its own below `base`."""

    def __init__(self, base: Path) -> None:
        self.appc = shutil.which("appc") or sys.exit("bench: appc is not on PATH: pip install it first")
        self.places = ["--root", str(base / "root"), "--state", str(base / "state")]
        busybox = shutil.which("busybox") or sys.exit("bench: busybox-static is missing")
        (base / "layout/rootfs/bin").mkdir(parents=True)
        shutil.copy2(busybox, base / "layout/rootfs/bin/sleep")
        app = {"exec": ["/bin/sleep", "86400"], "user": "0", "group": "0"}
        manifest = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": NAME, "app": app}
        (base / "layout/manifest").write_text(json.dumps(manifest))
        self.command("image", "build", str(base / "layout"), str(base / "many.aci"))
        self.command("fetch", "--insecure", "image", str(base / "many.aci"))

    def command(self, *words: str) -> str:
        argv = [self.appc, *self.places, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def start(self, _: int) -> str:
        return self.command("run", "--detach", "--insecure", "image", NAME, "--memory", "16Mi").strip()


def footprint(pids: list[int]) -> int:
    """KiB of memory that processes use, shared pages counted in parts."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def metadata(pid: int, seconds: int) -> dict[str, float]:
    """Ask the metadata service from the network of a pod whose app is `pid`."""
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    url = next(text.partition("=")[2] for text in variables if text.startswith("AC_METADATA_URL="))
    words = ["nsenter", f"--net=/proc/{pid}/ns/net", "wrk", "-t1", "-c8", f"-d{seconds}s", "--latency"]
    done = subprocess.run(
        [*words, "-H", "Metadata-Flavor: AppContainer", f"{url}/acMetadata/v1/pod/uuid"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)", done)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    if found is None or rate is None:
        raise SystemExit(f"bench: wrk said {done!r}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
    lost = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", done))
    return {"requests/s": float(rate[1]), "p99 ms": float(found[1]) * scale, "lost": lost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=5, help="how long the metadata service is asked")
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="appc-many-"))
    machine = Machine(base)
    try:
        begin = time.perf_counter()
        with ThreadPoolExecutor(STARTERS) as pool:
            uuids = list(pool.map(machine.start, range(options.pods)))
        started = time.perf_counter() - begin
        pods = [json.loads(machine.command("status", "--format", "json", uuid)) for uuid in uuids]
        ours = [pid for pod in pods for pid in (pod["keeper"], pod["pid"])]
        lists = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            machine.command("list")
            lists.append((time.perf_counter() - begin) * 1000)
        figures: dict[str, float] = {
            "pods": len(uuids),
            "running": sum(pod["state"] == "running" for pod in pods),
            "starts/s": len(uuids) / started,
            "KiB of ours per pod": footprint(ours) / len(uuids),
            "list ms": statistics.median(lists),
            **metadata(pods[0]["apps"][0]["pid"], options.seconds),
        }
        begin = time.perf_counter()
        machine.command("rm", "--all", "--force")
        figures["s to stop and remove all"] = time.perf_counter() - begin
        left = [path for path in Path("/proc/self/mountinfo").read_text().splitlines() if str(base) in path]
        figures["left"] = len(left) + len(os.listdir(base / "root/pods/exited"))
    finally:
        subprocess.run(
            [machine.appc, *machine.places, "rm", "--all", "--force"], stdout=subprocess.DEVNULL, check=False
        )
        shutil.rmtree(base, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:28}{value:10.1f}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
