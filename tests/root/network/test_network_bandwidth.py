"""`resource/network-bandwidth`: each link carries so much each way, as the kernel's queues say and as bytes arrive."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from network_kit import sh, shares
from pod_kit import PROBE, Appc, one_app, pod_manifest, wait_for

from appc.network.default import host_link
from capabilities import need

pytestmark = pytest.mark.root

NAME = "resource/network-bandwidth"
RATE = 2_000_000  # bytes per second


def ways(link: str) -> dict[str, str]:
    """The links that what leaves by a link of the host ("out"), and what comes in by it ("in"), go out by."""
    places = {"out": link}
    shown = sh(f"tc filter show dev {link} ingress")
    if shown:
        places["in"] = shown.partition("Egress Redirect to device ")[2].split(")")[0]
    return places


def limits(link: str) -> dict[str, int]:
    """The limits of a link of the host in bytes per second: what leaves by it ("out") and what comes in ("in")."""
    found = {}
    for way, place in ways(link).items():
        for queue in json.loads(sh(f"tc -j qdisc show dev {place} root")):
            if queue["kind"] == "tbf":
                found[way] = queue["options"]["rate"]
    return found


def outcomes(appc: Appc, uuid: str) -> dict[str, tuple[str, str]]:
    """What the status says of the limit, by scope."""
    rows = appc.status(uuid)["isolators"]
    return {row["scope"]: (row["outcome"], row["reason"]) for row in rows if row["name"] == NAME}


def manifest(appc: Appc, path: Path, apps: dict[str, str], own: str = "") -> str:
    """Write a pod manifest whose apps, and with `own` the pod, have these limits ("" for none)."""

    def isolators(limit: str) -> list[Any]:
        return [{"name": NAME, "value": {"default": True, "limit": limit}}] if limit else []

    listed = json.loads(appc("image", "list", "--format", "json").out)
    image = next(entry["id"] for entry in listed if entry["name"] == PROBE)
    entries = [
        {"name": name, "image": {"id": image}, "app": one_app(["/probe", "wait"], isolators=isolators(limit))}
        for name, limit in apps.items()
    ]
    return pod_manifest(path, entries, isolators=isolators(own))


def test_a_pods_link_is_limited_both_ways(appc: Appc, host: str, sandbox: Path) -> None:
    need("tc")
    words = manifest(appc, sandbox / "pod.json", {"one": "", "two": ""}, own="2M")
    uuid = appc.detached("--net", "default", "--pod-manifest", words)
    assert limits(host_link(uuid)) == {"out": RATE, "in": RATE}
    assert outcomes(appc, uuid) == {"pod": ("enforced", "")}
    # Not between the apps of a pod (ace.md, network-bandwidth).
    inside = sh(f"nsenter --net={appc.state}/netns/{uuid} tc qdisc show dev lo")
    assert inside.split()[:2] == ["qdisc", "noqueue"]


def shared(link: str) -> dict[str, list[tuple[float, float]]]:
    """The (sure, most) bytes per second of each class of what leaves by a link of the host ("out") and of what comes
    in ("in"), without that of the whole."""
    found = {}
    for way, place in ways(link).items():
        listed = shares(place)
        order = sorted((handle for handle in listed if handle != "2:1"), key=lambda one: int(one[2:], 16))
        found[way] = [listed[handle][:2] for handle in order]
    return found


def test_an_app_has_a_limit_of_its_own(appc: Appc, host: str, sandbox: Path) -> None:
    need("tc", "unified")
    words = manifest(appc, sandbox / "pod.json", {"one": "4M", "two": "3M", "three": ""})
    uuid = appc.detached("--net", "default", "--strict", "--pod-manifest", words)
    own = [(4_000_000, 4_000_000), (3_000_000, 3_000_000)]
    # And what comes in for nobody that is known.
    assert shared(host_link(uuid)) == {"out": [*own, own[1]], "in": own}
    assert outcomes(appc, uuid) == {"one": ("enforced", ""), "two": ("enforced", "")}


def test_the_pods_limit_bounds_its_apps(appc: Appc, host: str, sandbox: Path) -> None:
    need("tc", "unified")
    words = manifest(appc, sandbox / "pod.json", {"one": "40M", "two": "3M", "three": ""}, own="5M")
    uuid = appc.detached("--net", "default", "--pod-manifest", words)
    most = [5_000_000, 5_000_000, 3_000_000]
    out, come = (shared(host_link(uuid))[way] for way in ("out", "in"))
    assert [one[1] for one in come] == most
    assert [one[1] for one in out] == [*most, 3_000_000]
    # Sure are no more than there are in all: the kernel does not count what is sure against the pod's.
    assert max(sum(one[0] for one in way) for way in (out, come)) <= 5_000_000
    assert outcomes(appc, uuid) == dict.fromkeys(("pod", "one", "two"), ("enforced", ""))


def test_a_running_pods_limit_changes(appc: Appc, host: str) -> None:
    need("tc")
    uuid = appc.detached("--net", "default", PROBE, "--name", "web", "--", "wait")
    assert limits(host_link(uuid)) == {}
    for limit, rate in (("1M", 1_000_000), ("500k", 500_000)):
        done = appc("update", uuid, "--app", "web", "--isolator", f"{NAME},limit={limit}")
        assert (done.status, done.out) == (0, f"{NAME}=enforced\n")
        assert limits(host_link(uuid)) == {"out": rate, "in": rate}


def test_an_app_that_comes_and_goes_brings_and_takes_its_limit(appc: Appc, host: str) -> None:
    need("tc", "unified")
    uuid = appc.detached("--net", "default", PROBE, "--name", "web", "--", "wait")
    words = ("app", "add", uuid, PROBE, "--name", "slow", "--isolator", f"{NAME},limit=1M", "--", "wait")
    done = appc(*words)
    assert done.status == 0, done
    own = (1_000_000, 1_000_000)
    assert shared(host_link(uuid)) == {"out": [own, own], "in": [own]}
    assert outcomes(appc, uuid)["slow"] == ("enforced", "")
    done = appc("update", uuid, "--app", "slow", "--isolator", f"{NAME},limit=500k")
    assert (done.status, done.out) == (0, f"{NAME}=enforced\n")
    assert shared(host_link(uuid))["in"] == [(500_000, 500_000)]
    done = appc("app", "rm", "--force", uuid, "slow")
    assert done.status == 0, done
    assert shared(host_link(uuid)) == {"out": []}
    assert "appi" not in sh("ip -o link")
    refused = appc("app", "add", uuid, PROBE, "--name", "bad", "--isolator", f"{NAME},limit=1M", "--exec", "/absent")
    assert refused.status != 0
    assert shared(host_link(uuid)) == {"out": []}
    assert "appi" not in sh("ip -o link")


def test_another_pods_network_is_not_ones_own_to_limit(appc: Appc, host: str) -> None:
    owner = appc.detached("--net", "default", PROBE, "--", "wait")
    uuid = appc.detached("--net", f"pod:{owner}", PROBE, "--isolator", f"{NAME},limit=1M", "--", "wait")
    assert outcomes(appc, uuid) == {"probe": ("ignored", "the network is another pod's")}
    done = appc("update", uuid, "--isolator", f"{NAME},limit=1M")
    assert done.out == f"{NAME}=ignored (the network is not the pod's own)\n"
    assert limits(host_link(owner)) == {}


@pytest.mark.parametrize(("net", "outcome"), [("host", "ignored"), ("none", "enforced")])
def test_without_a_link_there_is_nothing_to_limit(appc: Appc, host: str, net: str, outcome: str) -> None:
    words = ("--net", net, PROBE, "--isolator", f"{NAME},limit=1M", "--", "wait")
    uuid = appc.detached(*words)
    assert outcomes(appc, uuid)["probe"][0] == outcome
    strict = appc.run("--detach", "--strict", *words)
    assert (strict.status == 0) == (outcome == "enforced")
    if net == "host":
        assert f"isolator {NAME} is ignored: the network is not the pod's own" in appc.run(*words[:-1], "exit", "0").err
        assert f"{NAME} ignored: the network is not the pod's own" in strict.err


def test_links_are_taken_away_after_everything_was_killed(appc: Appc, host: str) -> None:
    """The fixture `host` compares the host's links with those before."""
    uuid = appc.detached("--net", "default", PROBE, "--isolator", f"{NAME},limit=1M", "--", "wait")
    assert "appi" in sh("ip -o link")
    sh(f"kill -9 {appc.status(uuid)['keeper']}")
    wait_for(lambda: appc.status(uuid)["state"] != "running")
    assert appc("gc", "--grace-period", "0").status == 0
    assert "appi" not in sh("ip -o link")


