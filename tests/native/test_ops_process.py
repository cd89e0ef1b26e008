"""Each op that turns appc-init into an app, alone."""

from __future__ import annotations

import errno
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from planlib import CLONE_NEWCGROUP, FAIL, OPS_BEFORE, PROC, SYNC, InitResult, private_root, run_init, run_probe

from appc.plan.ops import UNLIMITED, Op

pytestmark = pytest.mark.root

Init = Callable[..., InitResult]

CHOWN, KILL, SETUID, NET_BIND, SYS_ADMIN = (1 << bit for bit in (0, 5, 7, 10, 21))


@pytest.fixture
def app(binaries: Path, tree: Path) -> Init:
    """Perform ops in the pivoted root with /proc; then the probe reports."""

    def perform(*ops: Op, probe: tuple[str, ...] = ("report",), **options: object) -> InitResult:
        track = [*private_root(tree), PROC, Op("pivot"), *ops, run_probe(*probe)]
        return run_init(binaries / "appc-init", track, **options)  # type: ignore[arg-type]

    return perform


FIRST = OPS_BEFORE + 2  # index of the first op given to `app`


def test_rlimit(app: Init) -> None:
    values = app(
        Op("rlimit", resource.RLIMIT_NOFILE, 100, 200), Op("rlimit", resource.RLIMIT_CORE, 0, UNLIMITED)
    ).values()
    assert values[f"rlimit.{resource.RLIMIT_NOFILE}"] == "100 200"
    assert values[f"rlimit.{resource.RLIMIT_CORE}"] == f"0 {UNLIMITED}"
    assert app(Op("rlimit", 99, 1, 1)).failure == (FIRST, errno.EINVAL)
    assert app(Op("rlimit", 1 << 32, 1, 1)).failure == (FIRST, errno.EINVAL)
    assert app(Op("rlimit", resource.RLIMIT_NOFILE, 2, 1)).failure == (FIRST, errno.EINVAL)


def test_oom_score_adj(app: Init) -> None:
    assert app(Op("oom-score-adj", "321")).values()["oom-score-adj"] == "321"
    assert app(Op("oom-score-adj", "5000")).failure == (FIRST, errno.EINVAL)


def test_oom_score_adj_is_not_written_through_the_images_proc(binaries: Path, tree: Path) -> None:
    (tree / "proc/thread-self").mkdir()
    (tree / "proc/thread-self/oom_score_adj").write_text("trap")
    track = [*private_root(tree), Op("pivot"), Op("oom-score-adj", "1"), run_probe("exit", "0")]
    assert run_init(binaries / "appc-init", track).exit_status == 0
    assert (tree / "proc/thread-self/oom_score_adj").read_text() == "trap"


def test_umask(app: Init) -> None:
    assert app().values()["umask"] == "0022"
    assert app(Op("umask", 0o077)).values()["umask"] == "0077"
    assert app(Op("umask", 0o7777)).failure == (FIRST, errno.EINVAL)


def test_keyring(app: Init) -> None:
    result = app(Op("keyring", "appc-test"), probe=("read", "/proc/keys"))
    assert result.failure is None
    if "errno" not in result.output:
        assert "appc-test" in result.output


def test_bounding_keeps_only_what_is_named(app: Init) -> None:
    assert int(app(Op("bounding", CHOWN | KILL)).values()["status.CapBnd"], 16) == CHOWN | KILL
    assert int(app(Op("bounding", 0)).values()["status.CapBnd"], 16) == 0
    everything = int(app().values()["status.CapBnd"], 16)
    assert int(app(Op("bounding", 2**64 - 1)).values()["status.CapBnd"], 16) == everything


def test_ids_and_groups(app: Init) -> None:
    values = app(Op("ids", 12, 34, ("5", "70000", "4294967294"))).values()
    assert values["uid"] == "12 12 12"
    assert values["gid"] == "34 34 34"
    assert values["groups"] == "5 70000 4294967294"
    assert int(values["status.CapEff"], 16) == int(values["status.CapPrm"], 16) == 0


@pytest.mark.parametrize(
    ("uid", "groups"),
    [(2**32 - 1, ()), (2**32, ()), (2**63, ()), (0, ("",)), (0, ("-1",)), (0, ("4294967295",)), (0, ("1x",))],
)
def test_ids_refuses_what_is_no_id(app: Init, uid: int, groups: tuple[str, ...]) -> None:
    assert app(Op("ids", uid, 0, groups)).failure == (FIRST, errno.EINVAL)


