"""A socket that waits in the pod for a service nobody has needed yet."""

from __future__ import annotations

import array
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from planlib import Keeper, app_ops, pod_plan, ticks, wait_for

from appc.plan.ops import Op, Plan

pytestmark = pytest.mark.root

ADDRESS, PORT = "169.254.169.255", 8123

SERVICE = """
import array, os, socket, sys
path = sys.argv[1]
open(path + ".started", "a").write("x")
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(path)
listener.listen()
keeper, _ = listener.accept()
name, extra, _, _ = keeper.recvmsg(64, 64)
(fd,) = array.array("i", extra[0][2])
pod = socket.socket(fileno=fd)
pod.setblocking(True)
client, _ = pod.accept()
client.sendall(b"served " + name)
client.close()
os.unlink(path)
"""


def listening_plan(pod: Path, tree: Path, service: Path, argv: tuple[str, ...], *actions: str) -> Plan:
    plan = pod_plan(pod, {"web": app_ops(tree, *actions)})
    plan.track("init").ops.insert(-2, Op("address", "lo", ADDRESS, 32))
    plan.track("keeper").ops.insert(2, Op("listen", ADDRESS, PORT, str(service), argv))
    return plan


TALK = ("connect", ADDRESS, str(PORT))


class Service:
    """A service that runs already."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(10)

    def take(self) -> tuple[socket.socket, str, socket.socket]:
        """(connection of the keeper, what it said, the pod's socket)."""
        keeper, _ = self.listener.accept()
        keeper.settimeout(10)
        name, extra, _, _ = keeper.recvmsg(64, 64)
        (fd,) = array.array("i", extra[0][2])
        pod = socket.socket(fileno=fd)
        pod.settimeout(10)
        return keeper, name.decode(), pod


@pytest.fixture
def service(sandbox: Path) -> Iterator[Service]:
    made = Service(sandbox / "service")
    yield made
    made.listener.close()


def answer(pod: socket.socket, text: bytes) -> None:
    client, _ = pod.accept()
    client.sendall(text)
    client.close()


def test_the_first_connection_hands_the_socket_over(
    binaries: Path, pod: Path, tree: Path, sandbox: Path, service: Service
) -> None:
    talks = (*TALK, *TALK, "sleep", "0.3", *TALK)
    keeper = Keeper(binaries, listening_plan(pod, tree, sandbox / "service", ("/bin/false",), *talks), pod)
    connection, name, listener = service.take()
    assert name == f"{pod.name}\n"
    answer(listener, b"one\n")
    answer(listener, b"two\n")
    # The service leaves, and is asked again when it is needed again.
    listener.close()
    connection.close()
    connection, _, listener = service.take()
    answer(listener, b"three\n")
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F one", "stdout F two", "stdout F three"]
    assert connection.recv(1) == b""


def test_nobody_is_told_before_a_connection(
    binaries: Path, pod: Path, tree: Path, sandbox: Path, service: Service
) -> None:
    keeper = Keeper(binaries, listening_plan(pod, tree, sandbox / "service", ("/bin/false",), "sleep", "0.3"), pod)
    assert keeper.wait()[0] == 0
    service.listener.settimeout(0.1)
    with pytest.raises(TimeoutError):
        service.listener.accept()


def test_the_service_is_started_when_it_does_not_run(binaries: Path, pod: Path, tree: Path, sandbox: Path) -> None:
    path = sandbox / "service"
    argv = (sys.executable, "-I", "-S", "-c", SERVICE, str(path))
    keeper = Keeper(binaries, listening_plan(pod, tree, path, argv, *TALK), pod)
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == [f"stdout F served {pod.name}"]
    assert Path(f"{path}.started").read_text() == "x"


def test_a_started_service_lives_outside_the_pod(binaries: Path, pod: Path, tree: Path, sandbox: Path) -> None:
    script = sandbox / "serve"
    lines = ("#!/bin/sh", f"cd {sandbox}", "readlink /proc/self/ns/* > where", "ls -l /proc/self/fd > x", "mv x fds")
    script.write_text("\n".join(lines))
    script.chmod(0o755)
    plan = listening_plan(pod, tree, sandbox / "service", (str(script),), *TALK)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: (sandbox / "fds").exists())
    kinds = sorted(name for name in os.listdir("/proc/self/ns"))
    assert (sandbox / "where").read_text().split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert str(pod) not in (sandbox / "fds").read_text()
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 143


def test_a_service_that_does_not_come_holds_up_nothing(binaries: Path, pod: Path, tree: Path, sandbox: Path) -> None:
    argv = ("/bin/sh", "-c", f"echo started >> {sandbox}/starts")
    keeper = Keeper(binaries, listening_plan(pod, tree, sandbox / "service", argv, *TALK), pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: (sandbox / "starts").read_text() == "started\n")
    before = ticks(keeper.process.pid)
    time.sleep(0.7)
    # It looks for the service now and then, and starts it once.
    assert ticks(keeper.process.pid) - before < 30
    assert (sandbox / "starts").read_text() == "started\n"
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.wait()[0] == 143


@pytest.mark.parametrize(
    ("address", "port", "path"),
    [
        ("nowhere", PORT, "/s"),
        (ADDRESS, 0, "/s"),
        (ADDRESS, 70000, "/s"),
        ("10.9.8.7", PORT, "/s"),
        (ADDRESS, 1, "/" + "s" * 200),
        (ADDRESS, 1, "s"),
    ],
)
def test_listen_refuses(binaries: Path, pod: Path, tree: Path, address: str, port: int, path: str) -> None:
    plan = listening_plan(pod, tree, Path("/s"), ())
    plan.track("keeper").ops[2] = Op("listen", address, port, path, ())
    keeper = Keeper(binaries, plan, pod)
    (line,) = keeper.report()
    assert line.startswith("fail keeper 2 ")
    assert keeper.wait()[0] == 125