@pytest.fixture
def networks(appc: Appc) -> Any:
    """A function that defines a network of plugins for the time of the test."""
    directory = appc.config / "net.d"
    directory.mkdir()

    def define(*plugins: dict[str, Any]) -> None:
        document = {"cniVersion": "1.0.0", "name": "backbone", "plugins": plugins}
        (directory / "10-backbone.conflist").write_text(json.dumps(document))

    yield define
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def addresses(path: Path) -> dict[str, Any]:
    """Where a plugin takes addresses from."""
    return {"type": "host-local", "subnet": "10.78.0.0/24", "dataDir": str(path)}


def test_the_link_of_a_plugin_is_found_and_limited(appc: Appc, host: str, networks: Any, tmp_path: Path) -> None:
    need("tc", "cni")
    networks({"type": "ptp", "ipam": addresses(tmp_path)})
    uuid = appc.detached("--net", "backbone,default", PROBE, "--isolator", f"{NAME},limit=2M", "--", "wait")
    link = next(word.split("@")[0] for word in sh("ip -o link | cut -d' ' -f2").split() if word.startswith("veth"))
    assert limits(link) == limits(host_link(uuid)) == {"out": RATE, "in": RATE}
    assert appc("stop", uuid).status == 0


def test_a_plugin_that_limits_itself_is_told_to(appc: Appc, host: str, networks: Any, tmp_path: Path) -> None:
    need("tc", "cni")
    plugins = ({"type": "ptp", "ipam": addresses(tmp_path)}, {"type": "bandwidth", "capabilities": {"bandwidth": True}})
    networks(*plugins)
    other = ("---", PROBE, "--name", "other", "--", "wait")
    uuid = appc.detached("--net", "backbone", PROBE, "--isolator", f"{NAME},limit=2M", "--", "wait", *other)
    assert outcomes(appc, uuid)["probe"] == (
        "modified",
        "applied to the pod: network backbone: its plugin limits no apps",
    )
    link = next(word.split("@")[0] for word in sh("ip -o link | cut -d' ' -f2").split() if word.startswith("veth"))
    assert "tbf" in sh(f"tc qdisc show dev {link}")
    assert "appi" not in sh("ip -o link")
    done = appc("update", uuid, "--app", "probe", "--isolator", f"{NAME},limit=1M")
    reason = "network backbone: its plugin cannot change the limit of a running pod"
    assert done.out == f"{NAME}=ignored ({reason})\n"
    assert appc("stop", uuid).status == 0


