"""Drives appc-keep and appc-init as their callers do: plans in sealed memory, descriptors by number."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from appc.plan.ops import Op, Plan, Track
from appc.plan.wire import encode

CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
POD = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET

MS_REC_PRIVATE = 0x44000
OPS_BEFORE = 3  # ops of private_root, so: the index of the first op after them
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8

FAIL, SYNC, READY, CONSOLE, WARN = 1, 2, 3, 4, 5
NO_OP = 0xFFFFFFFF


def sealed(data: bytes, name: str) -> int:
    """Return a sealed memory file of `data` that can be executed."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class InitResult:
    """What one appc-init said and did: reports as (kind, index, errno), wait status, output."""

    def __init__(self, reports: list[tuple[int, int, int]], status: int, output: str) -> None:
        self.reports = reports
        self.status = status
        self.output = output

    @property
    def failure(self) -> tuple[int, int] | None:
        """(op index, errno) of the failed op."""
        return next(((index, error) for kind, index, error in self.reports if kind == FAIL), None)

    @property
    def exit_status(self) -> int:
        return os.waitstatus_to_exitcode(self.status)

    def values(self) -> dict[str, str]:
        """The probe's "key=value" lines."""
        return dict(line.partition("=")[::2] for line in self.output.splitlines() if "=" in line)


def run_init(
    init: Path,
    ops: Sequence[Op] | bytes,
    *,
    prefix: Sequence[str] = (),
    keep_fds: dict[int, int] | None = None,
    own_report: bool = True,
    timeout: float = 20.0,
) -> InitResult:
    """Run one track, answering each rendezvous at once. `ops` may be the wire bytes of a plan with a track "t".

    `prefix` is put before the command (strace); `keep_fds` maps descriptor numbers the child gets to ours, which with
    `own_report` false includes its report socket.
    """
    data = ops if isinstance(ops, bytes) else encode(Plan([Track("t", list(ops))]))
    plan = sealed(data, "plan")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    out_read, out_write = os.pipe()
    # Numbers no child knows, so that placing them in the child covers none.
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for number, fd in (keep_fds or {}).items()}
    if own_report:
        high[3] = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    high[4] = fcntl.fcntl(plan, fcntl.F_DUPFD_CLOEXEC, 100)
    # Pytest's own descriptors are no part of the test.
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, out_write, number) for number in (1, 2)]
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in range(3, 64)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()]
    command = [*prefix, str(init), "t"]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions, setsid=True)
    for fd in (*high.values(), plan, out_write):
        os.close(fd)
    theirs.close()
    reports = []
    ours.settimeout(timeout)
    deadline = time.monotonic() + timeout
    try:
        while True:
            packet, ancillary, _, _ = ours.recvmsg(64, 64)
            if not packet:
                break
            kind, index, error, _ = struct.unpack("<4I", packet)
            reports.append((kind, index, error))
            for _, _, fds in ancillary:
                for fd in array.array("i", fds):
                    os.close(fd)
            if kind in (SYNC, CONSOLE):
                ours.send(b"x")
            if kind == READY:
                break
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
    ours.close()
    chunks = []
    while chunk := os.read(out_read, 65536):
        chunks.append(chunk)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
    os.close(out_read)
    _, status = os.waitpid(pid, 0)
    return InitResult(reports, status, b"".join(chunks).decode(errors="replace"))


PROC = Op("mount", "proc", "proc", "/proc", NOSUID | NODEV | NOEXEC, ())


