"""Progress of several files: a line for each on a terminal, nothing elsewhere, and nothing left behind."""

from __future__ import annotations

import io
import sys

import pytest

from appc.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in the place of stderr, from here to the end of the test."""
    pytest.importorskip("rich")
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    return made


def test_each_file_has_a_line_until_it_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    lines = progress.Lines()
    first, second = lines.begin("first.aci", 1000), lines.begin("second\x1b[2J.aci", None)
    for advance in (first, second, first):
        advance(100)
    lines._bars.refresh()
    shown = screen.getvalue()
    assert "first.aci" in shown
    assert "second\\x1b[2J.aci" in shown
    assert "\x1b[2J" not in shown
    first(0)
    first(0)
    assert lines._bars is not None
    second(0)
    assert lines._bars is None


def test_files_that_broke_off_leave_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    lines = progress.Lines()
    lines.begin("x.aci", 10)(5)
    lines.close()
    assert lines._bars is None


def test_results_are_not_drawn_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(monkeypatch)
    lines = progress.Lines()
    lines.begin("x.aci", 10)(5)
    print("sha512-abc")
    lines.close()
    assert capsys.readouterr().out == "sha512-abc\n"


def test_nothing_is_drawn_for_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    advance = progress.Lines().begin("x.aci", 10)
    advance(5)
    advance(0)
    assert capsys.readouterr().err == ""
