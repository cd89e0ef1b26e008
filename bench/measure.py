"""Running one contender: wall time, processor time and peak memory of a command and all its children."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

_SAMPLE = 0.02
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Run(NamedTuple):
    """What one run took: seconds of wall clock and of all processors, peak resident KiB, bytes left in the output."""

    wall: float
    cpu: float
    rss: int
    size: int


class Contender(NamedTuple):
    """A `command` for bash that writes into the directory OUT (an environment variable), which is new for every run."""

    name: str
    command: str


def run(contender: Contender, out: Path, log: Path) -> Run:
    """Run it once on an empty `out`, and remove what it made.

    The clock stops when `sync -f` of the output has returned, for everybody: nobody gains by leaving the writing to
    the kernel. Before it starts, nothing is left to be written. SystemExit with what it printed when it fails.
    """
    out.mkdir()
    subprocess.run(["sync"], check=True)
    words = ["bash", "-c", f"set -eo pipefail; {contender.command}; sync -f $OUT"]
    with open(log, "wb") as output:
        start = time.perf_counter()
        # Not Popen.wait: what the children used comes with the status.
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "OUT": str(out)},
            start_new_session=True,
        )
        watch = _Watch(child.pid)
        try:
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        finally:
            rss = watch.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    size = _size(out)
    clear(out)
    if status:
        raise SystemExit(f"{contender.name}: {log.read_text(errors='replace')[-400:].strip()}")
    return Run(wall, usage.ru_utime + usage.ru_stime, rss, size)


def clear(directory: Path) -> None:
    """Remove a directory; what the contenders mounted in it goes first (containers' stores mount themselves)."""
    below = f"{directory}/"
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(below)), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(directory)


def compare(contenders: list[Contender], base: str, rounds: int, work: Path) -> list[dict[str, object]]:
    """Let all take turns for `rounds` rounds and return a row of medians for each, with the ratio to `base`.

    One that cannot run here is named and left out. The ratio is the median of the rounds' ratios, so that a machine
    whose speed drifts is fair to all.
    """
    runs: dict[str, list[Run]] = {one.name: [] for one in contenders}
    for _ in range(rounds):
        for one in contenders:
            if one.name not in runs:
                continue
            try:
                runs[one.name].append(run(one, work / "out", work / "log"))
            except SystemExit as problem:
                print(f"left out: {problem}", flush=True)
                del runs[one.name]
    rows: list[dict[str, object]] = []
    for name, found in runs.items():
        ratios = [one.wall / other.wall for one, other in zip(found, runs.get(base, []), strict=False)]
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(one.wall for one in found),
                "fastest": min(one.wall for one in found),
                "slowest": max(one.wall for one in found),
                "cpu": statistics.median(one.cpu for one in found),
                "rss_kib": max(one.rss for one in found),
                "bytes": found[-1].size,
                "ratio": statistics.median(ratios) if ratios else None,
            }
        )
    return rows


def table(title: str, rows: list[dict[str, object]], base: str) -> str:
    """The rows as text."""
    lines = [f"{title:34}{'s':>7}{'min':>7}{'max':>7}{'CPU s':>7}{'peak MiB':>10}{'out MB':>9}   time of {base}"]
    for row in rows:
        times = "".join(f"{row[key]:7.2f}" for key in ("seconds", "fastest", "slowest", "cpu"))
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        memory, size = int(str(row["rss_kib"])) / 1024, int(str(row["bytes"])) / 1e6
        lines.append(f"  {row['name']:32}{times}{memory:10.0f}{size:9.0f}   × {ratio}")
    return "\n".join(lines) + "\n"


class _Watch:
    """Samples the resident memory of a process and all its descendants, for what a pipeline takes together."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> int:
        """The peak in KiB."""
        self._stop.set()
        self._thread.join()
        return self._peak

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE):
            self._peak = max(self._peak, _resident(self._pid))


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [one.read_text().split() for one in Path(f"/proc/{pid}/task").glob("*/children")]
    except (OSError, IndexError):
        return 0  # it has just ended
    return pages * _PAGE_KIB + sum(_resident(int(child)) for some in children for child in some)


def _size(directory: Path) -> int:
    """Bytes of all files below; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(os.path.join(path, name))
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
