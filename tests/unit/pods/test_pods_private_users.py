"""Ranges of user IDs: which are free, and that two who ask get two."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from appc.errors import HostError, InvalidValue
from appc.pods import layout, private_users
from appc.pods.private_users import COUNT, LOWEST, parse, recorded, take


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_users, "_in_use", lambda: iter(()))
    monkeypatch.setattr(private_users, "_given", lambda: iter(()))


@pytest.mark.parametrize(
    ("text", "found"), [("auto", None), ("7", (7, COUNT)), ("7:3", (7, 3)), ("4294967294:1", (4294967294, 1))]
)
def test_ranges(text: str, found: tuple[int, int] | None) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    "text", ["", "x", "1:", ":5", "0", "0:5", "5:0", "-1", "4294967294:2", "1:2:3", "\u0661", "9" * 30]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse(text)


def test_pods_get_ranges_of_their_own_and_a_removed_one_s_again(tmp_path: Path) -> None:
    pods = [layout.create(str(tmp_path)) for _ in range(3)]
    assert [take(pod, "auto") for pod in pods] == [(LOWEST + number * COUNT, COUNT) for number in range(3)]
    assert recorded(pods[1]) == (LOWEST + COUNT, COUNT)
    Path(pods[1].file(private_users.RECORD)).unlink()
    assert recorded(pods[1]) is None
    assert take(pods[1], "auto") == (LOWEST + COUNT, COUNT)
    for pod in pods:
        pod.release()


def test_who_asks_at_once_gets_no_two_alike(tmp_path: Path) -> None:
    pods = [layout.create(str(tmp_path)) for _ in range(12)]
    found: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda pod=pod: found.append(take(pod, "auto"))) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({base for base, _ in found}) == len(pods)
    for pod in pods:
        pod.release()


def test_others_are_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [(LOWEST - 5, 6), (LOWEST + COUNT + 3, 1), (0, 1000)]
    monkeypatch.setattr(private_users, "_given", lambda: iter(taken))
    pod = layout.create(str(tmp_path))
    assert take(pod, "auto") == (LOWEST + 2 * COUNT, COUNT)
    pod.release()


def test_what_is_asked_for_is_refused_when_somebody_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = layout.create(str(tmp_path)), layout.create(str(tmp_path))
    take(one, "1000:10")
    with pytest.raises(HostError, match="no two pods may share users"):
        take(other, "1009:1")
    assert recorded(other) is None
    monkeypatch.setattr(private_users, "_in_use", lambda: iter([(2000, 5)]))
    with pytest.raises(HostError, match="user namespace of this machine has 2000:5"):
        take(other, "1990:11")
    assert take(other, "1010:10") == (1010, 10)
    one.release()
    other.release()


def test_there_is_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_users, "_given", lambda: iter([(LOWEST, private_users.HIGHEST - LOWEST)]))
    pod = layout.create(str(tmp_path))
    with pytest.raises(HostError, match="taken"):
        take(pod, "auto")
    pod.release()
