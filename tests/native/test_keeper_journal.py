"""Log lines for the journal of systemd: one datagram of fields each."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from planlib import Keeper, app_ops, pod_plan, wait_idle

from appc.plan.ops import Op, Plan

pytestmark = pytest.mark.root


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(10)
        yield listener


def plan(pod: Path, tree: Path, place: str, *actions: str) -> Plan:
    made = pod_plan(pod, {"web": app_ops(tree, *actions)})
    keeper = made.track("keeper").ops
    keeper.insert(next(index for index, op in enumerate(keeper) if op.name == "app"), Op("journal", place))
    return made


def entry(journal: socket.socket) -> dict[str, str]:
    lines = journal.recv(65536).decode().split("\n")
    assert lines.pop() == ""
    return dict(line.split("=", 1) for line in lines)


def test_lines_are_entries(binaries: Path, pod: Path, tree: Path, tmp_path: Path, journal: socket.socket) -> None:
    actions = ("echo", "one", "error", "A=two", "print", "be", "sleep", "0.1", "echo", "gun\r", "lines", "1", "5000")
    keeper = Keeper(binaries, plan(pod, tree, str(tmp_path / "journal"), *actions, "print", "tail"), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    found = [entry(journal) for _ in range(6)]
    common = {"SYSLOG_IDENTIFIER": "web", "APPC_APP": "web", "APPC_POD": pod.name}
    first = next(one for one in found if one["MESSAGE"] == "one")
    assert first == {**common, "MESSAGE": "one", "PRIORITY": "6", "APPC_STREAM": "stdout"}
    second = next(one for one in found if one["MESSAGE"] == "A=two")
    assert second == {**common, "MESSAGE": "A=two", "PRIORITY": "3", "APPC_STREAM": "stderr"}
    rest = [one["MESSAGE"] for one in found if one not in (first, second)]
    assert (rest[0], [len(text) for text in rest[1:3]], rest[3]) == ("begun", [4096, 904], "tail")
    # The log has it as well.
    assert len(keeper.log("web")) == 5


def test_a_journal_that_takes_nothing_holds_up_nobody(
    binaries: Path, pod: Path, tree: Path, tmp_path: Path, journal: socket.socket
) -> None:
    os.mkfifo(tree / "gate")
    actions = ("lines", "3000", "100", "read", "/gate", "echo", "after")
    keeper = Keeper(binaries, plan(pod, tree, str(tmp_path / "journal"), *actions), pod)
    assert keeper.report() == ["ready"]
    gate = os.open(tree / "gate", os.O_WRONLY)
    wait_idle(keeper.process.pid)
    taken = 0
    journal.setblocking(False)
    try:
        while True:
            entry(journal)
            taken += 1
    except BlockingIOError:
        pass
    os.close(gate)
    assert keeper.wait()[0] == 0
    assert 0 < taken < 3000
    last = []
    try:
        while True:
            last.append(entry(journal)["MESSAGE"])
    except BlockingIOError:
        pass
    assert last == [f"[appc: {3000 - taken} lines were lost]", "after"]


def test_no_journal(binaries: Path, pod: Path, tree: Path, tmp_path: Path) -> None:
    keeper = Keeper(binaries, plan(pod, tree, str(tmp_path / "absent"), "echo", "hello"), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F hello"]


@pytest.mark.parametrize("place", ["relative", "/" + "x" * 107])
def test_no_socket(binaries: Path, pod: Path, tree: Path, place: str) -> None:
    keeper = Keeper(binaries, plan(pod, tree, place), pod)
    assert keeper.report() == [f"fail keeper 2 {errno.EINVAL}"]
    assert keeper.wait()[0] == 125