def test_a_link_without_an_end_on_the_host_is_told(appc: Appc, host: str, networks: Any, tmp_path: Path) -> None:
    need("cni")
    networks({"type": "macvlan", "master": "lan", "ipam": addresses(tmp_path)})
    uuid = appc.detached("--net", "backbone", PROBE, "--isolator", f"{NAME},limit=2M", "--", "wait")
    assert outcomes(appc, uuid)["probe"] == ("ignored", "network backbone: eth0 has no other end on the host")
    assert appc("stop", uuid).status == 0


@pytest.mark.slow
def test_bytes_arrive_at_the_rate(appc: Appc, host: str) -> None:
    """Within 15 %, in both directions, after what may come at once."""
    need("own-speed")
    script = "nc -l -p 8080 >/dev/null & nc -l -p 8081 -e cat /dev/zero & wait"
    words = (PROBE, "--isolator", f"{NAME},limit={RATE}", "--exec", "/bin/sh", "--", "-c", script)
    uuid = appc.detached("--net", "default", *words)
    address = appc.status(uuid)["networks"][0]["addresses"][0].partition("/")[0]
    link = host_link(uuid)

    def connect(port: int) -> socket.socket:
        try:
            return socket.create_connection((address, port), 1)
        except OSError:
            return socket.socket(socket.AF_UNIX)

    seconds = 4
    with wait_for(lambda: (made := connect(8080)).family == socket.AF_INET and made) as to_pod:
        to_pod.setblocking(False)
        end = time.monotonic() + seconds + 1
        before, began = 0, 0.0
        while time.monotonic() < end:
            try:
                to_pod.send(bytes(65536))
            except BlockingIOError:
                time.sleep(0.01)
            if not began and end - time.monotonic() < seconds:
                before, began = _sent(link), time.monotonic()
        rate = (_sent(link) - before) / (time.monotonic() - began)
    assert abs(rate / RATE - 1) < 0.15
    with wait_for(lambda: (made := connect(8081)).family == socket.AF_INET and made) as from_pod:
        begin = time.monotonic()
        received, counted = 0, 0.0
        while time.monotonic() < begin + seconds + 1:
            size = len(from_pod.recv(65536))
            if time.monotonic() > begin + 1:
                counted = counted or time.monotonic()
                received += size
        assert abs(received / (time.monotonic() - counted) / RATE - 1) < 0.15


def _sent(link: str) -> int:
    """The bytes that left by a link of the host."""
    return int(json.loads(sh(f"ip -j -s link show {link}"))[0]["stats64"]["tx"]["bytes"])
