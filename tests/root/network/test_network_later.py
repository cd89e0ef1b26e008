"""Ports of the host for apps that come to a running pod, and go before it does."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from network_kit import SERVER, sh
from pod_kit import PROBE, Appc, wait_for

from appc.network.ports import table
from capabilities import need

pytestmark = pytest.mark.root

PORT = 8090


def answer(port: int) -> str:
    """What the server says that the port of the host leads to, "" when there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as own:
            own.settimeout(5)
            return own.makefile().readline().strip()
    except OSError:
        return ""


def test_a_server_that_comes_later_is_reached(appc: Appc, host: str) -> None:
    """By the host's port, until it is removed; then another can have the port."""
    uuid = appc.detached("--net", "default", PROBE, "--name", "web", "--", "wait")
    for name in ("second", "third"):
        done = appc("app", "add", uuid, "--port", f"greeting:{PORT}", SERVER, "--name", name)
        assert done.status == 0, done
        wait_for(lambda name=name: answer(PORT) == name)
        assert [port["hostPort"] for port in json.loads(appc("manifest", uuid).out)["ports"]] == [PORT]
        assert appc("status", "--check", uuid).status == 0
        taken = appc("app", "add", uuid, "--port", f"greeting:{PORT}", SERVER, "--name", "late")
        assert taken.status == 1
        assert table(uuid, "late") not in sh("nft list tables")
        assert appc("app", "rm", "--force", uuid, name).status == 0
        assert table(uuid) not in sh("nft list tables")
        assert not json.loads(appc("manifest", uuid).out).get("ports")
        assert answer(PORT) == ""


def test_what_fails_to_start_leaves_no_port_open(appc: Appc, host: str) -> None:
    uuid = appc.detached("--net", "default", PROBE, "--name", "web", "--", "wait")
    words = ("app", "add", uuid, "--port", f"greeting:{PORT}", SERVER, "--name", "bad", "--exec", "/absent")
    assert appc(*words).status not in (0, 2)
    assert table(uuid) not in sh("nft list tables")
    assert appc("status", "--check", uuid).status == 0


def test_later_ports_are_closed_after_everything_was_killed(appc: Appc, host: str) -> None:
    """The fixture `host` compares the host's packet filter with that before."""
    uuid = appc.detached("--net", "default", PROBE, "--name", "web", "--", "wait")
    assert appc("app", "add", uuid, "--port", f"greeting:{PORT}", SERVER, "--name", "second").status == 0
    assert table(uuid, "second") in sh("nft list tables")
    sh(f"kill -9 {appc.status(uuid)['keeper']}")
    wait_for(lambda: appc.status(uuid)["state"] != "running")
    assert appc("gc", "--grace-period", "0").status == 0
    assert table(uuid) not in sh("nft list tables")


@pytest.mark.parametrize(
    ("net", "words"), [("none", "has no network of its own"), ("host", "has no network of its own")]
)
def test_ports_need_a_network(appc: Appc, host: str, net: str, words: str) -> None:
    uuid = appc.detached("--net", net, PROBE, "--name", "web", "--", "wait")
    refused = appc("app", "add", uuid, "--port", f"greeting:{PORT}", SERVER, "--name", "second")
    assert refused.status == 2
    assert words in refused.err
    assert [app["name"] for app in appc.status(uuid)["apps"]] == ["web"]


def test_plugins_open_no_ports_later(appc: Appc, host: str, tmp_path: Path) -> None:
    need("cni")
    path = appc.config / "net.d/10-backbone.conflist"
    addresses = {"type": "host-local", "subnet": "10.78.0.0/24", "dataDir": str(tmp_path)}
    path.parent.mkdir()
    try:
        plugins = [{"type": "ptp", "ipam": addresses}]
        path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "backbone", "plugins": plugins}))
        uuid = appc.detached("--net", "backbone", PROBE, "--name", "web", "--", "wait")
        refused = appc("app", "add", uuid, "--port", f"greeting:{PORT}", SERVER, "--name", "second")
        assert refused.status == 1
        assert "in the built-in network alone" in refused.err
        assert appc("stop", uuid).status == 0
    finally:
        path.unlink()
        path.parent.rmdir()
