"""What `appc logs` shows on a terminal, and what it gives to pipes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from appc.cli.logs import harmless
from appc.cli.main import main

UUID = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain\ttext ~", "plain\ttext ~"),
        ("naïve \N{SNOWMAN} \N{FAMILY}".encode(), "naïve \N{SNOWMAN} \N{FAMILY}"),
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m"),
        (b"\x1b[38:2::1:2:3mrgb", "\x1b[38:2::1:2:3mrgb\x1b[0m"),
        (b"\x1b[mreset", "\x1b[mreset\x1b[0m"),
        # A title, the answer to a question, a screen that is cleared, a line that is overwritten, a bell.
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"\x1b[6n", "\\x1b[6n"),
        (b"\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        (b"secret\rshown", "secret\\rshown"),
        (b"a\x08b\x7f\x00", "a\\x08b\\x7f\\x00"),
        (b"windows or a terminal\r", "windows or a terminal"),
        # CSI as one character, and as the byte that older terminals take for it.
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"\x9b31m", "\\x9b31m"),
        (b"\xff\xfe", "\\xff\\xfe"),
        # What only looks like a colour.
        (b"\x1b[31", "\\x1b[31"),
        (b"\x1b", "\\x1b"),
        (b"\x1b[?25m", "\\x1b[?25m"),
        (b"\x1b[3\x1b]0;xm", "\\x1b[3\\x1b]0;xm"),
        (b"\x1b[" + b"1;" * 5000 + b"m", "\\x1b[" + "1;" * 5000 + "m"),
        (b"\x1bm", "\\x1bm"),
    ],
)
def test_a_terminal_gets_nothing_it_would_obey_but_colours(line: bytes, shown: str) -> None:
    assert harmless(line).decode() == shown


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory with one pod that has ended."""
    pod = tmp_path / "data/pods/exited" / UUID
    for name in ("logs", "status"):
        (pod / name).mkdir(parents=True)
    (pod / "lock").touch()
    (pod / "pod").write_text('{"acKind": "PodManifest", "apps": [{"name": "web"}]}')
    line = b"2026-01-01T00:00:00.000000000Z stdout F \x1b]0;evil\x07\x1b[32mgreen\n"
    (pod / "logs/web.log").write_bytes(line)
    return tmp_path / "data"


def test_a_pipe_gets_every_byte(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["--root", str(root), "logs", UUID]) == 0
    assert capfdbinary.readouterr().out == b"\x1b]0;evil\x07\x1b[32mgreen\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [((), b"\\x1b]0;evil\\x07\x1b[32mgreen\x1b[0m\r\n"), (("--raw",), b"\x1b]0;evil\x07\x1b[32mgreen\r\n")],
)
def test_a_terminal_gets_every_byte_on_request_only(root: Path, options: tuple[str, ...], shown: bytes) -> None:
    terminal, side = pty.openpty()
    try:
        words = [sys.executable, "-m", "appc", "--root", str(root), "logs", *options, UUID]
        subprocess.run(words, stdout=side, stderr=subprocess.PIPE, check=True)
        assert os.read(terminal, 1000) == shown
    finally:
        os.close(side)
        os.close(terminal)
