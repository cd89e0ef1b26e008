"""`resource/network-bandwidth` of one app among several: whose the bytes are that a pod sends and receives."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from network_kit import shares
from pod_kit import PROBE, Appc

from appc.host.cgroupfs import place
from appc.host.probe import facts
from appc.network.bandwidth import through
from appc.network.default import host_link
from capabilities import need

pytestmark = pytest.mark.root

NAME = "resource/network-bandwidth"
# So much that nothing has to wait.
PLENTY = f"{NAME},limit=10G"
SLOW, STRAYS = "2:3", "2:4"  # classes of the only app with a limit, and of what is known to be nobody's
PORT = 7000
SIZE = 20_000
# Sends back what it receives. Its first line tells that it listens; then it says whether it may change its mark.
ECHO = """
import socket, sys
family, kind, port, link = (int(word) if word.isdigit() else word for word in sys.argv[1:])
own = socket.socket(family, kind)
if link:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
try:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0)
    said = "changed"
except PermissionError:
    said = "kept"
own.bind(("", port))
if kind == socket.SOCK_STREAM:
    own.listen()
    print(said, flush=True)
    peer, _ = own.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
    sys.exit()
print(said, flush=True)
while True:
    data, peer = own.recvfrom(65536)
    own.sendto(data, peer)
"""
# Sends or receives for a second, and tells how many bytes per second it does in those that follow.
MEASURE = """
import socket, sys, time
way, address, port, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if address:
    peer = socket.create_connection((address, port), 30)
else:
    own = socket.create_server(("", port))
    print("listens", flush=True)
    peer, _ = own.accept()
# What only waits to be sent does not count.
peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
begin, moved, counted = time.monotonic(), 0, 0
while (now := time.monotonic()) < begin + 1 + seconds:
    try:
        size = peer.send(bytes(1 << 15)) if way == "send" else len(peer.recv(1 << 16))
    except ConnectionError:
        size = 0
    if not size:
        break  # the other one was done before
    if now > begin + 1:
        counted = counted or now
        moved += size
