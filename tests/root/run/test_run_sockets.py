"""Socket activation: an app that finds its ports open."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from pod_kit import PATIENCE, Appc, base_files, one_app

import appc as api

IMAGE = "example.com/activated"
PORTS = [{"name": "http", "protocol": "tcp", "port": 80, "socketActivated": True}]


@pytest.fixture(scope="module", autouse=True)
def image(shared: Appc, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared.add(tmp_path_factory.mktemp("i") / "x.aci", base_files(), IMAGE, app=one_app(ports=PORTS))


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        return client.recv(100)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_pod_without_a_network_serves_a_port_of_the_host(appc: Appc) -> None:
    port = free_port()
    words = ("--port", f"http:127.0.0.1:{port}", IMAGE, "--user", "1234", "--group", "1234")
    uuid = appc.detached(*words, "--", "report", "answer", "3", "hello")
    assert ask(port) == b"hello"
    assert appc("status", "--wait", uuid).status == 0
    said = dict(line.split("=", 1) for line in appc("logs", uuid).out.splitlines() if "=" in line)
    assert (said["env.LISTEN_FDS"], said["env.LISTEN_FDNAMES"]) == ("1", "http")
    assert said["env.LISTEN_PID"] == said["pid"]


@pytest.mark.parametrize("name", ["http", ""])
def test_sockets_of_the_service_manager(appc: Appc, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = appc.words("run", "--port", f"http:{port}", IMAGE, "--", "answer", "3", "hello")
        # What comes after the fork knows which process it is.
        script = 'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES="$1"; shift; exec "$@" 3<&"$FD"'
        pod = subprocess.Popen(
            ["bash", "-c", script, "bash", name, *words],
            env={**os.environ, "FD": str(listener.fileno())},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
        )
        assert ask(port) == b"hello"
        assert pod.communicate(timeout=PATIENCE)[1] == b""
        assert pod.returncode == 0


def test_from_python(appc: Appc) -> None:
    where = api.Directories(str(appc.root), str(appc.state), [str(appc.config)])
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        api.run(IMAGE, args=["answer", "3", "hello"], sockets={"http": listener}, directories=where) as pod,
    ):
        assert ask(listener.getsockname()[1]) == b"hello"
        assert pod.wait(timeout=PATIENCE) == 0


def test_a_socket_that_runs_again_with_its_app_loses_no_connection(appc: Appc) -> None:
    port = free_port()
    words = ("--port", f"http:127.0.0.1:{port}", IMAGE, "--restart", "always", "--", "answer", "3", "hello")
    uuid = appc.detached(*words)
    assert [ask(port), ask(port)] == [b"hello", b"hello"]
    assert appc("stop", uuid).status == 0


def test_handlers_and_entered_commands_have_no_sockets(appc: Appc, sandbox: Path) -> None:
    port = free_port()
    uuid = appc.detached("--port", f"http:127.0.0.1:{port}", IMAGE, "--", "wait")
    assert "LISTEN_" not in appc("enter", uuid, "/bin/env").out


def test_a_port_that_is_not_activated_still_needs_a_network(appc: Appc, sandbox: Path) -> None:
    plain = [{**PORTS[0], "socketActivated": False}]
    appc.add(sandbox / "plain.aci", base_files(), "example.com/plain", app=one_app(ports=plain))
    done = appc.run("--port", "http:8080", "example.com/plain")
    assert (done.status, "a pod without a network has no ports to open" in done.err) == (2, True)


def test_a_descriptor_that_is_no_socket_leaves_no_pod(appc: Appc) -> None:
    script = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3</dev/null'
    words = ["bash", "-c", script, "bash", *appc.words("run", IMAGE, "--", "exit", "0")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "LISTEN_FDS: descriptor 3 is no socket" in done.stderr
    assert appc.pods() == []
