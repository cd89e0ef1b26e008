"""What one pod can do to the metadata service of another, and who else can reach it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc

NOBODY = 65534


class Client:
    """A running pod that asks its metadata service."""

    def __init__(self, appc: Appc, name: str) -> None:
        self.appc = appc
        self.uuid = appc.detached(PROBE, "--name", name, "--exec", "/bin/sleep", "--", "60")
        environment = appc("enter", self.uuid, "/bin/env").out
        url = next(line.split("=", 1)[1] for line in environment.splitlines() if line.startswith("AC_METADATA_URL="))
        place, self.token = url.removeprefix("http://").split("/")
        self.host, self.port = place.split(":")

    def get(self, path: str) -> str:
        """The answer to GET, with its head."""
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return self.appc("enter", self.uuid, "/bin/nc", self.host, self.port, stdin=request).out


@pytest.fixture
def one(appc: Appc) -> Client:
    return Client(appc, "one")


@pytest.fixture
def two(appc: Appc) -> Client:
    return Client(appc, "two")


def test_a_token_opens_one_pod_only(one: Client, two: Client) -> None:
    assert one.uuid in one.get(f"/{one.token}/acMetadata/v1/pod/uuid")
    for token in (two.token, "", one.token[:-1], one.token.upper() + "x"):
        answer = one.get(f"/{token}/acMetadata/v1/pod/manifest")
        assert " 401 " in answer.splitlines()[0]
        assert two.uuid not in answer


@pytest.mark.parametrize(
    "path", ["apps/../../../token/image/manifest", "apps/%2e%2e/image/manifest", "apps/one%00/image/id", "../x"]
)
def test_names_do_not_lead_out_of_the_pod(one: Client, path: str) -> None:
    answer = one.get(f"/{one.token}/acMetadata/v1/{path}")
    assert " 404 " in answer.splitlines()[0]


def test_silent_and_endless_clients_of_one_pod_do_not_hold_up_another(appc: Appc, one: Client, two: Client) -> None:
    flood = f"for i in $(/bin/seq 1 40); do nc {one.host} {one.port} < /dev/zero > /dev/null & done; "
    silence = f"for i in $(/bin/seq 1 40); do sleep 600 | nc {one.host} {one.port} & done; "
    attack = appc.start("enter", one.uuid, "/bin/sh", "-c", f"{flood}{silence}echo; wait")
    assert attack.stdout is not None
    attack.stdout.readline()
    for _ in range(3):
        assert two.uuid in two.get(f"/{two.token}/acMetadata/v1/pod/uuid")
    # All of them are still there.
    assert attack.poll() is None
    assert appc("stop", "--force", one.uuid).status == 0
    attack.communicate()


def test_only_root_hands_over_sockets(appc: Appc, one: Client) -> None:
    assert one.uuid in one.get(f"/{one.token}/acMetadata/v1/pod/uuid")
    (door,) = appc.state.glob("*.sock")
    script = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({str(door)!r})"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in done.stderr
    assert {os.stat(path).st_mode & 0o077 for path in (appc.state, *Path(appc.state).iterdir())} == {0}
