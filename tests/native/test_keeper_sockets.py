"""Sockets that apps find open when they start: made in the pod or outside, or the caller's (sd_listen_fds)."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest
from planlib import Keeper, app_ops, pod_plan, run_init, wait_for

from appc.plan.ops import Op, Plan

pytestmark = pytest.mark.root


def with_sockets(tree: Path, *actions: str, count: int = 1) -> list[Op]:
    """An app that takes over sockets and knows which process it is."""
    ops = app_ops(tree, *actions, before=[Op("sockets", count), Op("bounding", 0)])
    environment = ("PATH=/", "LISTEN_PID=", f"LISTEN_FDS={count}")
    return [*ops[:-1], Op("exec", *ops[-1].args[:2], environment)]


def plan(pod: Path, apps: dict[str, list[Op]], *sockets: Op) -> Plan:
    made = pod_plan(pod, apps)
    keeper = made.track("keeper").ops
    at = next(index for index, op in enumerate(keeper) if op.name == "app")
    keeper[at:at] = sockets
    return made


def free_port(address: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def ask(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=10) as client:
        return client.recv(100)


@pytest.mark.parametrize(("address", "clients"), [("127.0.0.1", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"])])
def test_a_socket_of_the_host(binaries: Path, pod: Path, tree: Path, address: str, clients: list[str]) -> None:
    port = free_port(address)
    answers = [word for client in clients for word in ("answer", "3", client)]
    app = with_sockets(tree, "report", *answers)
    keeper = Keeper(binaries, plan(pod, {"web": app}, Op("socket", "web", "tcp", address, port, 0)), pod)
    assert keeper.report() == ["ready"]
    assert [ask(client, port).decode() for client in clients] == clients
    assert keeper.wait()[0] == 0
    said = dict(line.removeprefix("stdout F ").partition("=")[::2] for line in keeper.log("web"))
    assert said["env.LISTEN_PID"] == said["pid"]
    assert said["env.LISTEN_FDS"] == "1"


def test_a_socket_in_the_pod_is_not_the_hosts(binaries: Path, pod: Path, tree: Path) -> None:
    app = with_sockets(tree, "answer", "3", "inside")
    client = app_ops(tree, "connect", "127.0.0.1", "80", "echo", "talked")
    sockets = Op("socket", "web", "tcp", "127.0.0.1", 80, 1)
    keeper = Keeper(binaries, plan(pod, {"web": app, "db": client}, sockets), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    assert keeper.log("db") == ["stdout F insidetalked"]


def test_sockets_of_the_caller_go_to_their_app_in_order(binaries: Path, pod: Path, tree: Path) -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in listeners]
    ops = [Op("socket", app, "inherited", "", index, 0) for app, index in (("web", 2), ("db", 0), ("web", 1))]
    apps = {
        "web": with_sockets(tree, "list", "/proc/self/fd", "answer", "3", "third", "answer", "4", "second", count=2),
        "db": with_sockets(tree, "answer", "3", "first"),
    }
    keeper = Keeper(binaries, plan(pod, apps, *ops), pod, sockets=high)
    for fd in high:
        os.close(fd)
    assert keeper.report() == ["ready"]
    assert [ask(*one.getsockname()) for one in (listeners[2], listeners[1], listeners[0])] == [
        b"third",
        b"second",
        b"first",
    ]
    assert keeper.wait()[0] == 0
    for one in listeners:
        one.close()
    # Nothing else of the keeper's, but what lists the directory.
    assert {line.split()[2] for line in keeper.log("web") if line.split()[2].isdecimal()} == {
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
    }


def test_a_port_that_is_taken_fails_the_launch(binaries: Path, pod: Path, tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        op = Op("socket", "web", "tcp", "127.0.0.1", taken.getsockname()[1], 0)
        keeper = Keeper(binaries, plan(pod, {"web": with_sockets(tree)}, op), pod)
        (line,) = keeper.report()
    assert line == f"fail keeper 2 {errno.EADDRINUSE}"
    assert keeper.wait()[0] == 125


@pytest.mark.parametrize(
    ("op", "error"),
    [
        (Op("socket", "web", "inherited", "", 0, 0), errno.EBADF),
        (Op("socket", "web", "sctp", "127.0.0.1", 1, 0), errno.EINVAL),
        (Op("socket", "web", "tcp", "localhost", 1, 0), errno.EINVAL),
        (Op("socket", "web", "tcp", "127.0.0.1", 0, 0), errno.EINVAL),
        (Op("socket", "web", "udp", "127.0.0.1", 65536, 0), errno.EINVAL),
    ],
)
def test_refused(binaries: Path, pod: Path, tree: Path, op: Op, error: int) -> None:
    keeper = Keeper(binaries, plan(pod, {"web": with_sockets(tree)}, op), pod)
    assert keeper.report() == [f"fail keeper 2 {error}"]
    assert keeper.wait()[0] == 125


def test_a_program_that_cannot_be_executed_is_still_reported(binaries: Path, pod: Path, tree: Path) -> None:
    app = [*with_sockets(tree)[:-1], Op("exec", ("/absent",), ("absent",), ())]
    made = plan(pod, {"web": app}, Op("socket", "web", "tcp", "127.0.0.1", free_port(), 0))
    keeper = Keeper(binaries, made, pod)
    assert keeper.report() == [f"fail app web {len(app) - 1} {errno.ENOENT}"]
    keeper.wait()


@pytest.mark.parametrize("count", [0, 33, 2**32 + 1])
def test_a_number_that_cannot_be(binaries: Path, tree: Path, count: int) -> None:
    ops = [op for op in app_ops(tree, joins=False) if op.name != "sync"]
    at = next(index for index, op in enumerate(ops) if op.name == "death-signal")
    result = run_init(binaries / "appc-init", [*ops[:at], Op("sockets", count), *ops[at:]])
    assert result.failure == (at, errno.EINVAL)


def test_datagrams(binaries: Path, pod: Path, tree: Path) -> None:
    port = free_port()
    made = plan(pod, {"web": with_sockets(tree, "await", "/tmp/end")}, Op("socket", "web", "udp", "127.0.0.1", port, 0))
    keeper = Keeper(binaries, made, pod)
    assert keeper.report() == ["ready"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, pytest.raises(OSError, match="in use"):
        client.bind(("127.0.0.1", port))
    (tree / "tmp/end").touch()
    wait_for(lambda: "exited" in keeper.status("web"))
    assert keeper.wait()[0] == 0
