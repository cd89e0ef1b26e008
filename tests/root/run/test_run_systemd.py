"""Pods under a systemd that is PID 1: tests/vm/test_systemd.py boots it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, base_files, one_app, wait_for

from capabilities import missing

pytestmark = pytest.mark.root

UNITS = Path("/run/systemd/system")
LONG = 300.0  # where the processor is emulated, and other machines run beside this one
NOTIFY = "appc.io/executor/supports-systemd-notify=true"
PORTS = [{"name": "http", "protocol": "tcp", "port": 80, "socketActivated": True}]


def run_command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done
    return done.stdout


def systemctl(*words: str) -> str:
    return run_command("systemctl", *words)


def journal(*words: str) -> str:
    """What the journal has by now, without what is about it."""
    subprocess.run(["journalctl", "--sync"], check=True, timeout=PATIENCE)
    words = ("journalctl", "--quiet", "--output=cat", "--no-pager", *words)
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def properties(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in systemctl("show", unit).splitlines())


class Services:
    """Units made by `appc unit`, which systemd has loaded."""

    def __init__(self, appc: Appc) -> None:
        self._appc = appc
        self._files: list[Path] = []

    def make(self, *words: str) -> None:
        done = self._appc("unit", "--output", str(UNITS), *words)
        assert done.status == 0, done
        self._files += [Path(line) for line in done.out.splitlines()]
        systemctl("daemon-reload")

    def remove(self) -> None:
        # Sockets first: they would start their services again.
        for file in sorted(self._files, key=lambda path: path.suffix != ".socket"):
            systemctl("stop", file.name)
            file.unlink()
        systemctl("daemon-reload")
        systemctl("reset-failed")


@pytest.fixture
def services(appc: Appc) -> Iterator[Services]:
    if missing("systemd"):
        pytest.skip(missing("systemd"))
    made = Services(appc)
    yield made
    made.remove()


def test_a_service_is_started_when_its_apps_are_ready(services: Services, appc: Appc, sandbox: Path) -> None:
    ready = "/probe tell /dev/appc/notify READY=1"
    script = f"echo waiting; until test -e /data/go; do sleep 0.1; done; {ready}; exec sleep 1000"
    words = ("--volume", f"data,kind=host,source={sandbox}", PROBE, "--mount", "volume=data,target=/data")
    services.make("--unit-name=slow", *words, "--annotation", NOTIFY, "--exec", "/bin/sh", "--", "-c", script)
    systemctl("start", "--no-block", "slow.service")
    wait_for(lambda: "waiting" in journal("--unit=slow"), patience=LONG)
    assert properties("slow.service")["ActiveState"] == "activating"
    (sandbox / "go").touch()
    systemctl("start", "slow.service")
    found = properties("slow.service")
    assert (found["ActiveState"], found["SubState"]) == ("active", "running")
    assert Path(f"/proc/{found['MainPID']}/comm").read_text() == "appc-keep\n"
    systemctl("stop", "slow.service")
    assert properties("slow.service")["Result"] == "success"
    assert appc.pods() == []


def test_an_app_that_fails_has_its_service_fail(services: Services, appc: Appc) -> None:
    services.make("--unit-name=failing", PROBE, "--exec", "/bin/sh", "--", "-c", "echo said; exit 3")
    (UNITS / "failing.service.d").mkdir()
    try:
        (UNITS / "failing.service.d/once.conf").write_text("[Service]\nRestart=no\n")
        systemctl("daemon-reload")
        systemctl("start", "--no-block", "failing.service")
        found = wait_for(
            lambda: (state := properties("failing.service"))["ActiveState"] == "failed" and state, patience=LONG
        )
        assert (found["Result"], found["ExecMainStatus"]) == ("exit-code", "3")
        assert "said" in journal("--unit=failing")
        assert appc.pods() == []
    finally:
        (UNITS / "failing.service.d/once.conf").unlink()
        (UNITS / "failing.service.d").rmdir()


def test_the_first_connection_starts_the_pod(services: Services, appc: Appc, sandbox: Path) -> None:
    appc.add(sandbox / "x.aci", base_files(), "example.com/under-systemd", app=one_app(ports=PORTS))
    port = "http:127.0.0.1:8099"
    services.make("--unit-name=lazy", "--port", port, "example.com/under-systemd", "--", "answer", "3", "hello")
    systemctl("start", "lazy-http.socket")
    assert properties("lazy.service")["ActiveState"] == "inactive"
    with socket.create_connection(("127.0.0.1", 8099), timeout=LONG) as client:
        assert client.recv(100) == b"hello"


def test_the_journal_has_a_pods_lines(services: Services, appc: Appc, sandbox: Path) -> None:
    settings = appc.config / "config.d/journal.json"
    settings.write_text(json.dumps({"logs": {"journal": "/run/systemd/journal/socket"}}))
    try:
        script = "echo out; echo err >&2"
        uuid = appc.detached(PROBE, "--name", "web", "--exec", "/bin/sh", "--", "-c", script)
    finally:
        settings.unlink()
    assert appc("status", "--wait", uuid).status == 0
    assert sorted(journal(f"APPC_POD={uuid}").splitlines()) == ["err", "out"]
    assert journal(f"APPC_POD={uuid}", "--priority=err") == "err\n"
    assert journal(f"APPC_POD={uuid}", "--identifier=web", "APPC_STREAM=stdout") == "out\n"


def test_limits_hold_when_systemd_is_reloaded(services: Services, appc: Appc) -> None:
    uuid = appc.detached(
        PROBE, "--memory", "64Mi", "--cpu", "500m", "--pids", "30", "--exec", "/bin/sleep", "--", "1000"
    )
    group = Path(f"/sys/fs/cgroup/appc/{uuid}/probe")
    files = ("memory.max", "cpu.max", "pids.max", "cgroup.controllers")
    before = [(group / name).read_text() for name in files]
    assert before[0] == f"{64 << 20}\n"
    systemctl("daemon-reload")
    systemctl("start", "system-other.slice")
    systemctl("stop", "system-other.slice")
    assert [(group / name).read_text() for name in files] == before
    assert appc("stop", uuid).status == 0


def machines() -> dict[str, str]:
    """The machines there are, and who made them."""
    rows = run_command("machinectl", "list", "--no-legend", "--full").splitlines()
    return {row.split()[0]: row.split()[2] for row in rows if row.strip() and not row.startswith("No machines")}


def test_a_registered_pod_is_a_machine_that_can_be_terminated(services: Services, appc: Appc) -> None:
    uuid = appc.detached("--register", PROBE, "--exec", "/bin/sh", "--", "-c", "trap 'exit 7' TERM; sleep 1000 & wait")
    assert machines() == {f"appc-{uuid}": "appc"}
    shown = dict(line.split("=", 1) for line in run_command("machinectl", "show", f"appc-{uuid}").splitlines())
    keeper = int(shown["Leader"])
    assert Path(f"/proc/{keeper}/comm").read_text() == "appc-keep\n"
    assert (shown["Class"], shown["Id"]) == ("container", uuid.replace("-", ""))
    run_command("machinectl", "terminate", f"appc-{uuid}")
    # In good order: the app had its say.
    assert "app-probe=exited, status 7" in appc("status", "--wait", uuid).out
    wait_for(lambda: machines() == {}, patience=LONG)


def test_a_services_machine_is_the_service(services: Services, appc: Appc) -> None:
    services.make("--unit-name=machine", "--register", PROBE, "--exec", "/bin/sleep", "--", "1000")
    systemctl("start", "machine.service")
    (name,) = machines()
    assert name == f"appc-{appc.the_pod().uuid}"
    assert "Unit=machine.service\n" in run_command("machinectl", "show", name)
    run_command("machinectl", "terminate", name)
    wait_for(lambda: properties("machine.service")["ActiveState"] == "inactive", patience=LONG)
    assert properties("machine.service")["Result"] == "success"
    assert appc.pods() == []
    assert machines() == {}
