"""Which sockets an app finds open: matched to the caller's, or to be made, and where."""

from __future__ import annotations

import json
import os
import socket

import pytest

from appc.errors import AppcError, UsageError
from appc.executor import sockets
from appc.executor.sockets import Given, assign
from appc.schema.pod import PodManifest

IMAGE = "sha512-" + "0" * 128


def manifest(ports: list[dict[str, object]], exposed: list[dict[str, object]] | None = None) -> PodManifest:
    app = {"exec": ["/x"], "user": "0", "group": "0", "ports": ports}
    document = {
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [{"name": "web", "image": {"id": IMAGE}, "app": app}],
        "ports": exposed or [],
    }
    return PodManifest.parse(json.dumps(document).encode())


def port(name: str, number: int, **fields: object) -> dict[str, object]:
    return {"name": name, "protocol": "tcp", "port": number, "socketActivated": True, **fields}


def found(pod: PodManifest, net: str = "none", given: tuple[Given, ...] = ()) -> list[tuple[str, str, int, bool]]:
    told: list[str] = []
    made = assign(pod, net, net not in ("none", "host"), given, told)
    assert not told
    return [(one.kind, one.address, one.port, one.in_pod) for one in made.get("web", ())]


@pytest.fixture(autouse=True)
def ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/proc/net/if_inet6")


@pytest.mark.parametrize(
    ("net", "exposed", "expected"),
    [
        ("none", None, ("tcp", "::", 80, True)),
        ("none", {"hostPort": 8080}, ("tcp", "::", 8080, False)),
        ("none", {"hostPort": 8080, "hostIP": "127.0.0.1"}, ("tcp", "127.0.0.1", 8080, False)),
        ("host", None, ("tcp", "::", 80, False)),
        ("host", {"hostPort": 8080}, ("tcp", "::", 8080, False)),
        ("default", None, ("tcp", "::", 80, True)),
        ("default", {"hostPort": 8080}, ("tcp", "::", 80, True)),
    ],
)
def test_where_a_socket_is_made(
    net: str, exposed: dict[str, object] | None, expected: tuple[str, str, int, bool]
) -> None:
    pod = manifest([port("http", 80)], [{"name": "http", **exposed}] if exposed else None)
    assert found(pod, net) == [expected]


def test_ports_that_are_not_activated_are_the_apps_own() -> None:
    assert found(manifest([port("http", 80, socketActivated=False)])) == []


def test_names_come_before_numbers_and_each_socket_is_taken_once() -> None:
    pod = manifest(
        [port("http", 80, count=2), port("admin", 90), port("dns", 53, protocol="udp")],
        [{"name": "http", "hostPort": 8080}, {"name": "dns", "hostPort": 8080}],
    )
    given = (
        Given(3, "", "tcp", 8081),
        Given(4, "", "udp", 8080),
        Given(5, "admin", "", 0),
        Given(6, "other", "tcp", 8080),
    )
    assert found(pod, "default", given) == [
        ("inherited", "", 3, False),
        ("inherited", "", 0, False),
        ("inherited", "", 2, False),
        ("inherited", "", 1, False),
    ]


def test_a_socket_for_nobody_is_told() -> None:
    told: list[str] = []
    assign(manifest([]), "none", False, (Given(3, "", "tcp", 8081), Given(4), Given(5, "x")), told)
    assert [text.partition(" the socket ")[2] for text in told] == [
        "8081/tcp; it is closed",
        "descriptor 4; it is closed",
        "x; it is closed",
    ]


def test_what_no_socket_can_be_made_of() -> None:
    with pytest.raises(AppcError, match=r"app web.ports \(http\): sctp is not tcp or udp"):
        found(manifest([port("http", 80, protocol="sctp")]))
    with pytest.raises(AppcError, match="app web: has 33 sockets, more than 32"):
        found(manifest([port("http", 80, count=33)]))


def test_sockets_meant_for_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert sockets.given() == ()
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "33")
    with pytest.raises(UsageError, match="LISTEN_FDS: 33 sockets are too many"):
        sockets.given()


def test_what_a_given_socket_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local, open("/dev/null") as no:
        one = sockets.look_at(tcp.fileno(), "http")
        assert (one.name, one.kind, one.port) == ("http", "tcp", tcp.getsockname()[1])
        assert (sockets.look_at(local.fileno(), "").kind, tcp.fileno() >= 0) == ("", True)
        with pytest.raises(UsageError, match="is no socket"):
            sockets.look_at(no.fileno(), "")
