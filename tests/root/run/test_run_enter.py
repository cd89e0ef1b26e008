"""`appc enter`: a command in a running app's surroundings."""

from __future__ import annotations

import pytest
from pod_kit import PROBE, Appc, Done, one_app
from test_run_streams import Terminal


@pytest.fixture
def pod(appc: Appc) -> str:
    """A running pod of two apps, one of them with limits of its own."""
    return appc.detached(
        *("--volume", "v,kind=empty"),
        *(PROBE, "--name", "main", "--user", "alice", "--group", "staff", "--env", "COLOUR=red"),
        *("--working-dir", "/work", "--caps-retain", "CAP_CHOWN", "--mount", "volume=v,target=/data"),
        *("--memory", "64Mi", "--supplementary-gids", "77", "--", "wait"),
        *("---", PROBE, "--name", "other", "--", "wait"),
    )


def report(done: Done) -> dict[str, str]:
    ignored = ("argv", "pid", "sid", "pgid", "fd", "status.SigQ", "cgroup")
    return {key: value for key, value in done.report.items() if not key.startswith(ignored)}


def test_what_is_entered_is_what_the_app_has(appc: Appc, pod: str) -> None:
    entered = appc("enter", "--app", "main", pod, "/probe", "report", "list", "/data")
    assert entered.status == 0, entered
    assert entered.report["uid"] == "1000 1000 1000"
    assert entered.report["gid"] == "50 50 50"
    assert entered.report["groups"] == "77"
    assert entered.report["cwd"] == "/work"
    assert entered.environment["COLOUR"] == "red"
    assert entered.environment["AC_APP_NAME"] == "main"
    assert entered.report["status.CapBnd"] == "0000000000000001"
    assert entered.report["status.CapEff"] == "0" * 16
    assert entered.report["status.Seccomp"] == "2"
    groups = {line.rpartition(":")[2] for line in entered.out.splitlines() if line.startswith("cgroup=")}
    assert groups == {"/"}
    assert {key for key in entered.report if key.startswith("fd.")} == {"fd.0", "fd.1", "fd.2"}


@pytest.mark.parametrize(
    ("options", "uid", "gid", "held"),
    [
        (("--user", "root"), 0, 0, "0000000000000001"),
        (("--user", "0", "--group", "staff"), 0, 50, "0000000000000001"),
        # A user that has no entry has the app's group.
        (("--user", "4242"), 4242, 50, "0" * 16),
        (("--user", "/owned"), 1234, 50, "0" * 16),
        (("--group", "0"), 1000, 0, "0" * 16),
    ],
)
def test_a_command_runs_as_somebody_else(
    appc: Appc, pod: str, options: tuple[str, ...], uid: int, gid: int, held: str
) -> None:
    entered = appc("enter", "--app", "main", *options, pod, "/probe", "report")
    assert entered.status == 0, entered
    assert entered.report["uid"] == f"{uid} {uid} {uid}"
    assert entered.report["gid"] == f"{gid} {gid} {gid}"
    assert entered.report["groups"] == ""
    # Never more than the app may have at most.
    assert (entered.report["status.CapEff"], entered.report["status.CapBnd"]) == (held, "0000000000000001")
    assert entered.report["status.Seccomp"] == "2"


def test_a_user_of_the_apps_passwd_as_it_is_now_has_its_group_and_home(appc: Appc, pod: str) -> None:
    script = "echo new:x:77:78::/home/new:/bin/sh >>/etc/passwd"
    assert appc("enter", "--app", "other", pod, "/bin/sh", "-c", script).status == 0
    entered = appc("enter", "--app", "other", "--user", "new", pod, "/probe", "report")
    assert (entered.report["uid"], entered.report["gid"]) == ("77 77 77", "78 78 78")
    assert entered.environment["HOME"] == "/home/new"