def wait_for(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until the condition holds; files it reads may not be there yet."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise TimeoutError("it did not come to pass")


def wait_idle(pid: int, timeout: float = 20.0) -> None:
    """Wait until a process sleeps, and has slept for a tenth of a second without being woken."""
    seen = ""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text()
        if status == seen and "\nState:\tS " in status:
            return
        seen = status
        time.sleep(0.1)
    raise TimeoutError(f"process {pid} does not come to rest:\n{seen}")


def ticks(pid: int) -> int:
    """The processor time a process has used, in clock ticks."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def _signals(pid: int, field: str) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1], 16)


def wait_listening(pid: int) -> None:
    """Wait until a keeper takes signals as events: one that came earlier would just end it."""
    wait_for(lambda: bool(_signals(pid, "SigBlk") >> (signal.SIGTERM - 1) & 1))


def wait_taken(pid: int, number: int) -> None:
    """Wait until a process has taken the signal it was sent: a second one would be merged with one that is pending."""
    wait_for(lambda: not _signals(pid, "ShdPnd") >> (number - 1) & 1)


def private_root(tree: Path) -> list[Op]:
    """The ops that make `tree` the root, in a mount namespace of its own."""
    return [Op("unshare", CLONE_NEWNS), Op("propagation", MS_REC_PRIVATE), Op("root-bind", str(tree), str(tree))]


def probe_tree(tree: Path, probe: Path) -> Path:
    """Make a small root that holds the probe at /probe."""
    for name in ("proc", "dev", "tmp", "etc", "sys"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    if not (tree / "probe").exists():
        os.link(probe, tree / "probe") if _same_device(probe, tree) else _copy(probe, tree / "probe")
    return tree


def _same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
    target.chmod(0o755)


def run_probe(*actions: str) -> Op:
    """The op that ends a track as the probe with these actions."""
    return Op("exec", ("/probe",), ("probe", *actions), ("PATH=/",))


def app_ops(tree: Path, *actions: str, joins: bool = True, before: Sequence[Op] = ()) -> list[Op]:
    """A whole app of a pod: namespaces, root with /proc, rendezvous, probe."""
    ops = [Op("join", flag) for flag in (CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS)] if joins else []
    ops += private_root(tree)
    ops += [PROC, Op("pivot"), Op("sync", "start"), *before, Op("death-signal", 9), run_probe(*actions)]
    return ops


def init_ops(tree: Path) -> list[Op]:
    """PID 1 as pods have it."""
    return [
        Op("root-tmpfs", str(tree), ("mode=0555", "size=4k")),
        Op("pivot"),
        Op("hostname", "pod"),
        Op("link-up", "lo"),
        Op("death-signal", 9),
        Op("reap"),
    ]


class Keeper:
    """A keeper that runs a plan over a pod directory."""

    def __init__(
        self,
        binaries: Path,
        plan: Plan | bytes,
        pod: Path | None,
        *,
        detached: bool = True,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        prefix: Sequence[str] = (),
        pass_more: Sequence[int] = (),
        sockets: Sequence[int] = (),
        init: Path | None = None,
        close_standard: bool = False,
    ) -> None:
        plan_fd = sealed(plan if isinstance(plan, bytes) else encode(plan), "plan")
        init_fd = sealed((init or binaries / "appc-init").read_bytes(), "appc-init")
        fds = [plan_fd, init_fd]
        pod_fd = lock_fd = -1
        if pod is not None:
            pod_fd = os.open(pod, os.O_RDONLY | os.O_DIRECTORY)
            lock_fd = os.open(pod / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fds += [pod_fd, lock_fd]
        self._report = -1
        report_write = -1
        if detached:
            self._report, report_write = os.pipe()
            fds.append(report_write)
        numbers = [str(fd) if fd >= 0 else "-" for fd in (plan_fd, init_fd, pod_fd, lock_fd, report_write)]
        command = [*prefix, str(binaries / "appc-keep"), *numbers, *map(str, sockets)]
        if close_standard:
            command = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
        self.process = subprocess.Popen(
            command,
            pass_fds=[*fds, *pass_more, *sockets],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        for fd in fds:
            os.close(fd)
        self.pod = pod

    def report(self, timeout: float = 20.0) -> list[str]:
        """The lines of the report pipe, up to its end."""
        data = b""
        os.set_blocking(self._report, False)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                chunk = os.read(self._report, 4096)
            except BlockingIOError:
                time.sleep(0.002)
                continue
            if not chunk:
                break
            data += chunk
        else:
            raise TimeoutError(f"the report pipe stays open after {data!r}")
        os.close(self._report)
        return data.decode().splitlines()

    def wait(self, timeout: float = 20.0) -> tuple[int, str, str]:
        """(exit status, output, errors) of the keeper."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()

    def change(self, plan: Plan | bytes, *, seal: bool = True) -> list[str]:
        """Have the keeper perform the change of a plan, and return what it reports."""
        data = plan if isinstance(plan, bytes) else encode(plan)
        fd = sealed(data, "change") if seal else os.memfd_create("change", os.MFD_CLOEXEC)
        if not seal:
            os.write(fd, data)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(20)
            control.connect(f"{self.pod}/control")
            socket.send_fds(control, [b"c"], [fd])
            os.close(fd)
            lines = []
            while packet := control.recv(4096):
                lines.append(packet.decode().rstrip("\n"))
        return lines

    def status(self, name: str) -> dict[str, str]:
        """A status file of the pod."""
        assert self.pod is not None
        text = (self.pod / "status" / name).read_text()
        return dict(line.partition("=")[::2] for line in text.splitlines())

    def entries(self, name: str) -> list[str]:
        """The entries of a log as they are, without their times."""
        assert self.pod is not None
        return [line.partition(" ")[2] for line in (self.pod / "logs" / f"{name}.log").read_text().splitlines()]

    def log(self, name: str) -> list[str]:
        """The lines of a log, "stdout F TEXT": parts of a line put together."""
        return whole_lines(self.entries(name))


def whole_lines(entries: Iterable[str]) -> list[str]:
    """The lines that entries of a log make up; what has no end yet comes last, with a P."""
    lines = []
    parts = {"stdout": "", "stderr": ""}
    for entry in entries:
        stream, tag, text = entry.split(" ", 2)
        parts[stream] += text
        if tag == "F":
            lines.append(f"{stream} F {parts[stream]}")
            parts[stream] = ""
    return lines + [f"{stream} P {text}" for stream, text in parts.items() if text]


def pod_plan(
    pod: Path,
    apps: dict[str, list[Op]],
    *,
    keeper: Sequence[Op] = (),
    tracks: Sequence[Track] = (),
    before_start: Sequence[Op] = (),
    mode: str = "log",
    grace: int = 2000,
    log_size: int = 0,
    log_files: int = 0,
    teardown: Sequence[Op] = (),
    flags: int = POD,
) -> Plan:
    """A pod of `apps` (name → ops), its output to logs unless `mode` says else."""
    (pod / "init-root").mkdir(exist_ok=True)
    (pod / "logs").mkdir(exist_ok=True)
    ops = [Op("mount-namespace"), *keeper, Op("init", flags, "init", "")]
    ops += [Op("app", name, f"app {name}", "null", mode, mode, f"logs/{name}.log", "") for name in apps]
    ops += before_start
    ops += [Op("start", name) for name in apps]
    ops += [Op("ready"), Op("supervise", grace, log_size, log_files)]
    return Plan(
        [
            Track("keeper", ops),
            Track("init", init_ops(pod / "init-root")),
            *(Track(f"app {name}", body) for name, body in apps.items()),
            *tracks,
            Track("teardown", [Op("record"), *teardown]),
        ],
    )
