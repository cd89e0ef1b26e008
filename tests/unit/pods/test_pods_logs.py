"""Logs read back: order, parts of lines, rotations at any moment, following to the end."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import AppcError
from appc.pods import logs
from appc.pods.layout import Pod
from appc.store.deletion import delete_tree

UUID = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.001)
    (tmp_path / "pods/run" / UUID / "logs").mkdir(parents=True)
    return Pod(str(tmp_path), "run", UUID)


@pytest.fixture
def alive(pod: Pod) -> Iterator[int]:
    """Something of the pod is alive as long as this descriptor is open."""
    fd = os.open(pod.file("lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    try:
        os.close(fd)
    except OSError:
        pass  # the test ended the pod


def stamp(number: int) -> str:
    return f"2026-01-02T03:04:{number // 100 % 60:02d}.{number % 100:02d}0000000Z"


def entry(number: int, text: str = "", stream: str = "stdout", kind: str = "F") -> str:
    return f"{stamp(number)} {stream} {kind} {text or number}\n"


def append(pod: Pod, text: str, name: str = "web.log") -> None:
    with open(pod.file(f"logs/{name}"), "a") as stream:
        stream.write(text)


def rotate(pod: Pod, files: int = 3, name: str = "web.log") -> None:
    """As the keeper does it."""
    for number in range(files - 1, 0, -1):
        older, newer = f"{name}.{number}", name if number == 1 else f"{name}.{number - 1}"
        if os.path.exists(pod.file(f"logs/{newer}")):
            os.rename(pod.file(f"logs/{newer}"), pod.file(f"logs/{older}"))
    append(pod, "", name)


def texts(pod: Pod, *apps: str, **options: int) -> list[str]:
    return [line.text.decode() for line in logs.read(pod, list(apps or ("web",)), **options)]


def test_lines(pod: Pod) -> None:
    append(pod, entry(1, "hello  world ") + entry(2, "oops", "stderr") + entry(3, " "))
    lines = list(logs.read(pod, ["web"]))
    assert [(line.app, line.stream, line.text) for line in lines] == [
        ("web", "stdout", b"hello  world "),
        ("web", "stderr", b"oops"),
        ("web", "stdout", b" "),
    ]
    assert lines[1].time_ns - lines[0].time_ns == 10_000_000


def test_no_log_yet(pod: Pod) -> None:
    assert texts(pod) == []


def test_parts_of_a_line_are_joined_for_each_stream(pod: Pod) -> None:
    append(pod, entry(1, "a", kind="P") + entry(2, "x", "stderr") + entry(3, "b", kind="P") + entry(4, "c"))
    lines = list(logs.read(pod, ["web"]))
    assert sorted((line.stream, line.text) for line in lines) == [("stderr", b"x"), ("stdout", b"abc")]
    # A line counts from its beginning.
    assert next(line for line in lines if line.stream == "stdout").time_ns == logs.parse_time(stamp(1))


def test_a_line_without_an_end_is_shown_at_the_end(pod: Pod) -> None:
    append(pod, entry(1, "whole") + entry(2, "begun", kind="P"))
    assert texts(pod) == ["whole", "begun"]


def test_an_endless_line_is_shown_in_pieces(pod: Pod) -> None:
    piece = "x" * 8192
    append(pod, "".join(entry(1, piece, kind="P") for _ in range(400)))
    found = texts(pod)
    assert len(found) > 2
    assert sum(map(len, found)) == 400 * 8192


def test_lines_of_several_apps_in_order_of_time(pod: Pod) -> None:
    append(pod, entry(1) + entry(3) + entry(5))
    append(pod, entry(2) + entry(4), "db.log")
    assert texts(pod, "web", "db") == ["1", "2", "3", "4", "5"]
    assert texts(pod, "db") == ["2", "4"]


def test_since_and_until(pod: Pod) -> None:
    append(pod, "".join(map(entry, range(1, 6))))
    assert texts(pod, since_ns=logs.parse_time(stamp(2)), until_ns=logs.parse_time(stamp(4))) == ["2", "3", "4"]


@pytest.mark.parametrize(
    "raw",
    [
        "\n",
        "nonsense\n",
        "2026-01-02T03:04:05Z stdout F\n",
        "yesterday stdout F x\n",
        "2026-01-02T03:04:05Z\n\n stdout\n",
        "\0\0\0\0\n",
        "9" * 5000 + " stdout F x\n",
        "9999999-99-99T99:99:99Z stdout F x\n",
    ],
)
def test_what_is_no_entry_is_left_out(pod: Pod, raw: str) -> None:
    append(pod, entry(1) + raw + entry(2))
    assert texts(pod) == ["1", "2"]


def test_rotated_files_are_read_oldest_first(pod: Pod) -> None:
    for number in range(1, 4):
        rotate(pod)
        append(pod, entry(number))
    append(pod, entry(9), "web.log.old")
    append(pod, entry(9), "web.log.12345x")
    assert sorted(os.listdir(pod.file("logs")))[:3] == ["web.log", "web.log.1", "web.log.12345x"]
    assert texts(pod) == ["1", "2", "3"]


def test_a_rotation_while_the_files_are_being_opened(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        rotate(pod)
        append(pod, entry(number))
    real, rotations = os.open, []

    def opening(path: str, flags: int, *args: int, **options: int) -> int:
        fd = real(path, flags, *args, **options)
        if path == "web.log" and not rotations:
            rotations.append(path)
            rotate(pod)
            append(pod, entry(4))
        return fd

    monkeypatch.setattr(os, "open", opening)
    # The oldest has gone meanwhile, and the newest is not yet looked at; nothing comes twice or out of order.
    assert texts(pod) == ["2", "3"]


def test_following_across_rotations(pod: Pod, alive: int) -> None:
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(texts(pod, follow=True)))
    reader.start()
    for number in range(200):
        if number % 20 == 0:
            rotate(pod, files=50)
        append(pod, entry(number))
        if number % 7 == 0:
            time.sleep(0.001)
    os.close(alive)
    reader.join(10)
    assert found == [str(number) for number in range(200)]


def test_following_across_the_end_of_the_pod(pod: Pod, alive: int) -> None:
    lines = logs.read(pod, ["web"], follow=True)
    append(pod, entry(1))
    assert next(lines).text == b"1"
    mover = Pod(pod.root, "run", UUID)
    append(mover, entry(2))
    mover.move("exited")
    append(mover, entry(3))
    assert next(lines).text == b"2"
    os.close(alive)
    assert [line.text for line in lines] == [b"3"]


def test_following_a_pod_that_is_removed(pod: Pod, alive: int) -> None:
    lines = logs.read(pod, ["web"], follow=True)
    append(pod, entry(1))
    assert next(lines).text == b"1"
    append(pod, entry(2))
    delete_tree(pod.path)
    assert [line.text for line in lines] == [b"2"]


def test_no_descriptor_stays_open(pod: Pod) -> None:
    append(pod, entry(1))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    lines = logs.read(pod, ["web"])
    next(lines)
    lines.close()  # type: ignore[attr-defined]
    assert not before or len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("2000-03-01T00:00:00Z", 951868800 * 10**9),
        ("2024-02-29T12:34:56.5Z", 1709210096 * 10**9 + 500_000_000),
        ("2026-12-31T23:59:60Z", 1798761600 * 10**9),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert logs.parse_time(text) == expected


@given(st.integers(0, 253402300799))
def test_times_are_those_of_the_c_library(seconds: int) -> None:
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    assert logs.parse_time(text.zfill(20)) == seconds * 10**9


@pytest.mark.parametrize("text", ["", "Z", "now", "2026", "2026-01-02", "2026-13-01T00:00:00Z", "2026-01-02T24:00:00Z"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(AppcError, match="RFC 3339"):
        logs.parse_time(text)


def test_the_last_lines_of_several_files(pod: Pod) -> None:
    for number in range(60):
        if number % 20 == 0 and number:
            rotate(pod)
        append(pod, entry(number))
    size = os.stat(pod.file("logs/web.log")).st_size
    assert [line.text for line in logs.last(pod, ["web"], 10**6)] == [b"%d" % number for number in range(60)]
    found = [line.text for line in logs.last(pod, ["web"], size + 100)]
    # A line that is not whole is left out, wherever the cut falls.
    assert found == [b"%d" % number for number in range(38, 60)]
    assert {len(logs.last(pod, ["web"], size + more)) for more in range(44, 87)} == {21}
    assert logs.last(pod, ["web"], 0) == logs.last(pod, ["other"], 100) == []


@given(st.integers(0, 2**60))
def test_times_are_written_as_they_are_read(moment: int) -> None:
    assert logs.parse_time(logs.format_time(moment)) == moment


def test_who_stops_reading_leaves_nothing_open(pod: Pod) -> None:
    for number in range(1, 4):
        rotate(pod, files=9)
        append(pod, entry(number))
    before = sorted(os.listdir("/proc/self/fd"))
    lines = logs.read(pod, ["web"])
    assert next(iter(lines)).text == b"1"
    del lines
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_following_ends_when_nothing_more_can_be_of_interest(pod: Pod, alive: int) -> None:
    append(pod, entry(1))
    assert texts(pod, follow=True, until_ns=time.time_ns()) == ["1"]


def test_the_last_lines_of_what_is_there(pod: Pod, alive: int) -> None:
    append(pod, entry(1) + entry(4))
    append(pod, entry(2) + entry(3, "begun", kind="P"), "db.log")
    assert texts(pod, "web", "db", tail=2) == ["2", "4", "begun"]
    assert texts(pod, tail=0) == []
    assert texts(pod, tail=9) == ["1", "4"]
    lines = logs.read(pod, ["web"], follow=True, tail=1)
    assert next(lines).text == b"4"
    append(pod, entry(5) + entry(6))
    assert [next(lines).text, next(lines).text] == [b"5", b"6"]
