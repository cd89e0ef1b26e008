"""From what a keeper recorded to the error a user reads, whatever the record holds."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pod_on_disk import UUID, OnDisk, pod_plan

from appc.errors import AppcError, LaunchError, NotExecutable, ProgramNotFound
from appc.executor.failure import Failure, explain_failure, recorded
from appc.plan import wire


@pytest.fixture
def made(tmp_path: Path) -> OnDisk:
    return OnDisk(tmp_path)


def explain(made: OnDisk, track: str, index: int, error: int, status: int = 0) -> AppcError:
    return explain_failure(made.pod, pod_plan(), Failure(track, index, error, status))


def test_nothing_recorded(made: OnDisk) -> None:
    assert recorded(made.pod) is None


def test_a_program_of_an_app_and_of_a_handler(made: OnDisk) -> None:
    error = explain(made, "app web", 6, errno.ENOENT)
    assert type(error) is ProgramNotFound
    assert str(error) == "app web: /bin/x: no such file in the image"
    assert str(explain(made, "pre-start web", 3, errno.ENOENT)) == (
        "pre-start handler of app web: /bin/x: no such file in the image"
    )


def test_the_program_is_looked_for_where_it_was(tmp_path: Path, made: OnDisk) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/x").write_text("text")
    (tree / "bin/x").chmod(0o750)
    tree.chmod(0o755)
    plan = pod_plan(str(tree))
    error = explain_failure(made.pod, plan, Failure("app web", 6, errno.ENOEXEC))
    assert type(error) is NotExecutable
    assert "neither an ELF program nor a script" in str(error)
    # The app wrote over it: its own layer comes first.
    upper = Path(made.pod.file("apps/web/upper/bin"))
    upper.mkdir(parents=True)
    (upper / "x").write_text("")
    (upper / "x").chmod(0o755)
    assert str(explain_failure(made.pod, plan, Failure("app web", 6, errno.ENOEXEC))).endswith("/bin/x: is empty")


def test_a_program_closed_to_the_apps_user(tmp_path: Path, made: OnDisk) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/x").write_text("text")
    (tree / "bin/x").chmod(0o700)
    tree.chmod(0o755)
    (tree / "bin").chmod(0o755)
    error = explain_failure(made.pod, pod_plan(str(tree), root=False), Failure("app web", 6, errno.EACCES))
    assert "is closed to user 5" in str(error)


@pytest.mark.parametrize(
    ("status", "text"), [(3, "ended with status 3"), (137, "was killed by signal 9"), (0, "ended with status 0")]
)
def test_a_handler_that_failed(made: OnDisk, status: int, text: str) -> None:
    error = explain(made, "keeper", 1, errno.ECHILD, status)
    assert str(error) == f"pre-start handler of app web: {text}"
    assert error.hint == f"`appc logs --app web {UUID[:8]}` shows what it wrote"
    assert error.exit_status == 1


def test_a_handler_that_took_too_long(made: OnDisk) -> None:
    assert "it did not end in time and was killed" in str(explain(made, "keeper", 1, errno.ETIMEDOUT))


def test_a_working_directory_that_is_not_there(made: OnDisk) -> None:
    error = explain(made, "app web", 3, errno.ENOENT)
    assert error.exit_status == 1
    assert str(error) == (
        f"pod {UUID[:8]}: app web: cannot change to the working directory /work: "
        "it does not exist in the app's root (process.cwd)"
    )


def test_an_op_the_host_refused(made: OnDisk) -> None:
    error = explain(made, "keeper", 3, errno.EPERM)
    assert type(error) is LaunchError
    assert error.exit_status == 125
    assert str(error) == f"pod {UUID[:8]}: keeper: cannot make a mount namespace for the pod: Operation not permitted"


@pytest.mark.parametrize("op", [0, 2])
def test_an_app_killed_before_it_ran(made: OnDisk, op: int) -> None:
    assert type(explain(made, "keeper", op, errno.ECONNRESET)) is LaunchError
    made.pod.write_json("config/web", {"linux": {"resources": {"memory": {"limit": 4096}}}})
    error = explain(made, "keeper", op, errno.ECONNRESET)
    assert str(error) == "app web: was killed before its program ran"
    assert "4096 bytes" in error.hint


@pytest.mark.parametrize(
    ("track", "index"), [("keeper", 99), ("absent", 0), ("", 0), ("app web", 0xFFFFFFFF), ("app", 0), ("app ", 3)]
)
def test_failures_the_plan_knows_nothing_of(made: OnDisk, track: str, index: int) -> None:
    assert type(explain(made, track, index, errno.EBADMSG)) is LaunchError


@pytest.mark.parametrize(
    "record",
    [
        b"nonsense",
        b"track=keeper\nop=-1\nerrno=2\n",
        b"track=keeper\nop=1\n",
        b"op=1\nerrno=2\n",
        b"track=keeper\nop=1e3\nerrno=2\n",
        b"track=keeper\nop=99999999999999999999999\nerrno=1\n",
        b"\xff\xfe\0\n=\n==\n",
    ],
)
def test_hostile_records(made: OnDisk, record: bytes) -> None:
    Path(made.pod.file("status/_failure")).write_bytes(record)
    error = recorded(made.pod)
    assert error is None or isinstance(error, LaunchError)


@given(record=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_bytes_are_a_record(made: OnDisk, record: bytes) -> None:
    Path(made.pod.file("status/_failure")).write_bytes(record)
    recorded(made.pod)


@pytest.mark.parametrize("plan", [None, b"", b"appcplan", wire.encode(pod_plan())[:-3], b"\0" * 100])
def test_a_plan_that_cannot_be_read(made: OnDisk, plan: bytes | None) -> None:
    made.status("_failure", track="keeper", op=0, errno=2)
    if plan is None:
        Path(made.pod.file("plan")).unlink()
    else:
        made.pod.write("plan", plan)
    assert str(recorded(made.pod)) == f"pod {UUID}: did not start, and left no readable record why"
