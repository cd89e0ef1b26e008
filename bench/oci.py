"""What an engine waits for: the verbs of appc-oci beside those of runc and crun, with the same bundle.

All contenders take turns in every round; figures are medians, ratios are medians of the rounds' ratios. A command is
timed from its spawn to its end, as it stands on PATH. `run` ends with complete teardown; the other verbs are those of
one container's life, whose program sleeps: create, start, state, exec of /bin/true, kill, delete. Then the same of many
containers at once, and the most memory that one process of each verb takes. crun does not run on hybrid control groups:
it has its turns where /sys/fs/cgroup is a pure cgroup2, without limits.

    python bench/oci.py [--rounds N] [--parallel N] [--json FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import Machine, enter_pure_cgroup2, timed

VERBS = ("create", "start", "state", "exec", "kill", "delete")
ROWS = ("run", *VERBS, "create+start+delete")
SUBREAPER = 36  # linux/prctl.h


class Runtime:
    """One contender: a program, its bundles and where it keeps states."""

    def __init__(self, name: str, base: Path, bundle: Path) -> None:
        self.name = name
        self.base = base
        self.words = [shutil.which(name) or name, "--root", str(base / f"states-{name}")]
        self.short = bundle
        self.long = self._sleeping(bundle)

    def _sleeping(self, bundle: Path) -> Path:
        """The same bundle with a program that stays."""
        target = bundle.with_name(f"{bundle.name}-sleeping")
        target.mkdir(exist_ok=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"]["args"] = ["/bin/sleep", "1000"]
        config["root"]["path"] = str((bundle / config["root"]["path"]).resolve())
        (target / "config.json").write_text(json.dumps(config))
        return target

    def command(self, verb: str, name: str) -> list[str]:
        """The words of a verb for the container of that name."""
        options: dict[str, list[str]] = {
            "run": ["--bundle", str(self.short)],
            "create": ["--bundle", str(self.long), "--pid-file", self.pid_file(name)],
        }
        after = {"exec": ["/bin/true"], "kill": ["KILL"]}
        return [*self.words, verb, *options.get(verb, []), name, *after.get(verb, [])]

    def pid_file(self, name: str) -> str:
        return str(self.base / f"pid-{name}")

    def reap(self, name: str) -> None:
        """Wait for a container's process, as an engine does: it is our child, since its parents have ended."""
        os.waitpid(int(Path(self.pid_file(name)).read_text()), 0)

    def life(self, name: str) -> dict[str, float]:
        """Milliseconds of each verb in a container's life, and of `run`."""
        times = {"run": timed(self.command("run", name))}
        for verb in VERBS:
            times[verb] = timed(self.command(verb, name))
            if verb == "kill":
                self.reap(name)
        times["create+start+delete"] = times["create"] + times["start"] + times["delete"]
        return times

    def memory(self, name: str) -> dict[str, float]:
        """KiB that the largest process of each verb takes, as time(1) measures it."""
        found: dict[str, float] = {}
        file = self.base / "memory"
        for verb in ("run", *VERBS):
            timed(["/usr/bin/time", "-f", "%M", "-o", str(file), *self.command(verb, name)])
            found[verb] = float(file.read_text())
            if verb == "kill":
                self.reap(name)
        return found

    def together(self, verb: str, count: int) -> float:
        """Seconds that `count` calls at once take until the last has ended."""
        actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        begin = time.perf_counter()
        pids = []
        for index in range(count):
            argv = self.command(verb, f"{self.name}-{index}")
            pids.append(os.posix_spawn(argv[0], argv, os.environ, file_actions=actions))
        failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
        if failed:
            raise SystemExit(f"{self.name} {verb}: {failed} of {count} failed")
        return time.perf_counter() - begin


def interleaved(runtimes: list[Runtime], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Runtime → row → milliseconds of each round; one that cannot run here is named and left out."""
    able = []
    for one in runtimes:
        try:
            one.life("warm-up")
            able.append(one)
        except (SystemExit, OSError) as problem:
            print(f"left out: {one.name}: {problem}")
    times: dict[str, dict[str, list[float]]] = {one.name: {row: [] for row in ROWS} for one in able}
    for number in range(rounds):
        for one in able:
            for row, elapsed in one.life(f"round-{number}").items():
                times[one.name][row].append(elapsed)
    return times


def measure(runtimes: list[Runtime], rounds: int, count: int) -> dict[str, Any]:
    """All figures of these runtimes on this machine."""
    times = interleaved(runtimes, rounds)
    able = [one for one in runtimes if one.name in times]
    many = {}
    for one in able:
        found = {"run": one.together("run", count), "create": one.together("create", count)}
        found["start"] = one.together("start", count)
        found["kill"] = one.together("kill", count)
        for index in range(count):
            one.reap(f"{one.name}-{index}")
        found["delete"] = one.together("delete", count)
        many[one.name] = found
    has_time = os.path.exists("/usr/bin/time")
    memory = {one.name: one.memory("memory") for one in able} if has_time else {}
    return {"times": times, "parallel": many, "memory": memory}


def measure_pure(base: Path, bundle: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same, crun among them, in a child with pure cgroup2 (a mount namespace cannot be left again)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            enter_pure_cgroup2()
            _subreaper()
            runtimes = [Runtime(name, base, bundle) for name in ("appc-oci", "runc", "crun")]
            os.write(writer, json.dumps(measure(runtimes, options.rounds, options.parallel)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else {}


def report(title: str, figures: dict[str, Any], base: str) -> None:
    """Print the tables."""
    if not figures:
        return
    names = list(figures["times"])
    print(f"{title + ', ms':24}" + "".join(f"{name:>22}" for name in names) + f"   ratio to {base}")
    for row in ROWS:
        line = f"  {row:22}"
        for name in names:
            values = figures["times"][name][row]
            line += f"{min(values):13.1f} {statistics.median(values):8.1f}"
        ours, theirs = figures["times"]["appc-oci"][row], figures["times"][base][row]
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        print(f"{line}   {ratio:.2f}")
    for unit, key in (("s of many at once", "parallel"), ("peak KiB", "memory")):
        for row in next(iter(figures[key].values()), {}):
            line = "".join(f"{figures[key][name][row]:22.2f}" for name in names)
            print(f"  {row:22}{line}   {unit}")
    print()


def _subreaper() -> None:
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--parallel", type=int, default=100, help="containers at once")
    parser.add_argument("--json", default="bench-oci.json", help="where the figures go")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="appc-bench-"))
    try:
        machine = Machine(base)
        pure = measure_pure(base, base / "bundle-unlimited", options)
        _subreaper()
        runtimes = [Runtime(name, base, base / "bundle") for name in ("appc-oci", "runc")]
        here = measure(runtimes, options.rounds, options.parallel)
        report("as this host is", here, "runc")
        report("pure cgroup2", pure, "crun" if "crun" in pure.get("times", {}) else "runc")
        Path(options.json).write_text(json.dumps({"host": here, "cgroup2": pure}, indent=2) + "\n")
        machine.command("gc", "--grace-period", "0s")
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
