"""The default network of ordinary users' pods: what they reach, how they are reached, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, base_files, one_app, until, wait_for
from rootless_kit import User as AnyUser
from rootless_kit import made

import image_kit
from appc.host import libc
from appc.pods import records
from capabilities import need
from user_kit import RANGES, UID

pytestmark = pytest.mark.root

SERVER = "example.com/server"
# Clients speak first: Debian 12's pasta lets those wait that connect to another address than loopback.
SERVE = "while :; do nc -l -p 8080 -e sh -c 'read x; echo $AC_APP_NAME'; done"
PORTS = [
    {"name": "web", "protocol": "tcp", "port": 8080},
    {"name": "many", "protocol": "tcp", "port": 8079, "count": 3},
    {"name": "words", "protocol": "udp", "port": 5000},
]
HOST, NEIGHBOUR = "203.0.113.1", "203.0.113.2"


class User(AnyUser):
    """A user of a host that has a neighbour: the path of its network namespace."""

    neighbour = ""


@pytest.fixture(scope="module")
def shared_user() -> Iterator[User]:
    need("pasta", "slirp4netns", "tun", "ip")
    for user in made(RANGES, User):
        image = user.base / "server.aci"
        app = one_app(("/bin/sh", "-c", SERVE), ports=PORTS)
        image_kit.aci(image, base_files(), SERVER, compress="none", app=app)
        assert user("fetch", "--insecure", "image", str(image)).status == 0
        user.config.mkdir(exist_ok=True)
        yield user


@pytest.fixture
def host(shared_user: User, sandbox: Path) -> Iterator[User]:
    """The user of a host with a network of its own, a default route, and a neighbour that knows no way to any pod.

    Afterwards nobody serves any network.
    """
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.unshare(libc.CLONE_NEWNET)
        outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        libc.unshare(libc.CLONE_NEWNET)
        neighbour = f"/proc/{os.getpid()}/fd/{outside}"
        script = f"""ip link set lo up; ip link add lan type veth peer name lan0; ip link set lan0 netns {neighbour}
            ip address add {HOST}/24 dev lan; ip address add 2001:db8::1/64 dev lan nodad; ip link set lan up
            nsenter --net={neighbour} ip address add {NEIGHBOUR}/24 dev lan0
            nsenter --net={neighbour} ip link set lan0 up
            ip route add default via {NEIGHBOUR}; ip route add default via 2001:db8::2"""
        assert os.waitstatus_to_exitcode(os.system(f"set -e; {script}")) == 0
        shared_user.neighbour = neighbour
        yield shared_user
        shared_user.clear()
        assert shared_user.pods() == []
        assert programs() == []
        os.close(outside)
    finally:
        shared_user.instead = {}
        (shared_user.config / "config.json").unlink(missing_ok=True)
        libc.setns(home, libc.CLONE_NEWNET)
        os.close(home)


def choose(user: User, program: str) -> None:
    (user.config / "config.json").write_text(json.dumps({"network": {"helper": program}}))


def programs() -> list[str]:
    """The names of what serves the user's networks."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name, owner = (directory / "comm").read_text().strip(), (directory / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        zombie = "\nState:\tZ" in owner
        if f"\nUid:\t{UID}\t" in owner and name.startswith(("pasta", "passt", "slirp4netns")) and not zombie:
            found.append("pasta" if name[0] == "p" else name)
    return found


def answer(address: str, port: int) -> str:
    """What somebody who connects to a port is told, once there is somebody who tells."""

    def ask() -> str:
        try:
            with socket.create_connection((address, port), PATIENCE) as connection:
                connection.sendall(b"?\n")
                return connection.recv(100).decode()
        except OSError:
            return ""

    return str(wait_for(ask)).strip()


