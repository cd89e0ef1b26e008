"""Health checks (`--health`) and time-outs of handlers, as users see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, one_app, wait_for

from appc.config import Directories
from appc.executor import api

pytestmark = pytest.mark.root

SHELL = ("--exec", "/bin/sh", "--", "-c")
FAST = "interval=0.05,failures=2,"


def health(appc: Appc, uuid: str) -> str:
    word: str = appc.status(uuid)["apps"][0]["health"]
    return word


def test_a_command_is_run_as_the_app(appc: Appc) -> None:
    check = ("--health", FAST + "exec=/bin/sh /check")
    script = "echo '[ \"$COLOUR\" = red ] && [ -e /mine ] && exec true; exit 1' > /check; exec sleep 600"
    flags = ("--env", "COLOUR=red", *check)
    uuid = appc.detached(PROBE, *flags, *SHELL, f"echo > /mine; {script}")
    wait_for(lambda: health(appc, uuid) == "good")
    assert ", health good" in appc("status", uuid).out
    assert appc("enter", uuid, "/bin/rm", "/mine").status == 0
    wait_for(lambda: health(appc, uuid) == "bad")
    assert appc.status(uuid)["apps"][0]["state"] == "running"


def test_one_that_is_not_well_runs_again(appc: Appc) -> None:
    flags = ("--health", FAST + "exec=/bin/ls /well", "--restart", "on-failure")
    uuid = appc.detached(PROBE, *flags, *SHELL, "[ -e /run-before ] && echo > /well; echo > /run-before; sleep 600")
    wait_for(lambda: health(appc, uuid) == "good")
    assert appc.status(uuid)["apps"][0]["restarts"] == 1


@pytest.mark.parametrize("check", ["tcp=web", "tcp=8080", "http=web/index.html"])
def test_a_port_in_the_pod_is_asked(appc: Appc, sandbox: Path, check: str) -> None:
    answer = "printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'"
    script = f'echo "{answer}" > /answer; while [ ! -e /ill ]; do nc -l -p 8080 -e /bin/sh /answer; done; sleep 600'
    app = one_app(["/bin/sh", "-c", script], ports=[{"name": "web", "protocol": "tcp", "port": 8080}])
    name = "example.com/answers"
    appc.add(sandbox / "x.aci", name=name, app=app, dependencies=[{"imageName": PROBE}])
    uuid = appc.detached(name, "--health", FAST + check)
    wait_for(lambda: health(appc, uuid) == "good")
    assert appc("enter", uuid, "/bin/sh", "-c", "echo > /ill").status == 0
    wait_for(lambda: health(appc, uuid) == "bad")


def test_the_manifest_says_it(appc: Appc) -> None:
    uuid = appc("prepare", PROBE, "--health", "exec=/bin/true", "--handler-timeout", "1m").out.strip()
    assert json.loads(appc("manifest", uuid).out)["apps"][0]["annotations"] == [
        {"name": "appc.io/health", "value": "exec=/bin/true"},
        {"name": "appc.io/handler-timeout", "value": "60"},
    ]


@pytest.mark.parametrize(
    "check",
    [
        *("", "true", "exec=", "http=80", "tcp=", "tcp=80/x", "interval=0,tcp=80", "interval=x,tcp=80", "interval=5"),
        *("failures=0,tcp=80", "colour=red,tcp=80", "http=80/a b", "http=80/" + "x" * 256),
    ],
)
def test_what_is_no_check(appc: Appc, check: str) -> None:
    done = appc.run(PROBE, "--health", check)
    assert done.status == 2
    assert "run: --health: " in done.err


def test_a_port_that_there_is_not(appc: Appc) -> None:
    done = appc.run(PROBE, "--health", "tcp=web")
    assert done.status == 1
    assert "apps[0].annotations[0].value: 'web' is neither a port nor the name of one" in done.err


@pytest.mark.parametrize(("event", "status"), [("pre-start", 125), ("post-stop", 0)])
def test_a_handler_that_takes_too_long(appc: Appc, sandbox: Path, event: str, status: int) -> None:
    app = one_app(["/probe", "exit", "0"], eventHandlers=[{"name": event, "exec": ["/probe", "wait"]}])
    appc.add(sandbox / "x.aci", name="example.com/slow", app=app, dependencies=[{"imageName": PROBE}])
    done = appc.run("example.com/slow", "--handler-timeout", "100ms")
    assert done.status == status, done
    if event == "pre-start":
        assert "cannot run the pre-start handler of slow: it did not end in time and was killed" in done.err
    else:
        assert appc.status(appc.the_pod().uuid)["apps"][0]["post-stop"] == "137"


def test_from_python(appc: Appc) -> None:
    where = Directories(str(appc.root), str(appc.state), (str(appc.config),))
    with api.run(PROBE, args=("wait",), health=FAST + "exec=/bin/true", directories=where) as pod:
        wait_for(lambda: pod.status["apps"][0]["health"] == "good")