print(moved / (time.monotonic() - counted))
"""


class Pod:
    """A pod with the apps `slow`, which has a limit if `limit` names one, and `free`."""

    def __init__(self, appc: Appc, limit: str = "", whole: str = "") -> None:
        limits, wholes = (("--isolator", one) if one else () for one in (limit, whole))
        slow = (PROBE, "--name", "slow", *limits, "--", "wait")
        self.appc = appc
        self.uuid = appc.detached("--net", "default", *wholes, *slow, "---", PROBE, "--name", "free", "--", "wait")
        addresses = appc.status(self.uuid)["networks"][0]["addresses"]
        self.address = {":" in one: one.partition("/")[0] for one in addresses}

    def start(self, app: str, program: str, *words: str) -> subprocess.Popen[str]:
        """Start a program in Python, in the group of an app and in the pod's network."""
        group = place(facts().bases[facts().unified], self.uuid) + f"/{app}"
        shell = 'echo $$ >"$0/cgroup.procs"; exec nsenter --net="$@"'
        inside = ("sh", "-ec", shell, group, f"{self.appc.state}/netns/{self.uuid}")
        return subprocess.Popen([*inside, sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True)

    @contextmanager
    def echo(self, app: str, family: int, kind: int, link: str = "") -> Iterator[str]:
        """What listens in the group of an app meanwhile; gives what it says of its mark."""
        numbers = (str(int(one)) for one in (family, kind, PORT))
        with self.start(app, ECHO, *numbers, link) as echo:
            assert echo.stdout is not None
            try:
                yield echo.stdout.readline().strip()
            finally:
                echo.kill()

    def counted(self) -> dict[tuple[str, str], int]:
        """The bytes of each class that went to the pod, and that came from it."""
        found = {}
        for way, link in (("to", host_link(self.uuid)), ("from", through(self.uuid, 0))):
            found.update({(way, handle): share.sent for handle, share in shares(link).items()})
        return found

    def talk(self, family: int, kind: int, size: int = SIZE, part: int = 1000) -> dict[tuple[str, str], int]:
        """Send bytes to what listens and receive them again; return what was counted meanwhile."""
        before = self.counted()
        with socket.socket(family, kind) as own:
            own.settimeout(30)
            own.connect((self.address[family == socket.AF_INET6], PORT))
            for _ in range(size // part):
                own.sendall(bytes(part))
                left = part
                while left:
                    left -= len(own.recv(65536))
        return {key: count - before.get(key, 0) for key, count in self.counted().items()}


@pytest.fixture
def pod(appc: Appc, host: str) -> Pod:
    need("tc", "unified")
    return Pod(appc, PLENTY)


FAMILIES = [socket.AF_INET, socket.AF_INET6]
KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]


def test_bytes_count_for_the_app_whose_they_are(pod: Pod) -> None:
    need("ipv6")
    for family in FAMILIES:
        for kind in KINDS:
            with pod.echo("slow", family, kind):
                found = pod.talk(family, kind)
                assert found["to", SLOW] > SIZE, (family, kind)
                assert found["from", SLOW] > SIZE, (family, kind)
            with pod.echo("free", family, kind):
                found = pod.talk(family, kind)
                assert found["to", SLOW] == found["from", SLOW] == 0, (family, kind)
                assert found["to", STRAYS] < SIZE / 10, (family, kind)


def test_an_app_cannot_pass_for_another(pod: Pod) -> None:
    """Neither with another mark, nor with a socket that is not found by its addresses alone."""
    with pod.echo("slow", socket.AF_INET, socket.SOCK_DGRAM) as said:
        assert said == "kept"
        # All fragments but the first have no ports.
        found = pod.talk(socket.AF_INET, socket.SOCK_DGRAM, part=20_000)
        assert found["from", SLOW] > SIZE
        assert found["to", SLOW] + found["to", STRAYS] > SIZE
    with pod.echo("slow", socket.AF_INET, socket.SOCK_STREAM, "eth0"):
        found = pod.talk(socket.AF_INET, socket.SOCK_STREAM)
        assert found["from", SLOW] > SIZE
        assert found["to", SLOW] + found["to", STRAYS] > SIZE
    with pod.echo("free", socket.AF_INET, socket.SOCK_DGRAM) as said:
        assert said == "changed"


def test_sockets_that_were_open_before_count_too(appc: Appc, host: str) -> None:
    need("tc", "unified")
    pod = Pod(appc)
    with pod.echo("slow", socket.AF_INET, socket.SOCK_DGRAM):
        done = appc("update", pod.uuid, "--app", "slow", "--isolator", PLENTY)
        assert (done.status, done.out) == (0, f"{NAME}=enforced\n")
        found = pod.talk(socket.AF_INET, socket.SOCK_DGRAM)
        assert min(found["to", SLOW], found["from", SLOW]) > SIZE


def test_an_app_that_is_started_again_has_its_limit(pod: Pod) -> None:
    for verb in ("stop", "start"):
        assert pod.appc("app", verb, pod.uuid, "slow").status == 0
    with pod.echo("slow", socket.AF_INET, socket.SOCK_STREAM):
        found = pod.talk(socket.AF_INET, socket.SOCK_STREAM)
    assert min(found["to", SLOW], found["from", SLOW]) > SIZE


def test_a_later_limit_takes_the_place_of_the_former(pod: Pod) -> None:
    """However often: the programs that mark sockets are there once, of which a group can have 64."""
    for limit in ("9G", "8G"):
        done = pod.appc("update", pod.uuid, "--app", "slow", "--isolator", f"{NAME},limit={limit}")
        assert (done.status, done.out) == (0, f"{NAME}=enforced\n")
    with pod.echo("slow", socket.AF_INET, socket.SOCK_STREAM):
        found = pod.talk(socket.AF_INET, socket.SOCK_STREAM)
    assert min(found["to", SLOW], found["from", SLOW]) > SIZE


def test_apps_that_another_runtime_makes_are_limited_as_the_pod(appc: Appc, host: str) -> None:
    need("runc", "tc")
    slow = ("--runtime", "runc", PROBE, "--name", "slow", "--isolator", PLENTY, "--", "wait")
    words = ("--net", "default", *slow, "---", PROBE, "--name", "free", "--", "wait")
    uuid = appc.detached(*words)
    row: dict[str, Any] = next(one for one in appc.status(uuid)["isolators"] if one["name"] == NAME)
    reason = "applied to the pod: another runtime makes the groups of apps"
    assert (row["outcome"], row["reason"]) == ("modified", reason)
    assert f"# isolator-slow-{NAME}: modified ({reason})" in appc("plan", *words).out
    refused = appc.run("--detach", "--strict", *words)
    assert refused.status == 1
    assert reason in refused.err


@pytest.mark.slow
def test_each_app_has_its_rate(appc: Appc, host: str) -> None:
    """Within 15 %, in both directions, inside and outside, while another takes all that the pod has besides."""
    need("own-speed", "tc", "unified")
    pod = Pod(appc, f"{NAME},limit=2M", f"{NAME},limit=8M")
    for inside, outside in (("receive", "send"), ("send", "receive")):
        rates: dict[str, list[float]] = {}
        running: list[tuple[str, subprocess.Popen[str]]] = []
        for number, app in enumerate(("slow", "free")):
            port = str(PORT + number)
            listening = pod.start(app, MEASURE, inside, "", port, "4")
            assert listening.stdout is not None
            assert listening.stdout.readline() == "listens\n"
            words = (sys.executable, "-c", MEASURE, outside, pod.address[False], port, "4")
            asking = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            running += [(app, listening), (app, asking)]
        for app, one in running:
            rates.setdefault(app, []).append(float(one.communicate(timeout=60)[0]))
        assert rates["slow"] == [pytest.approx(2e6, rel=0.15)] * 2, (inside, rates)
        assert rates["free"] == [pytest.approx(6e6, rel=0.15)] * 2, (inside, rates)
