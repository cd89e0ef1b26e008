"""Event handlers (aci.md): when they run, as whom, and what becomes of a pod when they fail."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, one_app, wait_for


@pytest.fixture
def image(appc: Appc, sandbox: Path) -> str:
    """An image whose handlers and app write into /dev/shm/log, and whose last handler shows it."""
    note = "echo $1 $(id -u) >> /dev/shm/log"
    appc.add(
        sandbox / "handlers.aci",
        {"note": ("file", f"#!/bin/sh\n{note}\n", {"mode": 0o755}), "bin/id": ("link", "busybox")},
        "example.com/handlers",
        dependencies=[{"imageName": PROBE}],
        app=one_app(
            ["/note", "app"],
            user="alice",
            group="staff",
            environment=[{"name": "COLOUR", "value": "red"}],
            eventHandlers=[
                {"name": "pre-start", "exec": ["/bin/sh", "-c", "/note pre; chmod 666 /dev/shm/log"]},
                {"name": "post-stop", "exec": ["/bin/sh", "-c", "/note post; cat /dev/shm/log; echo $COLOUR"]},
            ],
        ),
    )
    return "example.com/handlers"


def with_handlers(appc: Appc, sandbox: Path, **handlers: list[str]) -> str:
    """Import an image whose app is the probe and whose handlers are these."""
    name = "example.com/events"
    events = [{"name": event.replace("_", "-"), "exec": exec_} for event, exec_ in handlers.items()]
    appc.add(sandbox / "x.aci", name=name, app=one_app(eventHandlers=events), dependencies=[{"imageName": PROBE}])
    return name


def test_order_user_and_environment(appc: Appc, sandbox: Path) -> None:
    pre = ["/bin/sh", "-c", "echo pre $COLOUR; echo made > /prepared; chmod 600 /prepared; chown 1000 /prepared"]
    events = [
        {"name": "pre-start", "exec": pre},
        {"name": "post-stop", "exec": ["/probe", "report", "read", "/prepared"]},
    ]
    appc.add(
        sandbox / "x.aci",
        {"bin/chown": ("link", "busybox"), "bin/chmod": ("link", "busybox")},
        "example.com/order",
        dependencies=[{"imageName": PROBE}],
        app=one_app(
            ["/probe", "read", "/prepared", "write", "/prepared", "app\n", "exit", "0"],
            user="1000",
            group="1000",
            workingDirectory="/work",
            environment=[{"name": "COLOUR", "value": "red"}],
            eventHandlers=events,
        ),
    )
    done = appc.run("example.com/order")
    assert done.status == 0, done
    # The pre-start handler, as root, prepares what the app, as its user, reads and writes.
    assert done.out.startswith("pre red\nmade\n/prepared: written\n")
    assert done.report["uid"] == "0 0 0"
    assert done.report["cwd"] == "/work"
    assert done.environment["COLOUR"] == "red"
    assert done.environment["AC_APP_NAME"] == "order"
    assert done.environment["AC_METADATA_URL"]
    assert done.out.endswith("\napp\n")
    assert appc.status(appc.the_pod().uuid)["apps"][0]["post-stop"] == "done"


def test_no_app_starts_before_every_pre_start_handler_has_ended(appc: Appc, sandbox: Path) -> None:
    slow = with_handlers(appc, sandbox, pre_start=["/bin/sh", "-c", "sleep 0.3; echo ready > /dev/shm/x"])
    flags = ("--exec", "/bin/sh", "--", "-c", "cat /dev/shm/x")
    done = appc.run(PROBE, "--name", "first", *flags, "---", slow, "--name", "second", *flags)
    assert sorted(done.out.splitlines()) == ["first: ready", "second: ready"]


def test_a_pre_start_handler_that_fails_stops_the_pod(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(
        appc, sandbox, pre_start=["/bin/sh", "-c", "echo no room; exit 3"], post_stop=["/probe", "echo", "post"]
    )
    done = appc.run(image, "--", "echo", "started")
    uuid = appc.the_pod().uuid
    assert done.status == 1
    assert done.out == "no room\n"
    assert done.err.splitlines() == [
        "appc: pre-start handler of app events: ended with status 3",
        f"hint: `appc logs --app events {uuid[:8]}` shows what it wrote",
    ]
    document = appc.status(uuid)
    assert document["failure"] == "pre-start handler of app events: ended with status 3"
    assert document["exit-status"] == 1
    assert document["apps"][0]["state"] == "not started"
    assert appc("logs", uuid).out == "no room\n"


def test_the_same_of_a_detached_pod(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, pre_start=["/probe", "kill", "9"])
    for flags in ((), ("--rm",)):
        done = appc.run("--detach", *flags, image)
        assert (done.status, done.out) == (1, "")
        assert done.err.splitlines()[0] == "appc: pre-start handler of app events: was killed by signal 9"


def test_a_handler_that_is_not_there(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, pre_start=["/nowhere"])
    done = appc.run(image)
    assert done.status == 127
    assert done.err.splitlines()[0] == ("appc: pre-start handler of app events: /nowhere: no such file in the image")


def test_a_post_stop_handler_that_fails_is_noted(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, post_stop=["/bin/sh", "-c", "exit 4"])
    assert appc.run(image, "--", "exit", "0").status == 0
    assert appc.status(appc.the_pod().uuid)["apps"][0]["post-stop"] == "4"


def test_a_post_stop_handler_that_is_not_there_is_noted(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, post_stop=["/nowhere"])
    assert appc.run(image, "--", "exit", "5").status == 5
    document = appc.status(appc.the_pod().uuid)
    assert document["apps"][0]["post-stop"] == "127"
    assert document["warnings"] == ["post-stop handler of app events: /nowhere: no such file in the image"]


@pytest.mark.parametrize("end", [("exit", "7"), ("kill", "9")])
def test_post_stop_follows_however_the_app_ended(appc: Appc, sandbox: Path, end: tuple[str, str]) -> None:
    image = with_handlers(appc, sandbox, post_stop=["/probe", "echo", "post"])
    done = appc.run(image, "--", *end)
    assert done.out == "post\n"
    assert done.status == (7 if end[0] == "exit" else 137)


@pytest.mark.parametrize("stop", [("stop",), ("kill",), ("kill", "--signal", "TERM", "--app", "events")])
def test_post_stop_follows_a_stop_and_a_kill(appc: Appc, sandbox: Path, stop: tuple[str, ...]) -> None:
    image = with_handlers(appc, sandbox, post_stop=["/probe", "echo", "post"])
    uuid = appc.detached(image, "--", "wait")
    assert appc(*stop, uuid).status == 0
    assert appc("status", "--wait", uuid).status == 0
    assert appc("logs", uuid).out == "post\n"
    assert appc.status(uuid)["apps"][0]["post-stop"] == "done"


def test_post_stop_is_skipped_when_everything_is_killed(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, post_stop=["/probe", "echo", "post"])
    uuid = appc.detached(image, "--", "wait")
    assert appc("stop", "--force", uuid).status == 0
    app = appc.status(uuid)["apps"][0]
    assert (app["signal"], app["post-stop"]) == (9, "skipped")
    assert appc("logs", uuid).out == ""


def test_a_pod_whose_handler_hangs_can_be_stopped(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, pre_start=["/probe", "wait"])
    starting = appc.start("run", "--detach", image)
    pod = wait_for(lambda: next((pod for pod in appc.pods() if pod.phase == "run"), None))
    wait_for(lambda: appc.status(pod.uuid)["pid"])
    document = appc.status(pod.uuid)
    assert (document["state"], document["ready"]) == ("running", False)
    assert appc("stop", pod.uuid).status == 0
    assert starting.wait(PATIENCE) == 125
    _, said = starting.communicate()
    assert said.decode().splitlines() == [f"appc: pod {pod.uuid}: was stopped before all its apps ran"]


def test_ctrl_c_while_a_detached_pod_starts_ends_it(appc: Appc, sandbox: Path) -> None:
    image = with_handlers(appc, sandbox, pre_start=["/probe", "wait"])
    starting = appc.start("run", "--detach", image)
    pod = wait_for(lambda: next((pod for pod in appc.pods() if pod.phase == "run"), None))
    wait_for(lambda: appc.status(pod.uuid)["pid"])
    starting.send_signal(signal.SIGINT)
    assert starting.wait(PATIENCE) == 130
    starting.communicate()
    assert not pod.refresh().locked()


def test_a_handler_sees_the_app_gone(appc: Appc, sandbox: Path) -> None:
    """What the app left behind in its process group is ended with the pod, not with the app."""
    image = with_handlers(appc, sandbox, post_stop=["/bin/sh", "-c", "ls -d /proc/[0-9]*; echo end"])
    done = appc.run(image, "--", "orphan", "600")
    assert done.out.endswith("end\n")
    assert "/proc/2\n" not in done.out
