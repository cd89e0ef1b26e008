"""Start-to-exit of `/bin/true` in a cached image: appc against the runtimes that are installed.

All contenders take turns in every round, so that a machine whose speed drifts is fair to all of
them; figures are medians, ratios are medians of the rounds' ratios. Every run is timed from the
spawn to the end of the command, which for each of them is complete teardown (the process tree, its
mounts and its control groups are gone). runc and crun get the config.json that appc compiles for the
same pod. crun does not run on hybrid cgroups, so it (and appc's API once more, for the comparison)
also runs in a mount namespace where /sys/fs/cgroup is a pure cgroup2.

    python bench/bench.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY, CPU = "256Mi", "1"
LIMITS = ["--memory", MEMORY, "--cpu", CPU]
NAME = "example.com/bench-true"


def timed(argv: list[str]) -> float:
    """Run a command with its output thrown away; return wall milliseconds. It must succeed."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    start = time.perf_counter_ns()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    elapsed = (time.perf_counter_ns() - start) / 1e6
    if status:
        raise SystemExit(f"bench: {' '.join(argv)} failed with status {os.waitstatus_to_exitcode(status)}")
    return elapsed


class Machine:
    """The image, the bundle and the directories all contenders use, below one temporary directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root, self.state = base / "root", base / "state"
        self.appc = shutil.which("appc") or sys.exit("bench: appc is not on PATH: pip install it first")
        self.rootfs = base / "layout/rootfs"
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "usr"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy2(
            shutil.which("busybox") or sys.exit("bench: busybox-static is missing"), self.rootfs / "bin/busybox"
        )
        for name in ("true", "sleep", "sh"):
            (self.rootfs / "bin" / name).symlink_to("busybox")
        manifest = {
            "acKind": "ImageManifest",
            "acVersion": "0.8.11",
            "name": NAME,
            "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
            "app": {"exec": ["/bin/true"], "user": "0", "group": "0"},
        }
        (base / "layout/manifest").write_text(json.dumps(manifest))
        image = str(base / "bench.aci")
        self.command("image", "build", str(base / "layout"), image)
        self.command("fetch", "--insecure", "image", image)
        self.bundle()

    def words(self, *words: str) -> list[str]:
        return [self.appc, "--root", str(self.root), "--state", str(self.state), *words]

    def command(self, *words: str) -> str:
        return subprocess.run(self.words(*words), check=True, capture_output=True, text=True).stdout

    def bundle(self) -> None:
        """Write the OCI bundle of the same pod, with the root in place, for runc and crun."""
        target = self.base / "bundle"
        self.command("oci", "bundle", "--insecure", "image", *LIMITS, NAME, str(target))
        # Pure cgroup2 beside v1 has no controllers, and crun raises RLIMIT_MEMLOCK for device rules, which not every
        # machine allows: where it runs, it runs without limits, which is to its advantage.
        config = json.loads((target / "config.json").read_text())
        config["linux"]["resources"] = {}
        bare = self.base / "bundle-unlimited"
        bare.mkdir()
        (bare / "rootfs").symlink_to(target / "rootfs")
        config["root"]["path"] = str(target / "rootfs")
        (bare / "config.json").write_text(json.dumps(config))


class Warm:
    """appc's Python API in this process, after everything was imported."""

    def __init__(self, machine: Machine) -> None:
        import appc

        self.appc = appc
        self.where = appc.Directories(root=str(machine.root), state=str(machine.state))
        self.image = appc.fetch(NAME, insecure=("image",), pull="never", directories=self.where)

    def __call__(self) -> float:
        start = time.perf_counter_ns()
        pod = self.appc.run(self.image, memory=MEMORY, cpu=CPU, insecure=("image",), directories=self.where)
        status = pod.wait()
        elapsed = (time.perf_counter_ns() - start) / 1e6
        if status != 0:
            raise SystemExit(f"bench: the API's pod ended with {status}")
        return elapsed


