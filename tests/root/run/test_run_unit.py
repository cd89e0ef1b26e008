"""Units for systemd: what is in them, and that their commands run the pod."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, base_files, one_app

PORTS = [
    {"name": "http", "protocol": "tcp", "port": 80, "count": 2, "socketActivated": True},
    {"name": "dns", "protocol": "udp", "port": 53, "socketActivated": True},
    {"name": "own", "protocol": "tcp", "port": 81},
]
AWKWARD = 'a "b" $c 100% \\d'


def command(text: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


def test_the_service_runs_the_pod_and_says_when_it_is_ready(appc: Appc, sandbox: Path) -> None:
    done = appc("unit", "--unit-name=probe-1", "--grace", "5s", PROBE, "--", "echo", AWKWARD, "--output", "exit", "3")
    assert done.status == 0, done
    assert appc.pods() == []
    assert done.out.startswith("# probe-1.service\n[Unit]\nDescription=Pod of example.com/probe\n")
    assert {"Type=notify", "KillMode=mixed", "TimeoutStopSec=25"} <= set(done.out.splitlines())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(sandbox / "manager"))
        env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(sandbox / "manager")}
        ran = subprocess.run(command(done.out), env=env, capture_output=True, text=True, timeout=PATIENCE)
        # The probe knows no action --output, and says so after it has echoed.
        assert (ran.returncode, ran.stdout) == (64, f"{AWKWARD}\n")
        said = manager.recv(100)
        # An app that ends at once may have the pod stop before it is said to have been ready.
        if said == b"STOPPING=1":
            said = manager.recv(100)
        assert said.startswith(b"READY=1\n")
    assert appc.pods() == []


def test_ports_that_are_activated_have_sockets(appc: Appc, sandbox: Path) -> None:
    appc.add(sandbox / "x.aci", base_files(), "example.com/ports", app=one_app(ports=PORTS))
    words = ("--port", "http:127.0.0.1:8080", "--port", "dns:[::1]:5353", "example.com/ports", "--name", "srv")
    done = appc("unit", "--output", str(sandbox), *words)
    assert done.status == 0, done
    names = ["srv.service", "srv-http.socket", "srv-dns.socket"]
    assert done.out.splitlines() == [str(sandbox / name) for name in names]
    service = (sandbox / "srv.service").read_text()
    assert "Sockets=srv-http.socket srv-dns.socket\n" in service
    assert "--output" not in service
    http = (sandbox / "srv-http.socket").read_text()
    assert "ListenStream=127.0.0.1:8080\nListenStream=127.0.0.1:8081\nFileDescriptorName=http\n" in http
    assert "ListenDatagram=[::1]:5353\nFileDescriptorName=dns\n" in (sandbox / "srv-dns.socket").read_text()
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    files = [str(sandbox / name) for name in names]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", *files], capture_output=True, text=True, timeout=PATIENCE
    )
    complaints = [line for line in verified.stderr.splitlines() if "srv" in line]
    assert (verified.returncode, complaints) == (0, [])


def test_what_is_no_service(appc: Appc, sandbox: Path) -> None:
    assert appc("unit", "-i", PROBE).status == 2
    (sandbox / "x.aci").touch()
    done = appc("unit", "x.aci", cwd=sandbox)
    assert (done.status, "depends on the working directory" in done.err) == (2, True)
    assert appc("unit", "example.com/absent").status == 1


def test_an_argument_of_an_app_is_no_option_of_the_pod(appc: Appc) -> None:
    done = appc("unit", PROBE, "--", "--rm")
    words = command(done.out)
    assert words[words.index("run") :] == ["run", "--rm", PROBE, "--", "--rm"]


@pytest.mark.parametrize("option", ["--set-env-file", "--uuid-file-save"])
def test_files_are_named_by_whole_paths(appc: Appc, option: str) -> None:
    done = appc("unit", option, "here", PROBE)
    assert (done.status, done.err.splitlines()[0]) == (
        2,
        "appc: here: is a path that depends on the working directory",
    )
