"""The entrance: dispatch, global options, and what users see of errors."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest

from appc.cli import main as entrance
from appc.cli.context import Context
from appc.cli.options import Args, Verb
from appc.errors import HostError, ImageNotFound, ManifestError, NotExecutable, ProgramNotFound, StoreError
from appc.version import VERSION
from starter import command, run


def faking(monkeypatch: pytest.MonkeyPatch, action: object) -> None:
    """Let the verb `version` do something else: raise the exception or call the function given."""

    def act(args: Args, context: Context) -> int:
        if isinstance(action, BaseException):
            raise action
        assert callable(action)
        return int(action(args, context))

    module = ModuleType("fake")
    module.VERB = Verb("version", "fake")  # type: ignore[attr-defined]
    module.run = act  # type: ignore[attr-defined]
    monkeypatch.setattr(entrance, "load", lambda name: module)


def test_version_is_printed_on_stdout_and_nothing_on_stderr() -> None:
    result = run("version")
    assert result.returncode == 0
    assert f"appc={VERSION}\n" in result.stdout
    assert result.stderr == ""
    assert run("--version").stdout == result.stdout


def test_json_is_one_document() -> None:
    assert json.loads(run("version", "--format", "json").stdout)["appc"] == VERSION


@pytest.mark.parametrize(
    ("words", "line", "hint"),
    [
        (["verson"], "appc: verson: no such command", "hint: did you mean version?"),
        (["zzz"], "appc: zzz: no such command", "hint: see `appc help`"),
        (["image", "lst"], "appc: image lst: no such command", "hint: did you mean list?"),
        (["--rot", "/x", "list"], "appc: --rot: no such option", "hint: did you mean --root?"),
        (["--log-level", "loud", "list"], "appc: --log-level: 'loud' is not one of error, warn, info, debug", None),
        (["--config", "/nonexistent", "list"], "appc: --config /nonexistent: no such directory", None),
        (["version", "extra"], "appc: version: 'extra' is one word too many", None),
    ],
)
def test_usage_errors_are_a_line_and_a_hint_and_status_2(words: list[str], line: str, hint: str | None) -> None:
    result = run(*words)
    assert result.returncode == 2
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first == line
    assert hint is None or rest == [hint]


def test_a_group_alone_lists_its_verbs() -> None:
    result = run("image")
    assert result.returncode == 2
    assert "list" in result.stderr


def test_nothing_at_all_shows_the_help_on_stderr() -> None:
    result = run()
    assert result.returncode == 2
    assert result.stdout == ""
    assert "usage: appc" in result.stderr


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (
            ImageNotFound("is not in the store", "image x", "fetch it"),
            1,
            ["appc: image x: is not in the store", "hint: fetch it"],
        ),
        (
            ManifestError([("app.user", "is missing"), ("name", "is empty")], "manifest"),
            1,
            ["appc: manifest: app.user: is missing", "appc: manifest: name: is empty"],
        ),
        (StoreError("is damaged", "store"), 125, ["appc: store: is damaged"]),
        (HostError("mount: no such device"), 125, ["appc: mount: no such device"]),
        (NotExecutable("is a directory", "/bin"), 126, ["appc: /bin: is a directory"]),
        (ProgramNotFound("not in the image", "/x"), 127, ["appc: /x: not in the image"]),
        (FileNotFoundError(errno.ENOENT, "x", "a.aci"), 1, ["appc: a.aci: no such file or directory"]),
        (IsADirectoryError(errno.EISDIR, "x", "dir"), 1, ["appc: dir: is a directory"]),
        (
            OSError(errno.EIO, "x", b"f"),
            125,
            ["appc: f: input/output error", "hint: the disk or its file system has a fault; see dmesg"],
        ),
        (OSError(errno.EXDEV, "x", "a", None, "b"), 125, ["appc: a -> b: invalid cross-device link"]),
        (MemoryError(), 125, ["appc: out of memory"]),
        (ImageNotFound("bad\x1b[2J name", "x"), 1, ["appc: x: bad\\x1b[2J name"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_become_lines_and_statuses(
    error: BaseException,
    status: int,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    faking(monkeypatch, error)
    assert entrance.main(["version"]) == status
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines
    assert captured.out == ""


def test_a_full_disk_tells_how_to_make_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faking(monkeypatch, OSError(errno.ENOSPC, "x", "/var/lib/appc/tmp"))
    assert entrance.main(["version"]) == 125
    first, hint = capsys.readouterr().err.splitlines()
    assert first == "appc: /var/lib/appc/tmp: no space left on device"
    assert "appc gc" in hint


def test_a_bug_is_one_line_and_a_traceback_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faking(monkeypatch, KeyError("oops"))
    assert entrance.main(["version"]) == 125
    told = capsys.readouterr().err
    assert told.startswith("appc: internal error: KeyError: 'oops'\n")
    assert "Traceback" not in told
    assert entrance.main(["--log-level", "debug", "version"]) == 125
    assert "Traceback" in capsys.readouterr().err


def test_messages_as_json_are_one_object_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faking(monkeypatch, ManifestError([("a", "one"), ("b", "two")], "file", "mend it"))
    assert entrance.main(["--log-format", "json", "version"]) == 1
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert records == [
        {"level": "error", "where": "file", "what": "a: one", "hint": "mend it"},
        {"level": "error", "where": "file", "what": "b: two", "hint": "mend it"},
    ]


@pytest.mark.parametrize(("level", "shown"), [("error", 1), ("warn", 2), ("info", 3), ("debug", 4)])
def test_log_levels(
    level: str, shown: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak(args: Args, context: Context) -> int:
        context.error("a")
        context.warn("b")
        context.info("c")
        context.debug("d")
        return 0

    faking(monkeypatch, speak)
    assert entrance.main(["--log-level", level, "version"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["appc: a", "appc: warning: b", "appc: c", "appc: d"][:shown]


def test_the_reader_may_leave_early() -> None:
    process = subprocess.Popen(command("help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_a_full_stdout_is_reported() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(command("version"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 125
    assert result.stderr.startswith("appc: no space left on device\n")


def test_a_closed_stdout_is_no_trouble() -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command("version")], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_an_interrupt_is_quiet_and_130(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    sleep = f"import appc.cli.version as v, time; v.run = lambda a, c: (open({str(ready)!r}, 'w'), time.sleep(60)); "
    code = command()[4].replace("sys.exit", sleep + "sys.exit")
    words = [*command()[:4], code, "version"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_undecodable_words_are_told_without_a_traceback() -> None:
    result = subprocess.run([*command(), b"\xff\xfe"], capture_output=True, check=False)
    assert result.returncode == 2
    assert b"no such command" in result.stderr


# Where things are


def test_directories_come_from_options_then_the_environment_then_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"paths": {"root": "/configured", "state": "/conf-state"}}')
    config = (str(tmp_path),)
    monkeypatch.delenv("APPC_ROOT", raising=False)
    monkeypatch.delenv("APPC_STATE", raising=False)
    assert Context(config=config).root == "/configured"
    assert Context(config=config).state == "/conf-state"
    monkeypatch.setenv("APPC_ROOT", "/environment")
    monkeypatch.setenv("APPC_STATE", "/env-state")
    assert Context(config=config).root == "/environment"
    assert Context(config=config).state == "/env-state"
    assert Context("/option", "/opt-state", config).root == "/option"
    assert Context("/option", "/opt-state", config).state == "/opt-state"
    monkeypatch.chdir(tmp_path)
    assert Context("relative").root == str(tmp_path / "relative")


def test_default_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("APPC_ROOT", "APPC_STATE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    nothing = (str(tmp_path),)
    assert (Context(config=nothing).root, Context(config=nothing).state) == ("/var/lib/appc", "/run/appc")
    assert Context().config == ("/usr/lib/appc", "/etc/appc", "/home/u/.config/appc")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Context(config=nothing).root == "/home/u/.local/share/appc"
    assert Context(config=nothing).state == "/run/user/1000/appc"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/runtime")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert (Context(config=nothing).root, Context(config=nothing).state) == ("/data/appc", "/runtime/appc")
    assert Context().config[-1] == "/config/appc"