def test_a_user_that_is_not_there_is_named(appc: Appc, pod: str) -> None:
    done = appc("enter", "--app", "main", "--user", "nobody-knows", pod, "/probe")
    assert done.status == 1
    assert done.err.startswith("appc: enter.user: 'nobody-knows' is neither in the image's /etc/passwd nor a number\n")
    # What could not be executed is explained for who was to execute it.
    closed = appc("enter", "--app", "other", "--user", "4242", pod, "/closed/probe")
    assert (closed.status, "is closed to user 4242" in closed.err) == (126, True), closed


def test_streams_and_status(appc: Appc, pod: str) -> None:
    done = appc("enter", "--app", "other", pod, "/probe", "cat", "error", "oops", "exit", "9", stdin="typed\n")
    assert (done.status, done.out, done.err) == (9, "typed\n", "oops\n")
    assert appc("enter", "--app", "other", pod, "/probe", "kill", "9").status == 137
    # Nothing of it is the app's output.
    assert appc("logs", pod).out == ""


def test_a_command_is_searched_in_the_apps_path(appc: Appc, pod: str) -> None:
    assert appc("enter", "--app", "other", pod, "echo", "--", "-x").out == "-- -x\n"


def test_a_shell_on_a_terminal(appc: Appc, pod: str) -> None:
    terminal = Terminal(*appc.words("enter", "--app", "other", pod))
    terminal.type(b"echo $((40 + 2)) $TERM\n")
    terminal.expect(b"42 vt220")
    terminal.type(b"exit 11\n")
    assert terminal.end() == 11


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        ("/nowhere", 127, "app other: /nowhere: no such file in the image"),
        ("nothing", 127, "app other: nothing: not found in the app's PATH"),
        ("/etc/passwd", 126, "app other: /etc/passwd: is not executable (mode 0644)"),
        ("/work", 126, "app other: /work: is a directory"),
        ("/bad/dynamic", 127, "app other: /bad/dynamic: its ELF interpreter "),
        ("/bad/crlf", 126, "app other: /bad/crlf: its #! line ends in CR LF"),
        ("/bad/text", 126, "app other: /bad/text: is neither an ELF program nor a script with a #! line"),
    ],
)
def test_a_command_that_cannot_be_executed(appc: Appc, pod: str, command: str, status: int, line: str) -> None:
    done = appc("enter", "--app", "other", pod, command, "--an", "argument")
    assert done.status == status
    first, *rest = done.err.splitlines()
    assert first.startswith(f"appc: {line}")
    assert all(text.startswith("hint: ") for text in rest)


def test_a_command_closed_to_the_apps_user(appc: Appc, pod: str) -> None:
    done = appc("enter", "--app", "main", pod, "/closed/probe")
    assert done.status == 126
    assert done.err == (
        "appc: app main: /closed/probe: the directory /closed (mode 0700, owner 0:0) is closed to user 1000\n"
    )


def test_pods_and_apps_that_cannot_be_entered(appc: Appc, pod: str) -> None:
    several = appc("enter", pod, "/probe")
    assert several.status == 2
    assert several.err.splitlines() == [
        f"appc: pod {pod}: has several apps",
        "hint: name one with --app: main, other",
    ]
    unknown = appc("enter", "--app", "third", pod, "/probe")
    assert (unknown.status, unknown.err.splitlines()[0]) == (1, f"appc: pod {pod}: has no app third")
    assert appc("stop", pod).status == 0
    ended = appc("enter", "--app", "main", pod, "/probe")
    assert (ended.status, ended.err) == (1, f"appc: pod {pod}: app main is not running\n")


def test_an_image_without_a_shell(appc: Appc, sandbox: object) -> None:
    from pathlib import Path

    from pod_kit import base_files

    files = {"probe": base_files()["probe"]}
    appc.add(Path(str(sandbox)) / "bare.aci", files, "example.com/bare", app=one_app())
    uuid = appc.detached("example.com/bare", "--", "wait")
    done = appc("enter", uuid)
    assert done.status == 127
    assert done.err.splitlines()[0] == "appc: enter: the app's root has no shell"
    # An app without /dev/null of the host, a shell or an /etc can still be looked into.
    assert appc("enter", uuid, "/probe", "echo", "in").out == "in\n"
