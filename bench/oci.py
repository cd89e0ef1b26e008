"""What an engine waits for: the verbs of appc-oci beside those of runc and crun, with the same bundle.

All contenders take turns in every round; figures are medians, ratios are medians of the rounds' ratios. A command is
timed from its spawn to its end, as it stands on PATH. `run` ends with complete teardown; the other verbs are those of
one container's life, whose program sleeps: create, start, state, exec of /bin/true, kill, delete. Then the same of many
containers at once, and the most memory that one process of each verb takes. crun does not run on hybrid control groups:
it has its turns where /sys/fs/cgroup is a pure cgroup2, without limits.

The processors' time says more than the clock's where the machine has other work. It is that of a command and of what
it waited for; the container's own process, which makes most of its container itself, counts to `create`.

    python bench/oci.py [--rounds N] [--parallel N] [--json FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import Machine, enter_pure_cgroup2

VERBS = ("create", "start", "state", "exec", "kill", "delete")
ROWS = ("run", *VERBS, "create+start+delete")
SUBREAPER = 36  # linux/prctl.h


Took = tuple[float, float]  # by the clock, by the processors


def spawn(argv: list[str]) -> int:
    """Start a command with its output thrown away; return its pid."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)


def timed(argv: list[str]) -> Took:
    """Run a command, which must succeed; return milliseconds."""
    begin = time.perf_counter()
    _, status, usage = os.wait4(spawn(argv), 0)
    elapsed = time.perf_counter() - begin
    if status:
        raise SystemExit(f"bench: {' '.join(argv)} failed with status {os.waitstatus_to_exitcode(status)}")
    return elapsed * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


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

    def reap(self, name: str) -> float:
        """Wait for a container's process, as an engine does: it is our child, since its parents have ended.

        Returns the milliseconds of processors that it took.
        """
        _, _, usage = os.wait4(int(Path(self.pid_file(name)).read_text()), 0)
        return (usage.ru_utime + usage.ru_stime) * 1e3

    def life(self, name: str) -> dict[str, Took]:
        """Milliseconds of each verb in a container's life, and of `run`."""
        times = {"run": timed(self.command("run", name))}
        for verb in VERBS:
            times[verb] = timed(self.command(verb, name))
            if verb == "kill":
                clock, processors = times["create"]
                times["create"] = clock, processors + self.reap(name)
        three = [times[verb] for verb in ("create", "start", "delete")]
        times["create+start+delete"] = sum(clock for clock, _ in three), sum(processors for _, processors in three)
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

    def together(self, verb: str, count: int) -> Took:
        """Seconds that `count` calls at once take until the last has ended."""
        before, begin = _used(), time.perf_counter()
        pids = [spawn(self.command(verb, f"{self.name}-{index}")) for index in range(count)]
        failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
        if failed:
            raise SystemExit(f"{self.name} {verb}: {failed} of {count} failed")
        return time.perf_counter() - begin, _used() - before


def _used() -> float:
    """Seconds of the processors that our children took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def interleaved(runtimes: list[Runtime], rounds: int) -> dict[str, dict[str, list[Took]]]:
    """Runtime → row → milliseconds of each round; one that cannot run here is named and left out."""
    able = []
    for one in runtimes:
        try:
            one.life("warm-up")
            able.append(one)
        except (SystemExit, OSError) as problem:
            print(f"left out: {one.name}: {problem}")
    times: dict[str, dict[str, list[Took]]] = {one.name: {row: [] for row in ROWS} for one in able}
    for number in range(rounds):
        for one in able:
            for row, took in one.life(f"round-{number}").items():
                times[one.name][row].append(took)
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
    print(f"{title}: ms, least and median; ms of processors, median; their ratios to {base}")
    print(" " * 24 + "".join(f"{name:>24}" for name in names))
    for row in ROWS:
        line = f"  {row:22}"
        for name in names:
            clock, processors = zip(*figures["times"][name][row], strict=True)
            line += f"{min(clock):8.1f}{statistics.median(clock):8.1f}{statistics.median(processors):8.1f}"
        pairs = list(zip(figures["times"]["appc-oci"][row], figures["times"][base][row], strict=True))
        ratios = [statistics.median(one[kind] / max(other[kind], 0.1) for one, other in pairs) for kind in (0, 1)]
        print(f"{line}   {ratios[0]:.2f} {ratios[1]:.2f}")
    print("many at once: s, s of processors")
    for row in next(iter(figures["parallel"].values())):
        print(f"  {row:22}" + "".join("{:16.2f}{:8.2f}".format(*figures["parallel"][name][row]) for name in names))
    print("memory of the largest process, MiB")
    for row in next(iter(figures["memory"].values()), {}):
        print(f"  {row:22}" + "".join(f"{figures['memory'][name][row] / 1024:24.1f}" for name in names))
    print(flush=True)


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