def test_caps_of_an_unprivileged_user(app: Init) -> None:
    kept = NET_BIND | KILL
    values = app(Op("bounding", kept), Op("ids", 12, 34, ()), Op("caps", NET_BIND, kept, kept, NET_BIND)).values()
    sets = {name: int(values[f"status.Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    # exec leaves a user without file capabilities its ambient ones.
    assert sets == {"Inh": kept, "Prm": NET_BIND, "Eff": NET_BIND, "Bnd": kept, "Amb": NET_BIND}


def test_caps_of_root(app: Init) -> None:
    values = app(Op("bounding", CHOWN | KILL), Op("ids", 0, 0, ()), Op("caps", CHOWN, CHOWN, 0, 0)).values()
    assert int(values["status.CapPrm"], 16) == CHOWN | KILL  # root gets its bounding set at exec
    assert int(values["status.CapInh"], 16) == int(values["status.CapAmb"], 16) == 0


def test_caps_that_do_not_fit_are_refused(app: Init) -> None:
    assert app(Op("caps", CHOWN | KILL, CHOWN, 0, 0)).failure == (FIRST, errno.EPERM)
    assert app(Op("caps", 0, CHOWN, 0, CHOWN)).failure == (FIRST, errno.EPERM)


def test_chdir(app: Init, tree: Path) -> None:
    (tree / "work dir").mkdir()
    assert app(Op("chdir", "/work dir")).values()["cwd"] == "/work dir"
    assert app(Op("chdir", "/absent")).failure == (FIRST, errno.ENOENT)
    assert app(Op("chdir", "/probe")).failure == (FIRST, errno.ENOTDIR)


def test_chdir_refuses_directories_outside_the_root(binaries: Path, tree: Path) -> None:
    host = os.open("/", os.O_RDONLY)
    track = [*private_root(tree), PROC, Op("pivot"), Op("chdir", "/proc/self/fd/9"), run_probe("report")]
    assert run_init(binaries / "appc-init", track, keep_fds={9: host}).failure == (FIRST, errno.ELOOP)
    os.close(host)


def test_no_new_privs(app: Init) -> None:
    assert app().values()["status.NoNewPrivs"] == "0"
    assert app(Op("no-new-privs")).values()["status.NoNewPrivs"] == "1"


def _filter(number: int, action: int) -> bytes:
    """A program that answers `action` to one system call and allows the rest."""
    allow = 0x7FFF0000
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, action), (0x06, 0, 0, allow)]
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def test_seccomp(app: Init) -> None:
    error = 0x00050000 | 77
    nothing = 99  # sysinfo
    result = app(Op("seccomp", 0, _filter(nothing, error)), probe=("report", "syscall", str(nothing)))
    assert result.values()["status.Seccomp"] == "2"
    assert "syscall: errno 77" in result.output


def test_seccomp_as_an_ordinary_user_with_no_new_privs(app: Init) -> None:
    ops = [Op("ids", 12, 34, ()), Op("no-new-privs"), Op("seccomp", 0, _filter(99, 0x00050000 | 77))]
    assert "syscall: errno 77" in app(*ops, probe=("syscall", "99")).output


@pytest.mark.parametrize("program", [b"", b"1234567", _filter(1, 0)[:-1], b"\xff" * 8])
def test_seccomp_refuses_what_is_no_program(app: Init, program: bytes) -> None:
    assert app(Op("seccomp", 0, program)).failure == (FIRST, errno.EINVAL)


def test_after_a_filter_only_exec_and_the_report_are_needed(release: Path, tree: Path) -> None:
    """What the compiler must add to a whitelist, it can know."""
    allowed = [0x3B, 0x142, 46, 231, 60, 157, 126]  # execve(at), sendmsg, exits, prctl, capset
    code = [(0x20, 0, 0, 0)]
    for index, number in enumerate(allowed):
        code.append((0x15, len(allowed) - index, 0, number))
    code += [(0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("<HBBI", *line) for line in code)
    track = [*private_root(tree), Op("pivot"), Op("seccomp", 0, program), Op("caps", CHOWN, CHOWN, 0, 0)]
    result = run_init(release / "appc-init", [*track, Op("exec", ("/absent",), ("x",), ())])
    assert result.failure == (OPS_BEFORE + 3, errno.ENOENT)


def test_death_signal_is_set(app: Init) -> None:
    assert app(Op("death-signal", 9)).failure is None
    assert app(Op("death-signal", 999)).failure == (FIRST, errno.EINVAL)


def test_death_signal_notices_a_keeper_that_is_gone(binaries: Path, tree: Path) -> None:
    # Nobody holds the other end of the report socket: the app must not start.
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    track = [*private_root(tree), Op("pivot"), Op("death-signal", 9), run_probe("echo", "started")]
    result = run_init(binaries / "appc-init", track, keep_fds={3: theirs.fileno()}, own_report=False)
    theirs.close()
    assert "started" not in result.output
    assert result.exit_status == 127


def test_exec_tries_candidates_in_turn(binaries: Path, tree: Path) -> None:
    def run(*files: str) -> InitResult:
        track = [*private_root(tree), Op("pivot"), Op("exec", files, ("name", "exit", "5"), ())]
        return run_init(binaries / "appc-init", track)

    (tree / "data").write_text("plain")
    (tree / "text").write_text("not a program")
    (tree / "text").chmod(0o755)
    last = OPS_BEFORE + 1
    assert run("/absent/probe", "/data/probe", "/probe").exit_status == 5
    assert run("/data", "/probe").exit_status == 5
    assert run("/absent", "/data", "/absent2").failure == (last, errno.EACCES)
    assert run("/absent").failure == (last, errno.ENOENT)
    assert run().failure == (last, errno.ENOENT)
    # No shell steps in, and nothing after it is tried.
    assert run("/text", "/probe").failure == (last, errno.ENOEXEC)


def test_exec_passes_arguments_and_environment_as_they_are(binaries: Path, tree: Path) -> None:
    words = ("", "two words", "ü", "x" * 100000)
    environment = ("A=1", "EMPTY=", "PATH=/bin", "no-equals")
    track = [
        *private_root(tree),
        PROC,
        Op("pivot"),
        Op("exec", ("/probe",), ("probe", "report", "exit", "0", *words), environment),
    ]
    lines = run_init(binaries / "appc-init", track).output.splitlines()
    assert [f"argv.{index + 4}={word}" for index, word in enumerate(words)] == [
        line for line in lines if line.startswith("argv.") and int(line[5 : line.index("=")]) >= 4
    ]
    assert [line.removeprefix("env.") for line in lines if line.startswith("env.")] == list(environment)


def test_the_app_gets_no_descriptors_signals_or_mask(app: Init) -> None:
    strays = {number: os.open("/", os.O_RDONLY) for number in (5, 10, 16, 63)}
    values = app(keep_fds=strays).values()
    for fd in strays.values():
        os.close(fd)
    assert {name for name in values if name.startswith("fd.")} == {"fd.0", "fd.1", "fd.2"}
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(values[f"status.{name}"], 16) == 0


def test_cgroup_moves_the_process(binaries: Path, tree: Path, group: Path) -> None:
    track = [
        Op("cgroup", f"{group}/cgroup.procs"),
        Op("unshare", CLONE_NEWCGROUP),
        *private_root(tree),
        PROC,
        Op("pivot"),
    ]
    lines = run_init(binaries / "appc-init", [*track, run_probe("read", "/proc/self/cgroup", "report")]).output
    name = "pids" if "unified" not in str(group) else ""
    assert any(line.endswith(f":{name}:/") for line in lines.splitlines())
    assert run_init(binaries / "appc-init", [Op("cgroup", f"{group}/absent/cgroup.procs")]).failure == (0, errno.ENOENT)


def test_a_track_must_end_in_exec_or_reap(binaries: Path) -> None:
    assert run_init(binaries / "appc-init", [Op("umask", 0)]).failure == (1, errno.ENOEXEC)


def test_ops_of_the_keeper_are_refused_before_anything_is_done(binaries: Path, sandbox: Path, group: Path) -> None:
    track = [Op("cgroup", f"{group}/cgroup.procs"), Op("ready")]
    result = run_init(binaries / "appc-init", track)
    assert result.reports == [(FAIL, 0xFFFFFFFF, errno.EBADMSG)]


def test_sync_waits_for_one_byte(app: Init) -> None:
    assert app(Op("sync", "start"), Op("sync", "again")).reports == [(SYNC, FIRST, 0), (SYNC, FIRST + 1, 0)]
