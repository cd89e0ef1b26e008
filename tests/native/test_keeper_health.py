"""Checks of an app's health, and what becomes of one that is not well."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from planlib import CLONE_NEWNET, CLONE_NEWNS, POD, Keeper, app_ops, pod_plan, run_probe, wait_for

from appc.plan.ops import Op, Plan, Track
from capabilities import need

pytestmark = pytest.mark.root

JOIN = Op("join", CLONE_NEWNS)
INTERVAL = 20


def command(*, timeout: int = 10000, most: int = 1, start: int = 0) -> Op:
    return Op("health-command", "web", "check", "", INTERVAL, timeout, most, start)


def well_if(path: str) -> Track:
    """A command that succeeds as long as there is a directory at `path` of the app's root."""
    return Track("check", [JOIN, Op("chdir", path), run_probe("exit", "0")])


def restarts() -> list[Op]:
    return [Op("restart", "web", "again", 1, 1, 1, 0)]


def again(*actions: str) -> Track:
    return Track("again", [JOIN, run_probe(*actions)])


def end(keeper: Keeper) -> int:
    keeper.process.send_signal(signal.SIGTERM)
    return keeper.wait()[0]


def health(keeper: Keeper) -> str:
    return keeper.status("web")["health"]


def test_a_command_says_how_the_app_fares(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "ok").mkdir()
    plan = pod_plan(pod, {"web": app_ops(tree, "wait")}, before_start=[command()], tracks=[well_if("/ok")])
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    assert health(keeper) == "unknown"
    wait_for(lambda: health(keeper) == "good")
    (tree / "ok").rmdir()
    wait_for(lambda: health(keeper) == "bad")
    # Without a policy nothing is done about it, and it may recover.
    (tree / "ok").mkdir()
    wait_for(lambda: health(keeper) == "good")
    assert (pod / "status/_warnings").read_text() == f"check 1 {errno.ENOENT}\n"
    assert end(keeper) == 143


def test_an_app_that_is_not_well_runs_again(binaries: Path, pod: Path, tree: Path) -> None:
    apps = {"web": app_ops(tree, "trap", "15", "0", "wait"), "other": app_ops(tree, "wait")}
    tracks = [well_if("/ok"), again("wait")]
    plan = pod_plan(pod, apps, before_start=[*restarts(), command()], tracks=tracks)
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: "restarts" in keeper.status("web"))
    (tree / "ok").mkdir(exist_ok=True)
    wait_for(lambda: health(keeper) == "good")
    assert "exited" not in keeper.status("other")
    assert end(keeper) == 143


def test_a_command_that_hangs_is_a_failure(binaries: Path, pod: Path, tree: Path) -> None:
    hangs = Track("check", [JOIN, run_probe("ignore", "15", "wait")])
    plan = pod_plan(pod, {"web": app_ops(tree, "wait")}, before_start=[command(timeout=50)], tracks=[hangs])
    keeper = Keeper(binaries, plan, pod)
    wait_for(lambda: health(keeper) == "bad")
    assert end(keeper) == 143


def test_failures_at_the_start_do_not_count(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(
        pod, {"web": app_ops(tree, "wait")}, before_start=[command(most=0, start=60000)], tracks=[well_if("/ok")]
    )
    keeper = Keeper(binaries, plan, pod)
    assert keeper.report() == ["ready"]
    wait_for(lambda: (pod / "status/_warnings").exists())  # it was asked, and failed
    assert health(keeper) == "unknown"
    (tree / "ok").mkdir()
    wait_for(lambda: health(keeper) == "good")
    # Once it was well, they do.
    (tree / "ok").rmdir()
    wait_for(lambda: health(keeper) == "bad")
    assert end(keeper) == 143


class Server:
    """Answers every request with `answer`; with None it only takes connections."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.answer: bytes | None = b"HTTP/1.0 200 OK\r\n\r\n"
        self.asked = b""
        self.socket = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                if self.answer is not None:
                    self.asked = connection.recv(1000)
                    connection.sendall(self.answer)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()


def port_plan(pod: Path, tree: Path, port: int, path: str, timeout: int = 10000) -> Plan:
    """A pod in the network the server is in."""
    check = Op("health-port", "web", port, path, INTERVAL, timeout, 1, 0)
    app = [op for op in app_ops(tree, "wait") if op.args[:1] != (CLONE_NEWNET,)]
    return pod_plan(pod, {"web": app}, before_start=[check], flags=POD & ~CLONE_NEWNET)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", "good"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "good"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "bad"),
        (b"HTTP/1.1 500 Broken\r\n\r\n", "bad"),
        (b"SSH-2.0-200 \r\n", "bad"),
        (b"HTTP/1.0", "bad"),
        (b"", "bad"),
    ],
)
def test_http(binaries: Path, pod: Path, tree: Path, server: Server, answer: bytes, word: str) -> None:
    server.answer = answer
    keeper = Keeper(binaries, port_plan(pod, tree, server.port, "/health?x=1"), pod)
    wait_for(lambda: health(keeper) == word)
    assert server.asked.startswith(b"GET /health?x=1 HTTP/1.0\r\nHost: localhost\r\n")
    assert end(keeper) == 143


def test_a_port_that_takes_connections(binaries: Path, pod: Path, tree: Path, server: Server) -> None:
    server.answer = None
    keeper = Keeper(binaries, port_plan(pod, tree, server.port, ""), pod)
    wait_for(lambda: health(keeper) == "good")
    server.socket.shutdown(socket.SHUT_RDWR)
    server.socket.close()
    wait_for(lambda: health(keeper) == "bad")
    assert end(keeper) == 143


@pytest.mark.parametrize("path", ["", "/"])
def test_an_app_that_listens_on_ipv6_alone(binaries: Path, pod: Path, tree: Path, path: str) -> None:
    need("ipv6")
    server = Server("::1")
    keeper = Keeper(binaries, port_plan(pod, tree, server.port, path), pod)
    wait_for(lambda: health(keeper) == "good")
    server.answer = b"HTTP/1.0 500 Broken\r\n\r\n"
    wait_for(lambda: health(keeper) == ("bad" if path else "good"))
    server.socket.shutdown(socket.SHUT_RDWR)
    server.socket.close()
    wait_for(lambda: health(keeper) == "bad")
    assert end(keeper) == 143


def test_a_port_that_never_answers(binaries: Path, pod: Path, tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keeper = Keeper(binaries, port_plan(pod, tree, silent.getsockname()[1], "/", timeout=50), pod)
        wait_for(lambda: health(keeper) == "bad")
        assert end(keeper) == 143


@pytest.mark.parametrize(
    "op",
    [
        Op("health-port", "absent", 80, "", 1, 1, 1, 1),
        Op("health-port", "web", 0, "", 1, 1, 1, 1),
        Op("health-port", "web", 65536, "", 1, 1, 1, 1),
        Op("health-port", "web", 80, "/" + "x" * 256, 1, 1, 1, 1),
        Op("health-port", "web", 80, "", 0, 1, 1, 1),
        Op("health-port", "web", 80, "", 1, 0, 1, 1),
        Op("health-command", "web", "keeper", "", 1, 1, 1, 1),
    ],
)
def test_what_is_no_check(binaries: Path, pod: Path, tree: Path, op: Op) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree)}, before_start=[op]), pod)
    assert keeper.report() == [f"fail keeper 3 {errno.EINVAL}"]
    assert keeper.wait()[0] == 125
