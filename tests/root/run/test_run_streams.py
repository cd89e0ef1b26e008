"""Where the streams of apps go: shown, logged, discarded, handed through, or a terminal; and the logs read back."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import socket
import struct
import termios
import time
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, wait_for


def test_output_is_shown_and_logged(appc: Appc) -> None:
    done = appc.run(PROBE, "--", "echo", "to stdout", "error", "to stderr")
    assert (done.out, done.err) == ("to stdout\n", "to stderr\n")
    logged = appc("logs", appc.the_pod().uuid)
    assert (logged.out, logged.err) == ("to stdout\n", "to stderr\n")


def test_output_without_a_last_newline(appc: Appc) -> None:
    assert appc.run(PROBE, "--", "print", "no end").out == "no end"
    assert appc("logs", appc.the_pod().uuid).out == "no end\n"


def test_long_lines_and_much_output(appc: Appc) -> None:
    done = appc.run(PROBE, "--", "lines", "3000", "200", "lines", "2", "100000")
    lines = done.out.splitlines()
    assert len(lines) == 3002
    assert {len(line) for line in lines} == {200, 100000}
    assert appc("logs", appc.the_pod().uuid).out == done.out


def test_output_of_several_apps_is_told_apart(appc: Appc) -> None:
    done = appc.run(PROBE, "--name", "a", "--", "echo", "x", "---", PROBE, "--name", "b", "--", "error", "y")
    assert (done.out, done.err) == ("a: x\n", "b: y\n")
    uuid = appc.the_pod().uuid
    logged = appc("logs", uuid)
    assert (logged.out, logged.err) == ("a: x\n", "b: y\n")
    assert appc("logs", "--app", "a", "--app", "a", uuid).out == "x\n"


def test_modes(appc: Appc) -> None:
    done = appc.run(PROBE, "--stdout", "null", "--", "echo", "x", "error", "y")
    assert (done.out, done.err) == ("", "y\n")
    through = appc.run(PROBE, "--stdin", "stream", "--stdout", "stream", "--", "cat", stdin="through\n")
    assert through.out == "through\n"
    logs = [appc("logs", pod.uuid) for pod in appc.pods()]
    assert sorted((log.out, log.err) for log in logs) == [("", ""), ("", "y\n")]


def test_a_stream_of_the_caller_is_the_very_same(appc: Appc, sandbox: Path) -> None:
    place = sandbox / "out"
    with place.open("wb") as stream:
        assert (
            appc.start("run", PROBE, "--stdout", "stream", "--", "link", "/proc/self/fd/1", stdout=stream).wait() == 0
        )
    assert place.read_text().endswith("/out\n")


def test_logs_follow_until_the_end(appc: Appc) -> None:
    actions = [word for number in range(5) for word in ("echo", f"line {number}", "sleep", "0.05")]
    uuid = appc.detached(PROBE, "--", *actions)
    done = appc("logs", "-f", uuid)
    assert done.status == 0
    assert done.out == "".join(f"line {number}\n" for number in range(5))


def test_logs_of_a_pod_that_removes_itself_are_followed_to_its_end(appc: Appc) -> None:
    uuid = appc.detached("--rm", PROBE, "--", "trap", "10", "0", "echo", "first", "wait")
    following = appc.start("logs", "-f", uuid)
    assert following.stdout is not None
    assert following.stdout.readline() == b"first\n"
    assert appc("kill", "-s", "USR1", uuid).status == 0
    out, err = following.communicate(timeout=PATIENCE)
    assert (following.returncode, out, err) == (0, b"caught 10\n", b"")
    wait_for(lambda: appc.pods() == [])


def test_logs_by_time_and_as_json(appc: Appc) -> None:
    appc.run(PROBE, "--", "echo", "early", "sleep", "0.2", "error", "late")
    uuid = appc.the_pod().uuid
    lines = [json.loads(line) for line in appc("logs", "--format", "json", uuid).out.splitlines()]
    assert [(line["app"], line["stream"], line["text"]) for line in lines] == [
        ("probe", "stdout", "early"),
        ("probe", "stderr", "late"),
    ]
    since = appc("logs", "--since", lines[1]["time"], uuid)
    assert (since.out, since.err) == ("", "late\n")
    until = appc("logs", "--until", lines[0]["time"], "-t", uuid)
    assert (until.out, until.err) == (f"{lines[0]['time']} early\n", "")
    assert appc("logs", "--since", "1h", uuid).out == "early\n"
    assert appc("logs", "--since", "nonsense", uuid).status == 2


def test_logs_are_rotated_as_configured_and_read_across_rotations(appc: Appc) -> None:
    settings = appc.config / "config.json"
    settings.write_text('{"logs": {"size": 65536, "files": 3}}')
    try:
        assert appc.run(PROBE, "--stdout", "log", "--", "lines", "1200", "200").status == 0
    finally:
        settings.unlink()
    pod = appc.the_pod()
    files = sorted(os.listdir(pod.file("logs")))
    assert files == ["probe.log", "probe.log.1", "probe.log.2"]
    assert all(os.path.getsize(pod.file(f"logs/{name}")) <= 65536 for name in files)
    # The oldest file that is kept may begin in the middle of a line.
    numbers = [int(line.split()[0]) for line in appc("logs", pod.uuid).out.splitlines()[1:]]
    assert numbers == list(range(numbers[0], 1200))
    assert 0 < numbers[0] < 800


class Terminal:
    """A command on a pseudo-terminal of 24 lines and 80 columns."""

    def __init__(self, *words: str) -> None:
        self.said = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "vt220"
            os.execv(words[0], words)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def expect(self, text: bytes) -> None:
        """Read until the command has said this."""
        end = time.monotonic() + PATIENCE
        while text not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self.master, 4096)
                except OSError:
                    break
        assert text in self.said, self.said

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def end(self) -> int:
        """Read to the end and return the exit status."""
        while True:
            try:
                chunk = os.read(self.master, 4096)
            except OSError:
                break
            if not chunk:
                break
            self.said += chunk
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


SHELL = ("--exec", "/bin/sh", "--", "-c")


def test_an_interactive_app_has_our_terminal(appc: Appc) -> None:
    script = "echo ready; read word; echo got $word of $TERM; exit 12"
    terminal = Terminal(*appc.words("run", "--interactive", PROBE, *SHELL, script))
    terminal.expect(b"ready")
    terminal.type(b"something\n")
    terminal.expect(b"got something of vt220")
    assert terminal.end() == 12
    assert "got something" in appc("logs", appc.the_pod().uuid).out


def test_the_size_of_the_terminal_and_its_changes(appc: Appc) -> None:
    actions = ("--stdin", "tty", "--", "window", "echo", "ready", "cat")
    terminal = Terminal(*appc.words("run", PROBE, *actions))
    terminal.expect(b"window 24 80")
    terminal.expect(b"ready")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    terminal.type(b"\x04")
    assert terminal.end() == 0


def test_ctrl_c_on_a_terminal_goes_to_the_app(appc: Appc) -> None:
    terminal = Terminal(*appc.words("run", "-i", PROBE, "--", "trap", "2", "8", "echo", "ready", "wait"))
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"caught 02")
    assert terminal.end() == 8


def test_a_terminal_is_all_three_streams(appc: Appc) -> None:
    for flags in (("--stdout", "tty"), ("--stderr", "tty"), ("--stdin", "tty")):
        terminal = Terminal(
            *appc.words("run", PROBE, *flags, "--", "echo", "out", "error", "err", "link", "/proc/self/fd/1")
        )
        terminal.expect(b"err")
        assert terminal.end() == 0
        assert b"out\r\n" in terminal.said
        assert b"/dev/pts/" in terminal.said


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("--interactive", PROBE, "---", PROBE, "--name", "x"), 2, "--interactive: needs a pod of one app"),
        (("--interactive", PROBE, "--stdout", "log"), 2, f"app {PROBE}: log cannot go together with a terminal"),
        (("--interactive", "--detach", PROBE), 2, "--detach cannot go together"),
    ],
)
def test_terminals_that_cannot_be(appc: Appc, words: tuple[str, ...], status: int, line: str) -> None:
    done = appc.run(*words)
    assert done.status == status
    assert line in done.err or "cannot go together with" in done.err.splitlines()[0], done
    assert appc.pods() == []


def test_the_journal_gets_a_copy_by_choice(appc: Appc, sandbox: Path) -> None:
    settings = appc.config / "config.json"
    settings.write_text(json.dumps({"logs": {"journal": str(sandbox / "journal")}}))
    try:
        assert "nobody listens at" in appc.run(PROBE, "--", "exit", "0").err
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.bind(str(sandbox / "journal"))
            done = appc.run(PROBE, "--", "echo", "hello")
            assert (done.out, done.err) == ("hello\n", "")
            assert b"MESSAGE=hello\nPRIORITY=6\nSYSLOG_IDENTIFIER=probe\nAPPC_POD=" in journal.recv(4096)
    finally:
        settings.unlink()
