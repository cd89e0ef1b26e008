"""Networks of pods on a host of their own: a network namespace for each test, with a neighbour outside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))

from network_kit import SERVER, sh, state_of_the_host
from pod_kit import PROBE, Appc, base_files, one_app

from appc.host import libc
from capabilities import need

# Answers every connection with its name.
SERVE = 'while :; do nc -l -p 8080 -e echo "$AC_APP_NAME"; done'


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Appc:
    """The command line over a root that holds the images PROBE and SERVER."""
    need("root", "native", "overlay-tmp", "cgroup", "busybox")
    base = tmp_path_factory.mktemp("network")
    made = Appc(base)
    made.add(base / "probe.aci", base_files(), PROBE, app=one_app())
    ports = [
        {"name": "greeting", "protocol": "tcp", "port": 8080},
        {"name": "many", "protocol": "tcp", "port": 8079, "count": 3},
        {"name": "strange", "protocol": "sctp", "port": 9},
    ]
    made.add(base / "server.aci", base_files(), SERVER, app=one_app(("/bin/sh", "-c", SERVE), ports=ports))
    return made


@pytest.fixture
def appc(shared: Appc, sandbox: Path) -> Iterator[Appc]:
    """The same, with no pods before the test and none after it."""
    yield shared
    shared.clear()
    assert shared.pods() == []


@pytest.fixture
def host(appc: Appc) -> Iterator[str]:
    """A host, 203.0.113.1 and 2001:db8::1, and a neighbour, 203.0.113.2, which knows no way to any pod.

    Gives the path of the neighbour's network namespace. Afterwards links and rules are as before.
    """
    need("nft", "ip")
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    neighbour = f"/proc/{os.getpid()}/fd/"
    try:
        libc.unshare(libc.CLONE_NEWNET)
        outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        libc.unshare(libc.CLONE_NEWNET)
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        neighbour += str(outside)
        sh("ip link set lo up; ip link add lan type veth peer name lan0")
        sh(f"ip link set lan0 netns {neighbour}")
        sh("ip address add 203.0.113.1/24 dev lan; ip address add 2001:db8::1/64 dev lan nodad; ip link set lan up")
        sh(f"nsenter --net={neighbour} sh -ec 'ip address add 203.0.113.2/24 dev lan0; ip link set lan0 up'")
        before = state_of_the_host()
        yield neighbour
        appc.clear()
        assert appc("gc", "--grace-period", "0").status == 0
        assert state_of_the_host() == before
        os.close(outside)
        os.close(own)
    finally:
        libc.setns(home, libc.CLONE_NEWNET)
        os.close(home)
