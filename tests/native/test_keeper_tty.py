"""Terminals, and commands that enter a running pod."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from planlib import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    Keeper,
    app_ops,
    pod_plan,
    run_probe,
    wait_for,
)

from appc.plan.ops import Op, Plan, Track

pytestmark = pytest.mark.root

DEVPTS = [
    Op("mkdir", "/dev/pts", 0o755, 0, 0),
    Op("mount", "devpts", "devpts", "/dev/pts", 0, ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
]


class Terminal:
    """A terminal as a person has one: what is typed, what is seen."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.resize(40, 100)
        os.set_blocking(self.master, False)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def shows(self, text: str) -> bool:
        """Whether the text has appeared by now."""
        try:
            self.seen += os.read(self.master, 65536).decode()
        except BlockingIOError:
            pass
        return text in self.seen

    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def tty_app(tree: Path, *actions: str, before: tuple[Op, ...] = ()) -> list[Op]:
    ops = app_ops(tree, *actions, before=before)
    pivot = ops.index(Op("pivot"))
    ops[pivot:pivot] = [*DEVPTS, Op("console", 0, 0)]
    return ops


def tty_plan(pod: Path, app: list[Op]) -> Plan:
    plan = pod_plan(pod, {"web": app})
    plan.track("keeper").ops[2] = Op("app", "web", "app web", "tty", "tty", "tty", "logs/web.log", "")
    return plan


def on(binaries: Path, pod: Path, terminal: Terminal, *actions: str, tree: Path) -> Keeper:
    plan = tty_plan(pod, tty_app(tree, *actions))
    return Keeper(
        binaries, plan, pod, detached=False, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave
    )


def test_an_app_on_the_callers_terminal(binaries: Path, pod: Path, tree: Path, terminal: Terminal) -> None:
    keeper = on(binaries, pod, terminal, "window", "echo", "ready", "cat", "exit", "6", tree=tree)
    wait_for(lambda: terminal.shows("ready\r\n"))
    assert "window 40 100" in terminal.seen
    assert terminal.raw()
    terminal.type("typed\n\x04")
    assert keeper.wait()[0] == 6
    # Once by the terminal's own echo, once by the app.
    wait_for(lambda: terminal.shows("typed\r\ntyped\r\n"))
    assert not terminal.raw()
    assert [line.rstrip("\r") for line in keeper.log("web")][-1] == "stdout F typed"


def test_control_c_goes_to_the_app(binaries: Path, pod: Path, tree: Path, terminal: Terminal) -> None:
    keeper = on(binaries, pod, terminal, "trap", "2", "9", "echo", "ready", "wait", tree=tree)
    wait_for(lambda: terminal.shows("ready"))
    terminal.type("\x03")
    assert keeper.wait()[0] == 9
    assert keeper.status("web")["status"] == "9"


def test_a_changed_window_is_passed_on(binaries: Path, pod: Path, tree: Path, terminal: Terminal) -> None:
    actions = ("trap", "28", "0", "echo", "ready", "wait")
    keeper = on(binaries, pod, terminal, *actions, tree=tree)
    wait_for(lambda: terminal.shows("ready"))
    terminal.resize(50, 120)
    keeper.process.send_signal(signal.SIGWINCH)
    assert keeper.wait()[0] == 0
    assert terminal.shows("caught 28")


def test_the_terminal_is_restored_when_the_launch_fails(
    binaries: Path, pod: Path, tree: Path, terminal: Terminal
) -> None:
    app = [*tty_app(tree)[:-1], Op("exec", ("/absent",), ("absent",), ())]
    keeper = Keeper(binaries, tty_plan(pod, app), pod, detached=False, stdin=terminal.slave, stdout=terminal.slave)
    assert keeper.wait()[0] == 125
    assert not terminal.raw()


def test_input_that_ends_is_an_end_of_file_on_the_console(binaries: Path, pod: Path, tree: Path) -> None:
    plan = tty_plan(pod, tty_app(tree, "cat", "echo", "done"))
    keeper = Keeper(binaries, plan, pod, detached=False, stdin=subprocess.PIPE)
    out, _ = keeper.process.communicate(b"line\n", timeout=10)
    assert keeper.process.returncode == 0
    assert out.decode().endswith("line\r\nline\r\ndone\r\n")


def test_much_input_is_not_lost(binaries: Path, pod: Path, tree: Path) -> None:
    plan = tty_plan(pod, tty_app(tree, "sleep", "0.3", "count"))
    keeper = Keeper(binaries, plan, pod, detached=False, stdin=subprocess.PIPE)
    lines = "".join(f"{number:07}\n" for number in range(2000))
    out, _ = keeper.process.communicate(lines.encode(), timeout=20)
    assert keeper.process.returncode == 0
    # What the app got, and not what the console echoes: the kernel may drop an echo that nobody reads in time.
    assert out.decode().endswith(f"counted {len(lines)}\r\n")


