"""The keeper's report of a start, as it comes through the pipe: in pieces, hostile, or not at all."""

from __future__ import annotations

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.launch import spawn
from appc.launch.spawn import Report


def report(*pieces: bytes, pause: float = 0.0) -> Report:
    """Read what somebody writes piece by piece."""
    reader, writer = os.pipe()

    def write() -> None:
        for piece in pieces:
            try:
                os.write(writer, piece)
            except BrokenPipeError:
                break
            time.sleep(pause)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    found = spawn.read_report(reader)
    thread.join()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    return found


def test_a_start_that_went_well() -> None:
    found = report(b"handler web 0\nwarn app web 3 38\nready\n")
    assert found.ready
    assert found.failure is None
    assert found.handlers == [("web", 0)]
    assert found.warnings == [("app web", 3, 38)]


def test_a_start_that_failed() -> None:
    found = report(b"handler web 3\nfail keeper 7 10\n")
    assert not found.ready
    assert found.failure == ("keeper", 7, 10)
    assert report(b"fail post-stop a b c 4294967295 2\n").failure == ("post-stop a b c", 4294967295, 2)


def test_lines_in_pieces() -> None:
    assert report(b"rea", b"dy", b"\n", pause=0.002).ready
    assert report(*(bytes([byte]) for byte in b"warn init 1 2\nready\n")).warnings == [("init", 1, 2)]


def test_nothing_is_read_after_the_end_is_known() -> None:
    assert report(b"ready\nfail keeper 1 1\n").failure == ("keeper", 1, 1)
    assert report(b"ready\n", b"fail keeper 1 1\n", pause=0.05).failure is None


@pytest.mark.parametrize(
    "data", [b"", b"ready", b"rea\n", b"fail\n", b"fail keeper\n", b"\n\n\n", b"READY\n", b"ready \n"]
)
def test_a_keeper_that_died(data: bytes) -> None:
    found = report(data)
    assert not found.ready
    assert found.failure is None


@pytest.mark.parametrize(
    "line",
    ["fail keeper x 1", "fail keeper 1 -1", "fail keeper 1", "warn  ", "handler web", "handler a b c", "fail k ١ 1"],
)
def test_lines_that_mean_nothing(line: str) -> None:
    found = Report()
    spawn.read_line(found, line)
    assert (found.ready, found.failure, found.warnings, found.handlers) == (False, None, [], [])


def test_more_than_anybody_wants_to_know() -> None:
    noise = b"warn app web 1 2\n" * 20_000 + b"x" * 100_000 + b"\n"
    found = report(*(noise[at : at + 4096] for at in range(0, len(noise), 4096)), b"ready\n")
    assert found.ready
    assert len(found.warnings) == spawn.MOST_WARNINGS


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    found = report(data, b"\nready\n")
    assert found.ready or found.failure
