"""The built-in network: pods that reach each other, the world and, by their ports, are reached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from network_kit import SERVER, sh, state_of_the_host
from pod_kit import PROBE, Appc, wait_for

from capabilities import need

pytestmark = pytest.mark.root


def server(appc: Appc, *pod: str, name: str = "server") -> tuple[str, list[str]]:
    """Start a pod that answers at port 8080 with its app's name; return its UUID and addresses."""
    uuid = appc.detached("--net", "default", *pod, SERVER, "--name", name)
    (network,) = appc.status(uuid)["networks"]
    return uuid, network["addresses"]


def answer(address: str, port: int, namespace: str = "/proc/self/ns/net") -> str:
    """What a connection from the host, or from another namespace, is answered."""
    ask = f"nsenter --net={namespace} busybox nc -w 2 {address} {port} </dev/null || true"
    return str(wait_for(lambda: sh(ask))).strip()


def answer_inside(appc: Appc, uuid: str, address: str, port: int) -> str:
    """What a connection from inside a pod is answered."""
    ask = f"nc -w 2 {address} {port} </dev/null || true"
    return str(wait_for(lambda: appc("enter", uuid, "/bin/sh", "-c", ask).out)).strip()


@contextmanager
def listener(address: str, port: int, namespace: str = "/proc/self/ns/net") -> Iterator[IO[str]]:
    """A server that answers one connection with the address it comes from, and prints that."""
    code = (
        "import socket; s = socket.create_server((%r, %r)); print('ready', flush=True); c, peer = s.accept();"
        "c.sendall(b'secret'); print(peer[0], flush=True)"
    )
    command = ["nsenter", f"--net={namespace}", sys.executable, "-c", code % (address, port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.stdout
        finally:
            process.kill()


def test_pods_reach_each_other_and_the_host_reaches_them(appc: Appc, host: str) -> None:
    _, (first, first6) = server(appc, name="one")
    other, (second, _) = server(appc, name="two")
    assert answer(first, 8080) == "one"
    assert answer(first6, 8080) == "one"
    assert answer(second, 8080) == "two"
    assert answer_inside(appc, other, first, 8080) == "one"
    assert answer_inside(appc, other, first6, 8080) == "one"


def test_beyond_the_host_a_pod_has_the_hosts_address(appc: Appc, host: str) -> None:
    uuid, _ = server(appc)
    with listener("203.0.113.2", 7, host) as heard:
        assert answer_inside(appc, uuid, "203.0.113.2", 7) == "secret"
        assert heard.readline() == "203.0.113.1\n"


def test_ports_of_the_host_lead_to_the_pod(appc: Appc, host: str) -> None:
    server(appc, "--port", "greeting:80", name="web")
    assert answer("127.0.0.1", 80) == "web"
    assert answer("203.0.113.1", 80) == "web"
    assert answer("2001:db8::1", 80) == "web"
    assert answer("203.0.113.1", 80, host) == "web"


def test_a_pod_reaches_its_own_port_on_the_host(appc: Appc, host: str) -> None:
    uuid, _ = server(appc, "--port", "greeting:80", name="web")
    assert answer_inside(appc, uuid, "203.0.113.1", 80) == "web"


def test_a_port_of_one_address_is_closed_at_others(appc: Appc, host: str) -> None:
    server(appc, "--port", "greeting:203.0.113.1:80", name="web")
    assert answer("203.0.113.1", 80) == "web"
    assert sh("busybox nc -w 2 127.0.0.1 80 </dev/null || echo refused").strip() == "refused"


def test_a_port_of_all_addresses_of_one_version(appc: Appc, host: str) -> None:
    server(appc, "--port", "greeting:0.0.0.0:80", name="four")
    assert answer("127.0.0.1", 80) == "four"
    assert answer("203.0.113.1", 80, host) == "four"
    server(appc, "--port", "greeting:[::]:80", name="six")
    assert answer("2001:db8::1", 80) == "six"


def test_a_range_of_ports(appc: Appc, host: str) -> None:
    server(appc, "--port", "many:100", name="web")
    assert answer("203.0.113.1", 101, host) == "web"


def test_a_pod_does_not_reach_the_hosts_loopback(appc: Appc, host: str) -> None:
    """Loopback addresses are routed over the links of pods with ports; a pod could address them (CVE-2020-8558)."""
    uuid, _ = server(appc, "--port", "greeting:80", name="web")
    pid = appc.status(uuid)["pid"]
    route = "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 172.16.28.1 dev eth0"
    sh(f"nsenter -t {pid} -n sh -ec '{route}; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet'")
    with listener("127.0.0.1", 631):
        ask = "busybox nc -w 2 127.0.0.1 631 </dev/null || echo refused"
        assert sh(f"nsenter -t {pid} -n sh -c '{ask}'") == "refused\n"


def test_what_was_made_goes_with_the_pod(appc: Appc, host: str) -> None:
    before = state_of_the_host()
    uuid, _ = server(appc, "--port", "greeting:80")
    assert state_of_the_host() != before
    assert appc("stop", uuid).status == 0
    assert state_of_the_host() == before
    assert list((appc.state / "netns").iterdir()) == []
    assert list((appc.state / "networks/default").iterdir()) == []


def test_what_a_killed_keeper_leaves_is_collected(appc: Appc, host: str) -> None:
    before = state_of_the_host()
    uuid, _ = server(appc, "--port", "greeting:80")
    os.kill(appc.status(uuid)["keeper"], signal.SIGKILL)
    wait_for(lambda: appc.status(uuid)["state"] != "running")
    assert state_of_the_host() != before
    assert appc("gc", "--grace-period", "0").status == 0
    assert state_of_the_host() == before
    assert list((appc.state / "networks/default").iterdir()) == []


def test_a_launch_that_fails_leaves_nothing(appc: Appc, host: str) -> None:
    before = state_of_the_host()
    done = appc.run("--net", "default", PROBE, "--exec", "/absent")
    assert done.status == 127, done
    assert "absent" in done.err
    assert state_of_the_host() == before


def test_other_pods_keep_the_network(appc: Appc, host: str) -> None:
    first, _ = server(appc, name="one")
    _, (address, _) = server(appc, name="two")
    appc("stop", first)
    assert answer(address, 8080) == "two"
    assert "masquerade" in sh("nft list ruleset")


@pytest.mark.parametrize(
    ("pod", "what"),
    [
        (("--net", "default", "--port", "nothing:80"), "no app has a port"),
        (("--net", "default", "--port", "greeting:80", "--port", "many:79"), "of the host is asked for twice"),
        (("--net", "default", "--port", "strange:80"), "sctp is not tcp or udp"),
        (("--net", "none", "--port", "greeting:80"), "a pod without a network has no ports to open"),
        (("--net", "default,default",), "default is named twice"),
        (("--net", "backbone",), "there is no such network"),
        (("--net", "default,host",), "is not none, host, or a list of networks"),
        (("--net", "default", "--dns", "none", "--dns", "192.0.2.1"), "none cannot go together with other servers"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(appc: Appc, host: str, pod: tuple[str, ...], what: str) -> None:
    done = appc.run(*pod, SERVER)
    assert done.status in (1, 2, 125)
    assert what in done.err
    assert done.err.startswith("appc: ")
    assert appc.pods() == []


def test_no_address_left(appc: Appc, host: str) -> None:
    (appc.config / "config.json").write_text('{"network": {"subnet": "192.0.2.0/30"}}')
    try:
        server(appc)
        done = appc.run("--net", "default", PROBE)
    finally:
        (appc.config / "config.json").unlink()
    assert done.status == 125
    assert "all 1 addresses are taken" in done.err


class TestNames:
    def file(self, appc: Appc, path: str, *pod: str) -> str:
        return appc.probe("read", path, pod=("--net", "default", *pod)).out

    def test_servers_that_are_named(self, appc: Appc, host: str) -> None:
        words = ("--dns", "192.0.2.1", "--dns", "2001:db8::5", "--dns-search", "example.com", "--dns-opt", "ndots:2")
        found = self.file(appc, "/etc/resolv.conf", *words)
        for line in ("nameserver 192.0.2.1", "nameserver 2001:db8::5", "search example.com", "options ndots:2"):
            assert line in found

    def test_the_hosts_file(self, appc: Appc, host: str) -> None:
        need("resolver")
        found = self.file(appc, "/etc/resolv.conf", "--dns", "host")
        assert Path("/etc/resolv.conf").read_text().splitlines()[0] in found

    def test_none_leaves_the_images_alone(self, appc: Appc, host: str) -> None:
        assert "errno 2" in self.file(appc, "/etc/resolv.conf", "--dns", "none")

    def test_entries_of_hosts(self, appc: Appc, host: str) -> None:
        found = self.file(appc, "/etc/hosts", "--hosts-entry", "192.0.2.7=db,db.example.com", "--hostname", "here")
        assert "192.0.2.7\tdb db.example.com" in found
        assert any(line.startswith("172.16.") and line.endswith("\there") for line in found.splitlines())