@contextmanager
def inside_network(namespace: str) -> Iterator[None]:
    """What is in this block happens in another network namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(namespace, os.O_RDONLY)
    try:
        libc.setns(other, libc.CLONE_NEWNET)
        yield
    finally:
        libc.setns(own, libc.CLONE_NEWNET)
        os.close(own)
        os.close(other)


@contextmanager
def listener(address: str, port: int, namespace: str = "/proc/self/ns/net") -> Iterator[list[str]]:
    """A server that tells who connects a secret, and us who that was."""
    heard: list[str] = []
    with inside_network(namespace):
        server = socket.create_server((address, port))

    def serve() -> None:
        while True:
            try:
                connection, peer = server.accept()
            except OSError:
                return
            heard.append(peer[0])
            connection.sendall(b"secret\n")
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_a_pod_reaches_and_is_reached(host: User, program: str) -> None:
    choose(host, program)
    ports = ("--port", "web:18080", "--port", "many:127.0.0.1:18090", "--port", "words:15000")
    uuid = host("run", "--detach", "--net", "default", *ports, SERVER).out.strip()
    assert answer("127.0.0.1", 18080) == "server"
    assert answer(HOST, 18080) == "server"
    assert answer("127.0.0.1", 18091) == "server"
    with pytest.raises(ConnectionRefusedError), socket.create_connection((HOST, 18091), PATIENCE):
        pass
    init = records.init_pid(host.the_pod())
    assert init is not None
    with inside_network(f"/proc/{init[0]}/ns/net"):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", 5000))
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for one in (server, client):
            one.settimeout(PATIENCE)
        client.sendto(b"question", (HOST, 15000))
        question, asker = server.recvfrom(100)
        server.sendto(b"answer to " + question, asker)
        assert client.recv(100) == b"answer to question"
    assert programs() == [program]
    (network,) = host.status(uuid)["networks"]
    assert (network["name"], network["interface"]) == ("default", "eth0")
    assert "10.0.2.100" in network["addresses"]

    def inside(script: str) -> str:
        return host("enter", uuid, "/bin/sh", "-c", script).out.strip()

    assert inside("wget -qO- $AC_METADATA_URL/acMetadata/v1/pod/uuid") == uuid
    assert inside("echo | nc 127.0.0.1 8080") == "server"
    with listener(NEIGHBOUR, 7, host.neighbour) as heard:
        # Its input stays open: pasta's older versions lose who ends its side before there is a connection.
        assert inside(f"mkfifo /idle; nc -w 20 {NEIGHBOUR} 7 0<>/idle") == "secret"
        assert heard == [HOST]
    # The host's loopback is not the pod's to reach, by whichever address the gateway has.
    with listener("127.0.0.1", 7) as heard:
        for address in ("127.0.0.1", "10.0.2.2", NEIGHBOUR):
            assert inside(f"nc -w 1 {address} 7 </dev/null") == ""
        assert heard == []
    assert host("stop", uuid).status == 0
    assert host("status", "--wait", uuid).status == 0
    wait_for(lambda: not programs())
    socket.create_server(("", 18080)).close()


def test_ports_are_open_on_ipv6(host: User) -> None:
    host("run", "--detach", "--net", "default", "--port", "web:18080", SERVER)
    assert answer("::1", 18080) == "server"
    assert answer("2001:db8::1", 18080) == "server"
    host("run", "--detach", "--net", "default", "--port", "web:[::1]:18081", SERVER)
    assert answer("::1", 18081) == "server"


def test_a_pod_joins_the_network_of_another(host: User) -> None:
    uuid = host("run", "--detach", "--net", "default", SERVER).out.strip()
    ask = "until echo | nc 127.0.0.1 8080; do sleep 0.1; done; ls /sys/class/net"
    done = host("run", "--net", f"pod:{uuid}", PROBE, "--exec", "/bin/sh", "--", "-c", ask)
    assert done.out.split() == ["server", "eth0", "lo"], done


def test_a_program_that_has_ended_is_said(host: User) -> None:
    uuid = host("run", "--detach", "--net", "default", SERVER).out.strip()
    assert host("status", "--check", uuid).status == 0
    os.kill(json.loads(Path(host.the_pod().file("network")).read_text())["links"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: not programs())
    done = host("status", "--check", uuid)
    assert (done.status, "pasta has ended" in done.err) == (1, True)


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_after_the_keeper_was_killed_gc_ends_the_program(host: User, program: str) -> None:
    choose(host, program)
    host("run", "--detach", "--net", "default", "--port", "web:18080", SERVER)
    keeper = records.keeper_pid(host.the_pod())
    assert keeper is not None
    os.kill(keeper[0], signal.SIGKILL)
    wait_for(lambda: not host.the_pod().locked())
    assert host("gc", "--grace-period", "0").status == 0
    assert programs() == []
    assert host.pods() == []


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
@pytest.mark.parametrize("port", ["web:18080", "many:18078"])
def test_a_port_that_is_taken_is_said(host: User, program: str, port: str) -> None:
    choose(host, program)
    with socket.create_server(("", 18080)):
        done = host("run", "--net", "default", "--port", port, SERVER)
    assert done.status != 0, done
    assert "port 18080" in done.err
    assert "cannot be opened" in done.err
    assert len(done.err.splitlines()) <= 2
    assert host.pods() == []


def test_what_the_network_needs_is_said(host: User) -> None:
    run = ("run", "--net", "default", SERVER)
    done = host(*run[:-1], "--port", "web:80", SERVER)
    assert "port 80 of the host is for root alone" in done.err
    done = host("run", "--net", "default,other", SERVER)
    assert "only root can attach a pod to networks of plugins" in done.err
    host.instead = dict.fromkeys(("/usr/bin/pasta", "/usr/bin/slirp4netns"), "/dev/null")
    done = host(*run)
    assert "neither pasta nor slirp4netns is installed" in done.err
    assert "apt-get install passt" in done.err
    host.instead = {"/dev/net/tun": "/etc/hostname"}
    assert "/dev/net/tun" in host(*run).err
    assert host.pods() == []


def test_without_a_default_route_slirp4netns_takes_its_place(host: User) -> None:
    os.system("ip route del default; ip -6 route del default")
    assert host("run", "--net", "default", PROBE, "--exec", "/bin/true").status == 0
    uuid = host("run", "--detach", "--net", "default", SERVER).out.strip()
    assert programs() == ["slirp4netns"]
    assert host("kill", uuid).status == 0
    host.instead = {"/usr/bin/slirp4netns": "/dev/null"}
    assert "no default route, which pasta needs" in host("run", "--net", "default", SERVER).err


def test_names_are_asked_of_a_server_on_the_host_s_loopback(host: User) -> None:
    resolver = host.base / "resolver"
    resolver.write_text("nameserver 127.0.0.1\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        server.settimeout(2 * PATIENCE)

        def serve() -> None:
            question, peer = server.recvfrom(512)
            address = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07"
            end = question.index(b"\0", 12) + 5
            server.sendto(question[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + question[12:end] + address, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        host.instead = {"/etc/resolv.conf": str(resolver)}
        done = host(
            "run", "--net", "default", PROBE, "--exec", "/bin/busybox", "--", "nslookup", "-type=a", "a.example"
        )
        assert "192.0.2.7" in done.out, done
        thread.join()


@pytest.mark.parametrize("words", [("/bin/true",), ("/bad/foreign",)])
def test_a_pod_in_the_foreground_leaves_nothing(host: User, words: tuple[str, ...]) -> None:
    done = host("run", "--rm", "--net", "default", PROBE, "--exec", *words)
    assert (done.status == 0) == (words == ("/bin/true",)), done
    assert host.pods() == []
    assert programs() == []


def test_two_apps_share_a_volume_and_are_asked_at_a_port(host: User) -> None:
    shared = ("--volume", "data,kind=empty,uid=999,mode=0770", "--mount", "volume=data,target=/data")
    ask = "wget -qO /data/new $AC_METADATA_URL/acMetadata/v1/pod/uuid; mv /data/new /data/uuid; exec sleep 1000"
    serve = f"{until('[ -e /data/uuid ]')}; while :; do nc -l -p 8080 -e sh -c 'read x; cat /data/uuid'; done"
    first = (PROBE, "--name", "writer", "--user", "999", "--exec", "/bin/sh", "--", "-c", ask)
    second = (SERVER, "--name", "web", "--user", "999", "--exec", "/bin/sh", "--", "-c", serve)
    port = ("--net", "default", "--port", "web:127.0.0.1:18080")
    uuid = host("run", "--detach", *port, *shared, *first, "---", *second).out.strip()
    assert answer("127.0.0.1", 18080) == uuid
