"""How pods end and what their status says: exit statuses, signals, stopping, killing, waiting."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, pending, wait_for

SIGINT, SIGTERM, SIGHUP, SIGQUIT = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT


def app(name: str, *actions: str) -> tuple[str, ...]:
    return (PROBE, "--name", name, "--", *actions)


@pytest.mark.parametrize(
    ("actions", "status"),
    [(("exit", "0"), 0), (("exit", "1"), 1), (("exit", "255"), 255), (("kill", "9"), 137), (("kill", "11"), 139)],
)
def test_the_exit_status_is_the_apps(appc: Appc, actions: tuple[str, ...], status: int) -> None:
    assert appc.run(PROBE, "--", *actions).status == status
    document = appc.status(appc.the_pod().uuid)
    assert (document["state"], document["exit-status"]) == ("exited", status)
    (one,) = document["apps"]
    assert one["exit-status"] == status
    assert one["signal"] == (status - 128 if status in (137, 139) else None)
    assert 0 < one["started"] < one["exited"] < time.time_ns()


def test_of_several_apps_the_first_that_fails_decides(appc: Appc) -> None:
    done = appc.run(
        *app("calm", "exit", "0"),
        "---",
        *app("first", "await", "/dev/shm/up", "gone", "/proc/2", "exit", "3"),
        "---",
        *app("second", "trap", "15", "4", "write", "/dev/shm/up", "", "wait"),
    )
    assert done.status == 3
    apps = {one["name"]: one for one in appc.status(appc.the_pod().uuid)["apps"]}
    assert {name: one["exit-status"] for name, one in apps.items()} == {"calm": 0, "first": 3, "second": 4}
    # The failing app took the others along; the one that had ended well did not.
    assert apps["first"]["exited"] <= apps["second"]["exited"]


def test_a_pod_of_which_one_app_cannot_start_ends(appc: Appc) -> None:
    done = appc.run(*app("a", "wait"), "---", PROBE, "--name", "b", "--exec", "/nope")
    assert done.status == 127
    assert done.err.startswith("appc: app b: /nope: no such file in the image\n")
    document = appc.status(appc.the_pod().uuid)
    assert (document["exit-status"], document["warnings"]) == (127, [])
    assert [one["state"] for one in document["apps"]] == ["exited", "not started"]


def test_an_app_that_ends_well_leaves_the_others_running(appc: Appc) -> None:
    done = appc.run(*app("short", "exit", "0"), "---", *app("long", "sleep", "0.3", "echo", "still here"))
    assert (done.status, done.out) == (0, "long: still here\n")


def test_stop_sends_sigterm_and_waits(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "trap", "15", "5", "echo", "up", "wait")
    wait_for(lambda: appc("logs", uuid).out == "up\n")
    assert appc("stop", uuid).status == 0
    assert appc("logs", uuid).out == "up\ncaught 15\n"
    document = appc.status(uuid)
    assert (document["state"], document["exit-status"]) == ("exited", 5)
    # Stopping again is fine.
    assert appc("stop", uuid).status == 0


def test_an_app_that_ignores_sigterm_is_killed_after_the_grace_time(appc: Appc) -> None:
    uuid = appc.detached("--grace", "300ms", PROBE, "--", "ignore", "15", "echo", "up", "wait")
    wait_for(lambda: appc("logs", uuid).out == "up\n")
    began = time.monotonic()
    assert appc("stop", uuid).status == 0
    assert time.monotonic() - began >= 0.3
    assert appc.status(uuid)["apps"][0]["signal"] == 9


def test_the_grace_time_of_the_configuration(appc: Appc) -> None:
    settings = appc.config / "config.json"
    settings.write_text('{"stop": {"grace": 0.1}}')
    try:
        uuid = appc.detached(PROBE, "--", "ignore", "15", "echo", "up", "wait")
        wait_for(lambda: appc("logs", uuid).out == "up\n")
        began = time.monotonic()
        assert appc("stop", uuid).status == 0
        assert time.monotonic() - began < 5
    finally:
        settings.unlink()


def test_stop_with_force_and_with_a_timeout(appc: Appc) -> None:
    uuid = appc.detached("--grace", "1h", PROBE, "--", "ignore", "15", "echo", "up", "wait")
    wait_for(lambda: appc("logs", uuid).out == "up\n")
    late = appc("stop", "--timeout", "50ms", uuid)
    assert (late.status, late.err) == (1, f"appc: pod {uuid}: is still stopping\n")
    assert appc("stop", "--force", uuid).status == 0
    assert appc.status(uuid)["exit-status"] == 137


def test_stopping_twice_does_not_cut_the_grace_time_short(appc: Appc, sandbox: Path) -> None:
    script = "trap '' TERM; echo up; until [ -e /v/go ]; do sleep 0.01; done; exit 6"
    uuid = appc.detached(
        *("--grace", "1h", "--volume", f"v,kind=host,source={sandbox}"),
        *(PROBE, "--mount", "volume=v,target=/v", "--exec", "/bin/sh", "--", "-c", script),
    )
    wait_for(lambda: appc("logs", uuid).out == "up\n")
    for _ in range(2):
        assert appc("stop", "--timeout", "10ms", uuid).status == 1
    (sandbox / "go").touch()
    assert appc("stop", uuid).status == 0
    assert appc.status(uuid)["exit-status"] == 6


def test_kill_sends_any_signal_to_one_app_or_all(appc: Appc) -> None:
    trap = ("trap", "10", "0", "echo", "up", "wait")
    uuid = appc.detached(*app("a", *trap), "---", *app("b", *trap))
    wait_for(lambda: appc("logs", uuid).out.count("up") == 2)
    assert appc("kill", "-s", "USR1", "--app", "b", uuid).status == 0
    wait_for(lambda: appc("logs", "--app", "b", uuid).out == "up\ncaught 10\n")
    assert appc("logs", "--app", "a", uuid).out == "up\n"
    gone = wait_for(lambda: (done := appc("kill", "--app", "b", uuid)).status and done)
    assert (gone.status, gone.err) == (1, f"appc: pod {uuid}: app b is not running\n")
    assert appc("kill", "--signal", "10", uuid[:8]).status == 0
    assert appc("status", "--wait", uuid).status == 0
    assert appc.status(uuid)["exit-status"] == 0


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_signal_to_the_foreground_command_stops_the_pod(appc: Appc, number: int) -> None:
    running = appc.start("run", PROBE, "--", "trap", "15", "7", "echo", "up", "wait")
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    running.send_signal(number)
    assert running.wait(PATIENCE) == 7
    out, err = running.communicate()
    assert (out, err) == (b"caught 15\n", b"")


def test_a_second_ctrl_c_kills_at_once(appc: Appc) -> None:
    running = appc.start("run", "--grace", "1h", PROBE, "--", "ignore", "15", "echo", "up", "wait")
    assert running.stdout is not None
    running.stdout.readline()
    running.send_signal(SIGINT)
    wait_for(lambda: not pending(running.pid, SIGINT), "the keeper takes the first one")
    running.send_signal(SIGINT)
    assert running.wait(PATIENCE) == 137
    running.communicate()


def test_a_foreground_command_is_replaced_by_the_keeper(appc: Appc) -> None:
    running = appc.start("run", PROBE, "--", "echo", "up", "wait")
    assert running.stdout is not None
    running.stdout.readline()
    assert os.readlink(f"/proc/{running.pid}/exe").endswith("/appc-keep")
    document = appc.status(appc.the_pod().uuid)
    assert document["keeper"] == running.pid
    running.terminate()
    assert running.wait(PATIENCE) == 143
    running.communicate()


def test_list_and_status(appc: Appc) -> None:
    ended = appc.run(PROBE, "--", "exit", "3")
    assert ended.status == 3
    uuid = appc.detached(*app("a", "wait"), "---", *app("b", "wait"))
    rows = [line.split() for line in appc("list").out.splitlines()]
    assert rows[0] == ["UUID", "APP", "IMAGE", "STATE", "CREATED", "STARTED", "NETWORKS"]
    assert rows[1][:4] == [uuid[:8], "a", PROBE, "running"]
    assert rows[2][:2] == ["b", PROBE]
    assert rows[3][3] == "exited"
    assert appc("list", "--no-legend", "--full").out.startswith(uuid)
    documents = json.loads(appc("list", "--format", "json").out)
    assert [document["state"] for document in documents] == ["running", "exited"]
    text = appc("status", uuid[:6]).out
    assert text.startswith("state=running\n")
    assert "\napp-a=running, pid " in text


def test_waiting(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "trap", "10", "9", "echo", "up", "wait")
    assert appc("status", "--wait-ready", uuid).status == 0
    assert appc("status", "--wait=20ms", uuid).status == 1
    wait_for(lambda: appc("logs", uuid).out == "up\n")
    assert appc("kill", "-s", "USR1", uuid).status == 0
    done = appc("status", "--wait", "--format", "json", uuid)
    assert (done.status, json.loads(done.out)["exit-status"]) == (0, 9)
    assert appc("status", "--wait-ready", uuid).status == 1


def test_rm_and_gc(appc: Appc) -> None:
    running = appc.detached(PROBE, "--", "wait")
    refused = appc("rm", running)
    assert refused.status == 1
    assert refused.err.splitlines() == [
        f"appc: pod {running}: is running",
        f"hint: `appc stop {running[:8]}` ends it first",
    ]
    ended = appc.detached(PROBE, "--", "exit", "0")
    assert appc("status", "--wait", ended).status == 0
    assert appc("gc").out == ""  # within the grace period
    assert appc("gc", "--dry-run", "--grace-period", "0s").out == f"{ended} remove: exited\n"
    assert appc("gc", "--grace-period", "0s").out == f"{ended} remove: exited\n"
    assert [pod.uuid for pod in appc.pods()] == [running]
    assert appc("stop", running).status == 0
    assert appc("rm", running, "0000").status == 1
    assert appc.pods() == []


@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_a_pod_run_with_rm_is_gone_when_it_has_ended(appc: Appc, flags: tuple[str, ...]) -> None:
    done = appc.run("--rm", *flags, PROBE, "--", "echo", "x", "exit", "4")
    assert done.status == (0 if flags else 4)
    wait_for(lambda: appc.pods() == [])
    failed = appc.run("--rm", *flags, PROBE, "--exec", "/nowhere")
    assert failed.status == 127
    assert failed.err.startswith("appc: app probe: /nowhere: no such file in the image\n")
    assert appc.pods() == []


def test_the_uuid_goes_to_a_file_too(appc: Appc, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("uuid") / "uuid"
    uuid = appc.detached("--uuid-file-save", str(place), PROBE, "--", "exit", "0")
    assert place.read_text() == f"{uuid}\n"


def test_detached_pods_outlive_their_command_and_its_terminal(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--", "wait")
    keeper = appc.status(uuid)["keeper"]
    assert os.getsid(keeper) == keeper
    streams = {os.readlink(f"/proc/{keeper}/fd/{number}") for number in range(3)}
    assert streams == {"/dev/null"}


def test_all_pods_are_stopped_and_removed_at_once(appc: Appc) -> None:
    uuids = [appc.detached(PROBE, "--", "wait") for _ in range(3)]
    assert appc("stop").status == 2
    assert appc("stop", "--all", uuids[0]).status == 2
    kept = appc("rm", "--all")
    assert (kept.status, kept.out) == (0, "")
    done = appc("stop", "--all", "--force")
    assert done.status == 0, done
    assert {appc.status(uuid)["state"] for uuid in uuids} == {"exited"}
    uuids.append(appc.detached(PROBE, "--", "wait"))
    removed = appc("rm", "--all", "--force")
    assert removed.status == 0, removed
    assert sorted(removed.out.split()) == sorted(uuids)
    assert appc.pods() == []