def test_a_console_without_a_caller_goes_to_the_log(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, tty_plan(pod, tty_app(tree, "echo", "hello", "error", "oops")), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    assert [line.rstrip("\r") for line in keeper.log("web")] == ["stdout F hello", "stdout F oops"]


def test_the_console_is_the_apps_own(binaries: Path, pod: Path, tree: Path) -> None:
    look = ("stat", "/dev/console", "link", "/proc/self/fd/0", "list", "/proc/self/fd", "write", "/dev/console", "x\n")
    plan = tty_plan(pod, tty_app(tree, *look, before=(Op("ids", 1234, 1234, ()),)))
    keeper = Keeper(binaries, plan, pod)
    assert keeper.wait()[0] == 0
    text = "\n".join(keeper.log("web"))
    assert "/dev/console 020620 1234:5 136:0" in text
    assert "/dev/pts/0" in text
    assert "/dev/console: written" in text


@pytest.mark.parametrize("ptmx", ["plain file", "link"])
def test_a_false_multiplexer_is_refused(binaries: Path, pod: Path, tree: Path, ptmx: str) -> None:
    (tree / "dev/pts").mkdir()
    if ptmx == "link":
        (tree / "dev/pts/ptmx").symlink_to("/dev/null")
    else:
        (tree / "dev/pts/ptmx").touch()
    ops = app_ops(tree)
    at = ops.index(Op("pivot"))
    ops[at:at] = [Op("console", 0, 0)]
    keeper = Keeper(binaries, tty_plan(pod, ops), pod)
    error = errno.ELOOP if ptmx == "link" else errno.ENODEV
    assert keeper.report() == [f"fail app web {at} {error}"]
    assert keeper.wait()[0] == 125


class Running:
    """A pod with an app `web` to enter."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.pid = int(keeper.status("web")["pid"])

    def plan(self, track: list[Op], mode: str = "inherit") -> Plan:
        kinds = ((CLONE_NEWNET, "net"), (CLONE_NEWIPC, "ipc"), (CLONE_NEWUTS, "uts"), (CLONE_NEWNS, "mnt"))
        adopt = [Op("adopt", flag, f"/proc/{self.pid}/ns/{kind}") for flag, kind in (*kinds, (CLONE_NEWPID, "pid"))]
        joins = [Op("join", flag) for flag, _ in kinds]
        ops = [*adopt, Op("execute", "enter web", mode, mode, mode, "")]
        return Plan([Track("keeper", ops), Track("enter web", [*joins, *track])])


@pytest.fixture
def running(binaries: Path, pod: Path, tree: Path) -> Iterator[Running]:
    keeper = Keeper(binaries, tty_plan(pod, tty_app(tree, "wait")), pod)
    assert keeper.report() == ["ready"]
    yield Running(keeper)
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 143


def test_entering_a_pod(binaries: Path, running: Running) -> None:
    plan = running.plan([run_probe("report", "cat", "exit", "11")])
    enter = Keeper(binaries, plan, None, detached=False, stdin=subprocess.PIPE)
    out, err = enter.process.communicate(b"by pipe\n", timeout=10)
    assert (enter.process.returncode, err) == (11, b"")
    values = dict(line.partition("=")[::2] for line in out.decode().splitlines())
    assert values["hostname"] == "pod"
    assert values["init.comm"] == "appc-init"
    assert {name for name in values if name.startswith("fd.")} == {"fd.0", "fd.1", "fd.2"}
    assert out.endswith(b"by pipe\n")
    assert running.keeper.process.poll() is None


def test_signals_are_passed_on_to_what_entered(binaries: Path, running: Running) -> None:
    plan = running.plan([run_probe("trap", "2", "21", "echo", "ready", "wait")])
    enter = Keeper(binaries, plan, None, detached=False)
    assert enter.process.stdout is not None
    assert enter.process.stdout.readline() == b"ready\n"
    enter.process.send_signal(signal.SIGINT)
    assert enter.wait()[0] == 21


def test_a_command_that_cannot_be_entered_says_so(binaries: Path, running: Running) -> None:
    plan = running.plan([Op("exec", ("/absent",), ("absent",), ())])
    enter = Keeper(binaries, plan, None, detached=False)
    assert enter.wait() == (125, "", "appc: enter web: op 4 exec: No such file or directory\n")


def test_entering_with_a_terminal_leaves_the_apps_console_alone(
    binaries: Path, running: Running, terminal: Terminal
) -> None:
    look = ("window", "link", "/proc/self/fd/0", "stat", "/dev/console", "mounts", "cat", "exit", "5")
    plan = running.plan([Op("console", 0, 0), run_probe(*look)], mode="tty")
    enter = Keeper(binaries, plan, None, detached=False, stdin=terminal.slave, stdout=terminal.slave)
    wait_for(lambda: terminal.shows("/dev/pts/1\r\n"))
    assert "window 40 100" in terminal.seen
    terminal.type("\x04")
    assert enter.wait()[0] == 5
    wait_for(lambda: terminal.shows("/dev/console"))
    assert terminal.seen.count(" /dev/console ") == 1
    assert not terminal.raw()


def test_what_entered_ends_with_the_pod(binaries: Path, running: Running) -> None:
    enter = Keeper(binaries, running.plan([run_probe("ignore", "15", "echo", "ready", "wait")]), None, detached=False)
    assert enter.process.stdout is not None
    assert enter.process.stdout.readline() == b"ready\n"
    running.keeper.process.send_signal(signal.SIGTERM)
    assert enter.wait()[0] == 137


def test_what_entered_ends_with_its_keeper(binaries: Path, running: Running) -> None:
    track = [Op("death-signal", 9), run_probe("ignore", "15", "echo", "ready", "wait")]
    enter = Keeper(binaries, running.plan(track), None, detached=False)
    assert enter.process.stdout is not None
    assert enter.process.stdout.readline() == b"ready\n"
    enter.process.kill()
    # Nobody holds its output any more.
    assert enter.process.stdout.read() == b""
    enter.wait()
