"""What a resident pod costs, and how long a launch takes."""

from __future__ import annotations

import errno
import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from planlib import (
    CLONE_NEWNS,
    MS_REC_PRIVATE,
    POD,
    Keeper,
    app_ops,
    init_ops,
    pod_plan,
    run_probe,
    sealed,
)

from appc.plan.ops import Op, Plan, Track
from appc.plan.wire import encode
from capabilities import need

pytestmark = pytest.mark.root

PSS_LIMIT = 1024  # KiB, keeper and PID 1 together
LATENCY_LIMIT = 0.010  # s, median; 3 ms on an idle machine, and tests may share theirs


def pss(pid: int) -> int:
    """Proportional set size in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("no Pss line")


def test_a_resident_pod_is_small(release: Path, pod: Path, tree: Path, record_property: pytest.RecordProperty) -> None:
    need("musl-gcc")  # what another C library costs is not ours to say
    apps = {name: app_ops(tree, "lines", "1000", "80", "wait") for name in ("one", "two")}
    keeper = Keeper(release, pod_plan(pod, apps, log_size=1 << 20, log_files=2), pod)
    assert keeper.report() == ["ready"]
    time.sleep(0.3)
    sizes = {"keeper": pss(keeper.process.pid), "init": pss(int(keeper.status("_keeper")["init"]))}
    keeper.process.send_signal(signal.SIGTERM)
    keeper.wait()
    for name, size in sizes.items():
        record_property(f"pss-{name}-kib", size)
    print(sizes)
    assert sum(sizes.values()) <= PSS_LIMIT


def test_a_resident_pod_sleeps(release: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(release, pod_plan(pod, {"web": app_ops(tree, "wait")}), pod)
    assert keeper.report() == ["ready"]
    time.sleep(0.1)

    def switches() -> list[str]:
        pids = (keeper.process.pid, keeper.status("_keeper")["init"])
        return [
            line
            for pid in pids
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if "_ctxt_switches" in line
        ]

    before = switches()
    time.sleep(0.5)
    assert switches() == before
    keeper.process.send_signal(signal.SIGTERM)
    keeper.wait()


def realistic_app(tree: Path) -> list[Op]:
    """About what an app of a pod gets, without an overlay."""
    ops = [Op("join", flag) for flag in (0x40000000, 0x08000000, 0x04000000)]
    ops += [Op("unshare", CLONE_NEWNS | 0x2000000), Op("propagation", MS_REC_PRIVATE), Op("root-bind", str(tree))]
    ops += [
        Op("mount", "proc", "proc", "/proc", 14, ()),
        Op("mount", "tmpfs", "dev", "/dev", 2, ("mode=755", "size=64k")),
        Op("mount", "sysfs", "sysfs", "/sys", 15, ()),
        Op("mkdir", "/dev/pts", 0o755, 0, 0),
        Op("mount", "devpts", "devpts", "/dev/pts", 10, ("newinstance", "ptmxmode=0666", "mode=0620")),
        Op("mkdir", "/dev/shm", 0o1777, 0, 0),
    ]
    ops += [
        Op("mknod", f"/dev/{name}", 0o020666, 1, minor, 0, 0) for name, minor in (("null", 3), ("zero", 5), ("full", 7))
    ]
    ops += [Op("symlink", f"/proc/self/fd/{fd}", f"/dev/std{name}") for fd, name in enumerate(("in", "out", "err"))]
    ops += [Op("file", "/etc/hosts", 0o644, b"127.0.0.1 localhost\n", tolerate=(errno.EEXIST,))]
    ops += [
        Op("mask", path, tolerate=(errno.ENOENT,))
        for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
    ]
    ops += [
        Op("bind", f"@{path}", path, 1, 1, tolerate=(errno.ENOENT,)) for path in ("/proc/sys", "/proc/bus", "/proc/irq")
    ]
    ops += [Op("pivot"), Op("sync", "start"), Op("rlimit", 7, 1024, 1024), Op("chdir", "/"), Op("bounding", 0xFF)]
    return [*ops, Op("ids", 0, 0, ()), Op("death-signal", 9), Op("caps", 0xFF, 0xFF, 0, 0), run_probe("exit", "0")]


def test_launch_latency(release: Path, pod: Path, tree: Path, record_property: pytest.RecordProperty) -> None:
    (pod / "init-root").mkdir()
    ops = [Op("mount-namespace"), Op("init", POD, "init", ""), Op("app", "web", "web", "null", "null", "null", "", "")]
    ops += [Op("start", "web"), Op("ready"), Op("supervise", 100, 0, 0)]
    app = realistic_app(tree)
    tracks = [Track("keeper", ops), Track("init", init_ops(pod / "init-root")), Track("web", app)]
    plan = sealed(encode(Plan(tracks)), "plan")
    init = sealed((release / "appc-init").read_bytes(), "appc-init")
    directory = os.open(pod, os.O_RDONLY)
    times = []
    for _ in range(40):
        read, write = os.pipe()
        numbers = {64: plan, 65: init, 66: directory, 67: write}
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in numbers.items()]
        started = time.perf_counter()
        keeper = [str(release / "appc-keep"), "64", "65", "66", "-", "67"]
        pid = os.posix_spawn(keeper[0], keeper, {}, file_actions=actions)
        os.close(write)
        line = os.read(read, 64)
        times.append(time.perf_counter() - started)
        assert line == b"ready\n"
        os.close(read)
        assert os.waitpid(pid, 0)[1] == 0
    for fd in (plan, init, directory):
        os.close(fd)
    best, median = min(times), statistics.median(times)
    count = sum(len(track.ops) for track in tracks)
    record_property("launch-ms", f"{best * 1000:.2f} best, {median * 1000:.2f} median, {count} ops")
    print(f"{count} ops: {best * 1000:.2f} ms best, {median * 1000:.2f} ms median")
    assert best < LATENCY_LIMIT
