"""Attaching: a window that changes when there is nobody left to be told."""

from __future__ import annotations

import os

import pytest

from appc.cli import attach


class Ended:
    """An attachment to an app that has just ended."""

    def resize(self, rows: int, columns: int) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_window_that_changes_as_the_app_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who copies the streams notices the end; a signal handler that raises would end in the middle of anything."""
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((80, 24)))
    attach._resize(Ended())  # type: ignore[arg-type]
