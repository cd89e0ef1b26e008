"""Attaching to an app: packets over the socket in the pod's directory."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

import pytest
from planlib import Keeper, app_ops, pod_plan, wait_for, wait_idle

from appc.plan.ops import Op, Plan

pytestmark = pytest.mark.root


def plan(pod: Path, apps: dict[str, list[Op]], stdin: str = "attach", out: str = "log", log: str = "") -> Plan:
    made = pod_plan(pod, apps, mode=out)
    keeper = made.track("keeper")
    keeper.ops = [Op("app", *op.args[:2], stdin, *op.args[3:]) if op.name == "app" else op for op in keeper.ops]
    at = next(index for index, op in enumerate(keeper.ops) if op.name == "app")
    keeper.ops.insert(at, Op("attach", "attach"))
    return made


class Client:
    """Somebody attached."""

    def __init__(self, pod: Path, app: str = "web", streams: int = 7, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        directory = os.open(pod, os.O_PATH)
        self.socket.connect(f"/proc/self/fd/{directory}/attach")
        os.close(directory)
        self.answer = b""
        if greet:
            self.socket.send(b"a" + bytes((streams,)) + app.encode())
            self.answer = self.socket.recv(100)

    def read(self, size: int = 0) -> bytes:
        """What comes up to the end, or until it is that much."""
        data = b""
        while not size or len(data) < size:
            packet = self.socket.recv(65536)
            if not packet:
                break
            data += packet[1:]
        return data


def turned_away(pod: Path) -> bool:
    try:
        return Client(pod).answer == b""
    except ConnectionError:
        return True


def test_input_and_output(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, plan(pod, {"web": app_ops(tree, "cat", "echo", "end")}), pod)
    assert keeper.report() == ["ready"]
    one, two, deaf = Client(pod), Client(pod, streams=2), Client(pod, streams=4)
    assert (one.answer, two.answer) == (b"y\0", b"y\0")
    one.socket.send(b"ihello\n")
    assert (one.socket.recv(100), two.socket.recv(100)) == (b"ohello\n", b"ohello\n")
    # It did not ask for stdin.
    two.socket.send(b"inot this\n")
    one.socket.send(b"iagain\n")
    assert one.read(6) == b"again\n"
    one.socket.send(b"e")
    assert (one.read(), two.read(), deaf.read()) == (b"end\n", b"again\nend\n", b"")
    assert keeper.wait()[0] == 0
    assert keeper.log("web") == ["stdout F hello", "stdout F again", "stdout F end"]


def test_input_waits_for_an_app_that_does_not_read(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, plan(pod, {"web": app_ops(tree, "await", "/tmp/go", "count")}), pod)
    assert keeper.report() == ["ready"]
    client = Client(pod, streams=3)
    client.socket.setblocking(False)
    sent = 0
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            client.socket.send(b"i" + b"x" * 3000)
            sent += 3000
        except BlockingIOError:
            if not (tree / "tmp/go").exists():
                wait_idle(keeper.process.pid)
                (tree / "tmp/go").touch()
            time.sleep(0.002)
        if sent > 1_500_000:
            break
    client.socket.settimeout(10)
    client.socket.send(b"e")
    assert client.read() == b"counted %d\n" % sent
    assert keeper.wait()[0] == 0


def test_who_does_not_read_is_let_go_and_the_app_goes_on(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, "read", "/tmp/go", "lines", "120000", "100")
    os.mkfifo(tree / "tmp/go")
    keeper = Keeper(binaries, plan(pod, {"web": app}, out="attach"), pod)
    assert keeper.report() == ["ready"]
    slow = Client(pod)
    os.close(os.open(tree / "tmp/go", os.O_WRONLY))
    assert keeper.wait(timeout=60)[0] == 0
    assert 0 < len(slow.read()) < 12_000_000
    # Neither logged nor shown.
    assert not (pod / "logs/web.log").exists()


def test_a_terminal_has_a_size(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "dev/pts").mkdir()
    pts = Op("mount", "devpts", "devpts", "/dev/pts", 2, ("newinstance", "ptmxmode=0666"))
    ops = app_ops(tree, "read", "/dev/console", "window")
    at = next(index for index, op in enumerate(ops) if op.name == "pivot")
    ops[at:at] = [pts, Op("console", 0, 0)]
    keeper = Keeper(binaries, plan(pod, {"web": ops}, stdin="tty", out="tty"), pod)
    assert keeper.report() == ["ready"]
    client = Client(pod)
    assert client.answer == b"y\1"
    client.socket.send(b"w\x21\x00\x30\x01")
    client.socket.send(b"i\x04")
    assert b"window 33 304" in client.read()
    assert keeper.wait()[0] == 0


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        (b"a\7absent", b"n" + bytes((errno.ENOENT,))),
        (b"a\7", b"n" + bytes((errno.ENOENT,))),
        (b"x\7web", b"n" + bytes((errno.ENOENT,))),
        (b"a\7web\0rest", b"y\0"),
        (b"a", b"n" + bytes((errno.ENOENT,))),
        (b"a\7" + b"w" * 6000, b"n" + bytes((errno.ENOENT,))),
    ],
)
def test_greetings(binaries: Path, pod: Path, tree: Path, packet: bytes, answer: bytes) -> None:
    keeper = Keeper(binaries, plan(pod, {"web": app_ops(tree, "cat")}), pod)
    assert keeper.report() == ["ready"]
    client = Client(pod, greet=False)
    client.socket.send(packet)
    assert client.socket.recv(100) == answer
    keeper.process.terminate()
    keeper.wait()


def test_packets_that_mean_nothing(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, plan(pod, {"web": app_ops(tree, "cat"), "db": app_ops(tree, "wait")}), pod)
    assert keeper.report() == ["ready"]
    client = Client(pod)
    for packet in (b"w\1\0\1\0", b"w\1", b"i", b"zzz", b"o", b"i" + b"x" * 5000):
        client.socket.send(packet)
    assert client.read(4095) == b"x" * 4095
    others = [Client(pod) for _ in range(31)]
    # One more than there is room for is turned away.
    assert turned_away(pod)
    others[0].socket.close()
    wait_for(lambda: not turned_away(pod))
    client.socket.send(b"e")
    assert client.read() == b""
    keeper.process.terminate()
    keeper.wait()