def enter_pure_cgroup2() -> None:
    """Give this process a mount namespace of its own in which /sys/fs/cgroup is cgroup2 alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rec, ms_private = 0x20000, 16384, 1 << 18
    if libc.unshare(clone_newns) or libc.mount(None, b"/", None, ms_rec | ms_private, None):
        raise OSError(ctypes.get_errno(), "unshare")
    # What is mounted there may be several mounts, or none: only the new one counts.
    libc.umount2(b"/sys/fs/cgroup", 2)
    if libc.mount(b"cgroup2", b"/sys/fs/cgroup", b"cgroup2", 0, None):
        raise OSError(ctypes.get_errno(), "mount cgroup2")


def podman_run(machine: Machine) -> list[str]:
    """Import the same root as an image of podman's, and return the command that runs it with the same limits."""
    places = ["--root", f"{machine.base}/podman", "--runroot", f"{machine.base}/podman-run"]
    podman = ["podman", *places, "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
    archive = machine.base / "podman.tar"
    subprocess.run(["tar", "-C", str(machine.rootfs), "-cf", str(archive), "."], check=True)
    subprocess.run([*podman, "import", "-q", str(archive), "bench"], check=True, stdout=subprocess.DEVNULL)
    # Its own limits would be above what this machine may have to grant.
    ulimits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    limits = ["--memory", "256m", "--cpus", "1"]
    return [*podman, "run", "--rm", "--network", "none", *ulimits, *limits, "bench", "/bin/true"]


def contenders(machine: Machine, pure: bool) -> dict[str, object]:
    """Return name -> callable that runs once and returns milliseconds."""
    base = str(machine.base)
    found: dict[str, object] = {}

    def add(name: str, argv: list[str]) -> None:
        if shutil.which(argv[0]):
            found[name] = lambda: timed(argv)

    run = machine.words("run", "--insecure", "image", NAME, *LIMITS)
    if not pure:
        add("appc run", run)
        found["appc API, warm"] = Warm(machine)
        add("runc run", ["runc", "--root", f"{base}/runc", "run", "-b", f"{base}/bundle", "bench-runc"])
        if shutil.which("podman"):
            add("podman run", podman_run(machine))
        add(
            "systemd-nspawn",
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", str(machine.rootfs), "/bin/true"],
        )
        add(
            "bwrap",
            [
                "bwrap",
                "--unshare-all",
                "--ro-bind",
                str(machine.rootfs),
                "/",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "/bin/true",
            ],
        )
    else:
        found["appc API, warm (cgroup2)"] = Warm(machine)
        add("appc run (cgroup2)", run)
        add(
            "crun run (cgroup2)",
            ["crun", "--root", f"{base}/crun", "run", "-b", f"{base}/bundle-unlimited", "bench-crun"],
        )
        add(
            "runc run (cgroup2)",
            ["runc", "--root", f"{base}/runc2", "run", "-b", f"{base}/bundle-unlimited", "bench-runc"],
        )
    return found


def measure(machine: Machine, rounds: int, pure: bool) -> dict[str, list[float]]:
    """Run all contenders `rounds` times, interleaved; one that cannot run here is left out and named."""
    table = contenders(machine, pure)
    for name, once in list(table.items()):
        try:
            once()
        except SystemExit as problem:
            print(f"left out: {name}: {problem}", file=sys.stderr)
            del table[name]
    times: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(rounds):
        for name, once in table.items():
            times[name].append(once())
    return times


def measure_pure(machine: Machine, rounds: int) -> dict[str, list[float]]:
    """The same in a child with pure cgroup2 (a mount namespace cannot be left again)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter_pure_cgroup2()
            os.write(writer, json.dumps(measure(machine, rounds, pure=True)).encode())
            os._exit(0)
        except BaseException as error:
            print(f"bench: cgroup2 part: {error}", file=sys.stderr)
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else {}


def footprint(machine: Machine) -> dict[str, int]:
    """PSS in KiB and number of appc's own processes while a pod that sleeps runs detached."""
    import appc

    where = appc.Directories(root=str(machine.root), state=str(machine.state))
    with appc.run(NAME, exec="/bin/sleep", args=["60"], insecure=("image",), directories=where, grace=0.1) as pod:
        status = pod.status
        pids = [status["keeper"], status["pid"]]
        return {"processes": len(pids), "pss_kib": sum(_pss(pid) for pid in pids)}


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(pid)


def report(times: dict[str, list[float]], base: str) -> list[dict[str, object]]:
    """Return (and print) one row per contender, with the ratio to `base` round by round."""
    rows: list[dict[str, object]] = []
    print(f"{'':28}{'min ms':>9}{'median':>9}{'max':>9}   ratio to {base}")
    for name, values in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        ratios = [value / other for value, other in zip(values, times[base], strict=True)] if base in times else []
        ratio = statistics.median(ratios) if ratios else None
        rows.append(
            {"name": name, "min": min(values), "median": statistics.median(values), "max": max(values), "ratio": ratio}
        )
        print(f"{name:28}{min(values):9.1f}{statistics.median(values):9.1f}{max(values):9.1f}   {ratio or 0:.2f}")
    print()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", default="bench.json", help="where the figures go")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="appc-bench-"))
    try:
        machine = Machine(base)
        here = measure(machine, options.rounds, pure=False)
        pure = measure_pure(machine, options.rounds)
        memory = footprint(machine)
        result = {
            "rounds": options.rounds,
            "host": report(here, "runc run"),
            "cgroup2": report(pure, "crun run (cgroup2)"),
            "running pod": memory,
        }
        print(f"a running pod: {memory['processes']} processes of appc's, {memory['pss_kib']} KiB PSS together")
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
        machine.command("gc", "--grace-period", "0s")
    finally:
        # podman mounts its store on itself and leaves it so.
        subprocess.run(["umount", "--lazy", str(base / "podman/overlay")], stderr=subprocess.DEVNULL)
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
