"""Networks of CNI plugins: Debian's own, and one that writes down what it is asked."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from network_kit import SERVER, sh, state_of_the_host
from pod_kit import PROBE, Appc, wait_for

from capabilities import need

pytestmark = pytest.mark.root

BRIDGE = {
    "cniVersion": "1.0.0",
    "name": "backbone",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni-test0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.77.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "",
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}

# Writes down its environment and configuration, and answers as it is told to.
RECORDER = """#!/bin/sh
name=$(basename "$0")
config=$(cat)
printf '%s %s %s %s %s\\n' "$CNI_COMMAND" "$name" "$CNI_IFNAME" "$CNI_ARGS" "$config" >>{log}
if [ -e {base}/$CNI_COMMAND-$name ]; then . {base}/$CNI_COMMAND-$name; fi
case $CNI_COMMAND in
ADD) echo '{{"cniVersion":"1.1.0","ips":[{{"address":"198.51.100.7/24"}}],"dns":{{"nameservers":["198.51.100.1"]}}}}';;
esac
"""


@pytest.fixture
def config(appc: Appc) -> Iterator[Path]:
    """The directory of network configurations, which is gone again after the test."""
    directory = appc.config / "net.d"
    directory.mkdir()
    yield directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    (appc.config / "config.json").unlink(missing_ok=True)


class Recorder:
    """A network of two plugins that write down what they are asked."""

    def __init__(self, base: Path, config: Path, appc: Appc) -> None:
        self.base = base
        self.log = base / "log"
        for name in ("first", "second"):
            program = base / name
            program.write_text(RECORDER.format(log=self.log, base=base))
            program.chmod(0o755)
        plugins = [{"type": "first", "capabilities": {"portMappings": True}}, {"type": "second", "mtu": 1400}]
        (config / "10-test.conflist").write_text(
            json.dumps({"cniVersion": "1.1.0", "name": "recorded", "plugins": plugins})
        )
        (appc.config / "config.json").write_text(json.dumps({"network": {"pluginPath": [str(base)]}}))

    def on(self, command: str, plugin: str, script: str) -> None:
        """Have a plugin do something of its own when it is asked."""
        (self.base / f"{command}-{plugin}").write_text(script)

    def calls(self, *commands: str) -> list[tuple[str, str, str, str, dict[str, Any]]]:
        """What was asked of attachments, or by these commands: (command, plugin, interface, arguments, document)."""
        found = []
        for line in self.log.read_text().splitlines():
            command, plugin, interface, arguments, document = line.split(" ", 4)
            if command in (commands or ("ADD", "CHECK", "DEL")):
                found.append((command, plugin, interface, arguments, json.loads(document)))
        return found

    def order(self, *commands: str) -> list[str]:
        """The commands and plugins, in the order they were asked."""
        return [f"{command} {plugin}" for command, plugin, *_ in self.calls(*commands)]

    def configure(self, config: Path, version: str, **fields: object) -> None:
        """Change the version and other fields of the network."""
        path = config / "10-test.conflist"
        path.write_text(json.dumps({**json.loads(path.read_text()), "cniVersion": version, **fields}))


@pytest.fixture
def recorder(tmp_path: Path, config: Path, appc: Appc) -> Recorder:
    return Recorder(tmp_path, config, appc)


def test_plugins_of_the_distribution(appc: Appc, config: Path, host: str, tmp_path: Path) -> None:
    need("cni", "iptables")
    before = state_of_the_host()
    BRIDGE["plugins"][0]["ipam"]["dataDir"] = str(tmp_path / "leases")  # type: ignore[index]
    (config / "backbone.conflist").write_text(json.dumps(BRIDGE))
    uuid = appc.detached("--net", "backbone", "--port", "greeting:80", SERVER)
    (network,) = appc.status(uuid)["networks"]
    assert network["name"] == "backbone"
    (address,) = network["addresses"]
    assert address.startswith("10.77.0.")
    ask = "busybox nc -w 2 {} {} </dev/null || true"
    assert wait_for(lambda: sh(ask.format(address, 8080))) == "server\n"
    assert wait_for(lambda: sh(ask.format("203.0.113.1", 80))) == "server\n"
    assert appc("stop", uuid).status == 0
    assert address not in os.listdir(tmp_path / "leases/backbone")
    sh("ip link delete cni-test0; iptables-nft-save | grep -q CNI-DN && exit 1; nft flush ruleset")
    assert state_of_the_host() == before


def test_what_plugins_of_the_distribution_made_goes_after_everything_was_killed(
    appc: Appc, config: Path, host: str, tmp_path: Path
) -> None:
    need("cni", "iptables")
    before = state_of_the_host()
    BRIDGE["plugins"][0]["ipam"]["dataDir"] = str(tmp_path / "leases")  # type: ignore[index]
    (config / "backbone.conflist").write_text(json.dumps(BRIDGE))
    uuid = appc.detached("--net", "backbone", "--port", "greeting:80", SERVER)
    status = appc.status(uuid)
    address = status["networks"][0]["addresses"][0]
    assert address in os.listdir(tmp_path / "leases/backbone")
    for pid in (status["keeper"], status["pid"], *(app["pid"] for app in status["apps"])):
        # Each may have gone with the one before.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: appc.status(uuid)["state"] != "running")
    assert appc("gc", "--grace-period", "0").status == 0
    assert appc.pods() == []
    assert address not in os.listdir(tmp_path / "leases/backbone")
    # The bridge is for the pods to come, as the plugin leaves it, and so are the tables of iptables.
    sh("ip link delete cni-test0; iptables-nft-save | grep -q CNI-DN && exit 1; nft flush ruleset")
    assert state_of_the_host() == before


def test_a_plugin_of_the_distribution_misses_an_address(appc: Appc, config: Path, host: str, tmp_path: Path) -> None:
    need("cni", "iptables")
    bridge: dict[str, Any] = {**BRIDGE["plugins"][0], "ipMasq": False}  # type: ignore[dict-item]
    bridge["ipam"] = {**bridge["ipam"], "dataDir": str(tmp_path / "leases")}
    (config / "backbone.conflist").write_text(json.dumps({**BRIDGE, "plugins": [bridge]}))
    uuid = appc.detached("--net", "backbone", SERVER)
    assert appc("status", "--check", uuid).status == 0
    sh(f"nsenter --net={appc.state}/netns/{uuid} ip address flush dev eth0")
    broken = appc("status", "--check", uuid)
    assert (broken.status, "network backbone: plugin bridge: CHECK failed: " in broken.err) == (1, True)
    appc("stop", uuid)
    sh("ip link delete cni-test0; nft flush ruleset")


def test_two_networks(appc: Appc, recorder: Recorder, host: str) -> None:
    done = appc.probe("list", "/sys/class/net", pod=("--net", "default,recorded"))
    assert "eth0" in done.out
    assert [(call[0], call[2]) for call in recorder.calls()] == [
        ("ADD", "eth1"),
        ("ADD", "eth1"),
        ("DEL", "eth1"),
        ("DEL", "eth1"),
    ]


def test_a_chain_of_plugins(appc: Appc, recorder: Recorder, host: str) -> None:
    uuid = appc.detached("--net", "recorded:IP=10.0.0.9;K=v", "--port", "greeting:80", SERVER)
    assert appc.status(uuid)["networks"] == [{"name": "recorded", "interface": "eth0", "addresses": ["198.51.100.7"]}]
    appc("stop", uuid)
    assert recorder.order() == ["ADD first", "ADD second", "DEL second", "DEL first"]
    first, second, _, last = (call[4] for call in recorder.calls())
    assert recorder.calls()[0][3] == "IP=10.0.0.9;K=v"
    assert first["runtimeConfig"] == {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]}
    assert "prevResult" not in first
    assert second["prevResult"]["ips"] == [{"address": "198.51.100.7/24"}]
    assert (second["name"], second["cniVersion"], second["mtu"]) == ("recorded", "1.1.0", 1400)
    assert "runtimeConfig" not in second
    assert last["prevResult"] == second["prevResult"]


def test_who_cannot_attach_is_asked_first(appc: Appc, recorder: Recorder, config: Path, host: str) -> None:
    recorder.on("STATUS", "second", """echo '{"code":50,"msg":"no addresses left"}'; exit 1""")
    done = appc.run("--net", "default,recorded", PROBE)
    assert done.err == "appc: network recorded: plugin second: STATUS failed: no addresses left\n"
    assert done.status == 125
    assert recorder.order("STATUS", "ADD", "DEL") == ["STATUS first", "STATUS second"]
    assert not recorder.calls("STATUS")[0][4].keys() & {"prevResult", "runtimeConfig"}
    assert appc.pods() == []
    recorder.configure(config, "1.0.0")
    assert appc.run("--net", "recorded", PROBE, "--", "exit", "0").status == 0
    assert len(recorder.order("STATUS")) == 2


def test_status_has_the_plugins_check(appc: Appc, recorder: Recorder, config: Path, host: str) -> None:
    uuid = appc.detached("--net", "recorded:K=v", "--port", "greeting:80", SERVER)
    assert appc("status", "--check", uuid).status == 0
    (_, _, interface, arguments, first), (_, plugin, _, _, second) = recorder.calls("CHECK")
    assert (interface, arguments, plugin) == ("eth0", "K=v", "second")
    assert first["prevResult"] == second["prevResult"] == recorder.calls("DEL", "ADD")[1][4]["prevResult"]
    assert first["runtimeConfig"] == recorder.calls("ADD")[0][4]["runtimeConfig"]
    recorder.on("CHECK", "first", """echo '{"code":100,"msg":"its address is gone"}'; exit 1""")
    done = appc("status", "--check", uuid)
    assert done.status == 1
    assert "network recorded: plugin first: CHECK failed: its address is gone" in done.err
    assert done.out.startswith("state=running\n")
    assert appc("status", uuid).err == ""
    appc("stop", uuid)
    assert appc("status", "--check", uuid).status == 0


@pytest.mark.parametrize(("version", "fields"), [("0.3.1", {}), ("1.0.0", {"disableCheck": True})])
def test_what_is_not_to_be_checked(
    appc: Appc, recorder: Recorder, config: Path, host: str, version: str, fields: dict[str, object]
) -> None:
    recorder.configure(config, version, **fields)
    uuid = appc.detached("--net", "recorded", SERVER)
    assert appc("status", "--check", uuid).status == 0
    assert recorder.calls("CHECK") == []


def test_the_built_in_network_is_checked_too(appc: Appc, host: str) -> None:
    uuid = appc.detached("--net", "default", "--port", "greeting:80", SERVER)
    assert (appc("status", "--check", uuid).status, appc("status", "--check", uuid).err) == (0, "")
    sh("nft flush ruleset; ip link delete appc" + uuid.replace("-", "")[:11])
    done = appc("status", "--check", uuid)
    assert done.status == 1
    assert [line.rpartition("network default: ")[2].rpartition(" ")[2] for line in done.err.splitlines()] == [
        "gone"
    ] * 3


def test_plugins_collect_what_no_pod_has(appc: Appc, recorder: Recorder, config: Path, host: str) -> None:
    uuid = appc.detached("--net", "default,recorded", SERVER)
    ended = appc.run("--net", "recorded", PROBE, "--", "exit", "0")
    assert ended.status == 0
    assert appc("gc", "--dry-run").status == 0
    assert recorder.calls("GC") == []
    assert appc("gc").status == 0
    assert recorder.order("GC") == ["GC first", "GC second"]
    for *_, document in recorder.calls("GC"):
        assert document["cni.dev/valid-attachments"] == [{"containerID": uuid, "ifname": "eth1"}]
        assert document.keys() >= {"cniVersion", "name", "type"}
        assert "prevResult" not in document
    recorder.on("GC", "first", "echo broken >&2; exit 1")
    done = appc("gc")
    assert done.status == 1
    assert "network recorded: plugin first: GC failed: broken" in done.err
    assert recorder.order("GC")[2:] == ["GC first", "GC second"]
    recorder.on("GC", "first", "true")


@pytest.mark.parametrize(("version", "fields"), [("1.0.0", {}), ("1.1.0", {"disableGC": True})])
def test_what_is_not_to_be_collected(
    appc: Appc, recorder: Recorder, config: Path, host: str, version: str, fields: dict[str, object]
) -> None:
    recorder.configure(config, version, **fields)
    appc.detached("--net", "recorded", SERVER)
    assert appc("gc").status == 0
    assert recorder.calls("GC") == []


def test_pods_of_another_root_are_not_collected(appc: Appc, recorder: Recorder, host: str, tmp_path: Path) -> None:
    appc.detached("--net", "recorded", SERVER)
    other = Appc(tmp_path)
    other.state, other.config = appc.state, appc.config
    assert other("gc").status == 0
    assert recorder.calls("GC") == []


def test_the_network_names_servers(appc: Appc, recorder: Recorder, host: str) -> None:
    assert "nameserver 198.51.100.1" in appc.probe("read", "/etc/resolv.conf", pod=("--net", "recorded")).out


def test_a_plugin_that_fails(appc: Appc, recorder: Recorder, host: str) -> None:
    recorder.on("ADD", "second", """echo '{"code":7,"msg":"no room","details":"on the shelf"}'; exit 1""")
    done = appc.run("--net", "recorded", PROBE)
    assert done.err == "appc: network recorded: plugin second: ADD failed: no room; on the shelf\n"
    assert done.status == 125
    assert recorder.order() == ["ADD first", "ADD second", "DEL second", "DEL first"]
    assert list((appc.state / "netns").iterdir()) == []
    assert appc.pods() == []


def test_what_cannot_be_taken_away_is_tried_again(appc: Appc, recorder: Recorder, host: str) -> None:
    recorder.on("DEL", "first", "echo not now >&2; exit 1")
    uuid = appc.detached("--net", "recorded", SERVER)
    appc("stop", uuid)
    done = appc("gc", "--grace-period", "0")
    assert done.status == 1
    assert "DEL failed: not now" in done.err
    recorder.on("DEL", "first", "true")
    assert appc("gc", "--grace-period", "0").status == 0
    assert appc.pods() == []


def test_a_launch_killed_between_plugins_is_collected(appc: Appc, recorder: Recorder, host: str) -> None:
    recorder.on("ADD", "second", "kill -9 $PPID; exit 1")
    process = appc.start("run", "--net", "recorded", PROBE)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert recorder.order() == ["ADD first", "ADD second"]
    assert appc("gc", "--grace-period", "0").status == 0
    assert recorder.order()[2:] == ["DEL second", "DEL first"]
    assert list((appc.state / "netns").iterdir()) == []


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"name": "recorded", "cniVersion": "9.0.0", "type": "x"}, "cniVersion: none of"),
        ({"name": "-", "cniVersion": "1.0.0", "type": "../evil"}, "type: must be the name of a plugin"),
        ({"name": "recorded", "cniVersion": "1.0.0", "plugins": []}, "plugins: must be a list of at least one plugin"),
        ({"name": "recorded", "cniVersion": "1.0.0", "type": "x", "disableGC": 1}, "disableGC: must be true or false"),
        ({"name": "recorded", "cniVersion": "1.0.0", "type": "absent"}, "there is no such plugin in"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_wrong(appc: Appc, config: Path, host: str, document: object, what: str) -> None:
    path = config / "wrong.conf"
    path.write_text(json.dumps(document))
    done = appc.run("--net", "recorded", PROBE)
    assert what in done.err
    assert all(line.startswith(("appc: ", "hint: ")) for line in done.err.splitlines())
    assert appc.pods() == []
