"""The service's process: hand-over from keepers, single instance, time limits, and leaving when idle."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.cli import metadata_service
from appc.cli.context import Context
from appc.cli.options import parse
from appc.errors import HostError
from appc.metadata import access, server
from appc.metadata.service import serve
from keeper import Keeper, end, get, receive, spawn
from pod_directory import UUID, make_pod

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the service needs Linux's epoll")
OTHER = "11111111-2222-3333-4444-555555555555"


class Service(threading.Thread):
    """A service in a thread of the test; `served` is what `serve` returned."""

    def __init__(self, root: Path, state: Path, idle: float) -> None:
        super().__init__(daemon=True)
        self.arguments = str(root), str(state), idle
        self.served: bool | None = None
        self.start()

    def run(self) -> None:
        self.served = serve(*self.arguments)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_pod(tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def keeper(root: Path, state: Path) -> Iterator[Keeper]:
    one = Keeper(root, state)
    yield one
    one.close()


@pytest.fixture
def service(root: Path, state: Path, keeper: Keeper) -> Iterator[Service]:
    """A service that stays until its pod has ended."""
    one = Service(root, state, 60)
    yield one
    if keeper.link is None:
        keeper.hand_over()
    keeper.close()
    one.join(10)
    assert not one.is_alive()


def test_a_client_that_came_before_the_service_is_answered(keeper: Keeper, service: Service) -> None:
    with keeper.client() as client:
        client.sendall(get("pod/uuid"))
        keeper.hand_over()
        head, body = receive(client)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nMetadata-Flavor: AppContainer\r\n" in head
        assert body == UUID.encode()


def test_a_connection_serves_many_requests_also_pipelined(keeper: Keeper, service: Service) -> None:
    keeper.hand_over()
    with keeper.client() as client:
        for _ in range(3):
            client.sendall(get("pod/uuid"))
            assert receive(client)[1] == UUID.encode()
        client.sendall(get("pod/uuid") * 5 + get("pod/uuid", fields="Connection: close\r\n"))
        data = b""
        while piece := client.recv(65536):
            data += piece
        assert data.count(b"200 OK") == data.count(UUID.encode()) == 6


def test_an_answer_larger_than_the_sockets_buffers_arrives_whole(keeper: Keeper, service: Service, root: Path) -> None:
    manifest = os.urandom(8_000_000)
    (root / "pods" / "run" / UUID / "images" / "worker").write_bytes(manifest)
    keeper.hand_over()
    with keeper.client() as client:
        client.sendall(get("apps/worker/image/manifest") + get("pod/uuid"))
        time.sleep(0.1)
        assert receive(client)[1][: len(manifest)] == manifest


def test_the_answer_to_a_client_that_has_stopped_sending_still_comes(keeper: Keeper, service: Service) -> None:
    keeper.hand_over()
    with keeper.client() as client:
        client.sendall(get("pod/uuid"))
        client.shutdown(socket.SHUT_WR)
        assert receive(client)[1] == UUID.encode()


def test_a_refused_upload_gets_its_answer_not_a_reset(keeper: Keeper, service: Service) -> None:
    keeper.hand_over()
    with keeper.client() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
        client.sendall(bytes(300_000))
        time.sleep(0.05)
        client.sendall(bytes(300_000))
        assert receive(client)[0].startswith(b"HTTP/1.1 413 ")


def test_one_service_serves_several_pods_each_by_its_own_token(
    keeper: Keeper, service: Service, root: Path, state: Path
) -> None:
    make_pod(root, OTHER, "f" * 32)
    other = Keeper(root, state, OTHER)
    keeper.hand_over()
    other.hand_over()
    with keeper.client() as client, other.client() as other_client:
        client.sendall(get("pod/uuid"))
        other_client.sendall(get("pod/uuid", "f" * 32))
        assert receive(client)[1] == UUID.encode()
        assert receive(other_client)[1] == OTHER.encode()
        client.sendall(get("pod/uuid", "f" * 32))
        assert receive(client)[0].startswith(b"HTTP/1.1 401 ")
        other.close()
        assert other_client.recv(1) == b""
        client.sendall(get("pod/uuid"))
        assert receive(client)[1] == UUID.encode()


def test_idle_it_lets_go_and_a_late_client_finds_the_next_one(keeper: Keeper, root: Path, state: Path) -> None:
    service = Service(root, state, 0.5)
    keeper.hand_over()
    begin = time.monotonic()
    with keeper.client() as idle:
        idle.sendall(get("pod/uuid"))
        receive(idle)
        assert keeper.given_back(20)
        assert time.monotonic() - begin >= 0.4
        assert idle.recv(1) == b""
    service.join(20)
    assert service.served is True
    assert not os.path.exists(access.socket_path(str(root), str(state)))
    with keeper.client() as late:
        late.sendall(get("pod/uuid"))
        again = Service(root, state, 0.5)
        keeper.hand_over()
        assert receive(late)[1] == UUID.encode()
    again.join(20)
    assert again.served is True


def test_it_leaves_with_the_last_pod(root: Path, state: Path) -> None:
    make_pod(root, OTHER)
    service = Service(root, state, 60)
    keepers = [Keeper(root, state), Keeper(root, state, OTHER)]
    for keeper in keepers:
        keeper.hand_over()
    with keepers[0].client() as client:
        client.sendall(get("pod/uuid"))
        assert receive(client)[1] == UUID.encode()
    keepers[1].close()
    with keepers[0].client() as client:
        client.sendall(get("pod/uuid"))
        assert receive(client)[1] == UUID.encode()
    keepers[0].close()
    service.join(20)
    assert service.served is True


def test_no_request_is_lost_when_services_come_and_go(keeper: Keeper, root: Path, state: Path) -> None:
    """A service that leaves after every few milliseconds of quiet, and a client that asks at all moments."""
    answers: list[bytes] = []

    def ask() -> None:
        for step in range(60):
            time.sleep(step % 7 * 0.004)
            with keeper.client() as client:
                client.sendall(get("pod/uuid"))
                answers.append(receive(client)[1])

    services: list[Service] = []

    def start() -> None:
        if not services or not services[-1].is_alive():
            services.append(Service(root, state, 0.008))

    client = threading.Thread(target=ask)
    client.start()
    while client.is_alive():
        if select.select([keeper.listener], [], [], 0.05)[0]:
            keeper.hand_over(start)
            keeper.given_back(20)
            assert keeper.link is not None
            keeper.link.close()
    client.join()
    services[-1].join(20)
    assert answers == [UUID.encode()] * 60
    assert len(services) > 3


def test_a_second_one_leaves_quietly(keeper: Keeper, service: Service, root: Path, state: Path) -> None:
    keeper.hand_over()
    second = Service(root, state, 60)
    second.join(20)
    assert second.served is False
    with keeper.client() as client:
        client.sendall(get("pod/uuid"))
        assert receive(client)[1] == UUID.encode()


def test_by_hand_it_serves_until_idle_and_says_when_another_does(keeper: Keeper, root: Path, state: Path) -> None:
    context = Context(root=str(root), state=str(state), log_level="error")
    assert metadata_service.run(parse(metadata_service.VERB, ["--idle", "50ms"]), context) == 0
    service = Service(root, state, 60)
    keeper.hand_over()
    with pytest.raises(HostError, match="another metadata service"):
        metadata_service.run(parse(metadata_service.VERB, []), context)
    keeper.close()
    service.join(20)
    assert service.served is True


def test_of_many_that_start_at_once_one_serves(root: Path, state: Path, keeper: Keeper) -> None:
    services = [Service(root, state, 60) for _ in range(8)]
    keeper.hand_over()
    with keeper.client() as client:
        client.sendall(get("pod/uuid"))
        assert receive(client)[1] == UUID.encode()
    end = time.monotonic() + 10
    while sum(service.is_alive() for service in services) > 1 and time.monotonic() < end:
        time.sleep(0.005)
    keeper.close()
    for service in services:
        service.join(10)
    assert sorted(str(service.served) for service in services) == ["False"] * 7 + ["True"]


def test_a_killed_service_is_replaced(root: Path, state: Path, keeper: Keeper) -> None:
    first = spawn(root, state)
    try:
        keeper.hand_over()
    finally:
        end(first)
    assert keeper.given_back(20)
    second = spawn(root, state)
    try:
        with keeper.client() as client:
            client.sendall(get("pod/uuid"))
            keeper.hand_over()
            assert receive(client)[1] == UUID.encode()
        assert os.readlink(f"/proc/{second}/cwd") == "/"
        assert (state / "metadata.log").read_text() == ""
    finally:
        end(second)


def test_only_its_user_may_hand_over_sockets(service: Service, keeper: Keeper, root: Path, state: Path) -> None:
    keeper.hand_over()
    assert os.stat(access.socket_path(str(root), str(state))).st_mode & 0o777 == 0o600
    assert os.stat(state).st_mode & 0o777 == 0o700


def test_the_state_directorys_path_may_be_long(root: Path, tmp_path: Path) -> None:
    state = tmp_path / ("x" * 150)
    service = Service(root, state, 0.05)
    service.join(20)
    assert service.served is True


@pytest.mark.parametrize("packet", [b"", b"nonsense\n", b"../../etc\n", b"x" * 500])
def test_a_hand_over_that_makes_no_sense_is_dropped(
    service: Service, keeper: Keeper, root: Path, state: Path, packet: bytes
) -> None:
    keeper.hand_over()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.connect(access.socket_path(str(root), str(state)))
        socket.send_fds(link, [packet], [keeper.listener.fileno()])
        link.settimeout(5)
        assert link.recv(1) == b""
    with keeper.client() as client:
        client.sendall(get("pod/uuid"))
        assert receive(client)[1] == UUID.encode()


def wait_until_closed(client: socket.socket) -> None:
    """Wait until the other end of a connection of this machine has been closed, though there is more to receive."""

    def hexadecimal(address: tuple[str, int]) -> str:
        return f"{int.from_bytes(socket.inet_aton(address[0]), sys.byteorder):08X}:{address[1]:04X}"

    ends = [hexadecimal(client.getpeername()), hexadecimal(client.getsockname())]
    established = "01"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(
        line.split()[1:4] == [*ends, established] for line in Path("/proc/net/tcp").read_text().splitlines()
    ):
        time.sleep(0.01)


class TestLimits:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "REQUEST_SECONDS", 0.4)
        monkeypatch.setattr(server, "CLIENTS_PER_POD", 3)

    def test_a_request_that_trickles_in_is_given_up(self, keeper: Keeper, service: Service) -> None:
        keeper.hand_over()
        with keeper.client() as client:
            sent = 0
            try:
                for byte in get("pod/uuid"):
                    client.sendall(bytes([byte]))
                    sent += 1
                    time.sleep(0.05)
            except ConnectionError:
                pass
            assert sent < len(get("pod/uuid"))
            try:
                assert client.recv(4096).startswith(b"HTTP/1.1 408 ")
            except ConnectionResetError:
                pass

    def test_a_client_that_takes_no_answer_is_given_up(self, keeper: Keeper, service: Service, root: Path) -> None:
        (root / "pods" / "run" / UUID / "images" / "worker").write_bytes(b" " * 16_000_000)
        keeper.hand_over()
        with keeper.client() as client:
            client.sendall(get("apps/worker/image/manifest"))
            wait_until_closed(client)
            received = 0
            while piece := client.recv(65536):
                received += len(piece)
            assert received < 16_000_000

    def test_a_pod_has_a_number_of_connections_and_the_rest_wait(self, keeper: Keeper, service: Service) -> None:
        keeper.hand_over()
        holders = [keeper.client() for _ in range(3)]
        for holder in holders:
            holder.sendall(get("pod/uuid"))
            receive(holder)
        with keeper.client(timeout=0.2) as waiting:
            waiting.sendall(get("pod/uuid"))
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            holders.pop().close()
            waiting.settimeout(5)
            assert receive(waiting)[1] == UUID.encode()
        for holder in holders:
            holder.close()
