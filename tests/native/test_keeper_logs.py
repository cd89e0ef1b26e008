"""Where an app's output goes: logs, the keeper's own output, rotation, full disks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from planlib import Keeper, app_ops, pod_plan, wait_for, wait_idle, whole_lines

from appc.plan.ops import Op

pytestmark = pytest.mark.root

ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] .*")


def test_entries_have_the_form_of_the_cri(binaries: Path, pod: Path, tree: Path) -> None:
    before = time.time()
    actions = (
        "echo",
        "",
        "print",
        "no newline",
        "sleep",
        "0.1",
        "echo",
        " and its end",
        "error",
        "err",
        "print",
        "tail",
    )
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, *actions)}), pod)
    assert keeper.wait()[0] == 0
    lines = (pod / "logs/web.log").read_text().splitlines()
    assert all(ENTRY.fullmatch(line) for line in lines)
    stamp = lines[0].split(" ")[0]
    written = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(written - before) < 5
    out = [entry for entry in keeper.entries("web") if entry.startswith("stdout")]
    assert out == ["stdout F ", "stdout P no newline", "stdout F  and its end", "stdout P tail"]
    assert "stderr F err" in keeper.entries("web")


def test_large_output_arrives_whole(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "lines", "20000", "90")}), pod)
    assert keeper.wait()[0] == 0
    lines = keeper.log("web")
    assert len(lines) == 20000
    assert all(line.startswith(f"stdout F {number} ") and len(line) == 99 for number, line in enumerate(lines))


def test_long_lines_arrive_whole(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "lines", "3", "300000", "print", "end")}), pod)
    assert keeper.wait()[0] == 0
    assert [len(line) for line in keeper.log("web")] == [300009] * 3 + [len("stdout P end")]


def test_logs_rotate(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, "lines", "2000", "60")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, log_size=40000, log_files=3), pod)
    assert keeper.wait()[0] == 0
    files = sorted((pod / "logs").iterdir())
    assert [file.name for file in files] == ["web.log", "web.log.1", "web.log.2"]
    assert all(0 < file.stat().st_size <= 40000 for file in files)
    # Without a gap up to the last line: only the oldest are gone.
    entries = [line.partition(" ")[2] for file in files[::-1] for line in file.read_text().splitlines()]
    numbers = [int(line.split(" ")[2]) for line in whole_lines(entries)[1:]]
    assert numbers == list(range(numbers[0], 2000))
    assert len(numbers) > 500


def test_one_log_file_starts_over(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, "lines", "2000", "60")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, log_size=40000, log_files=1), pod)
    assert keeper.wait()[0] == 0
    assert [file.name for file in (pod / "logs").iterdir()] == ["web.log"]
    assert (pod / "logs/web.log").stat().st_size <= 40000
    assert keeper.log("web")[-1].startswith("stdout F 1999 ")


@pytest.fixture
def full(pod: Path) -> Iterator[Path]:
    """The pod's log directory as a file system of 64 KiB."""
    (pod / "logs").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", pod / "logs"], check=True)
    yield pod / "logs"
    subprocess.run(["umount", pod / "logs"], check=True)


def test_a_full_disk_loses_log_but_holds_up_nobody(binaries: Path, pod: Path, tree: Path, full: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "lines", "5000", "90")}), pod)
    assert keeper.report() == ["ready"]
    assert keeper.wait()[0] == 0
    text = (full / "web.log").read_text()
    assert text.endswith("\n")
    assert all(ENTRY.fullmatch(line) for line in text.splitlines())


def test_lost_output_is_noted(binaries: Path, pod: Path, tree: Path, full: Path) -> None:
    os.mkfifo(tree / "gate")
    app = app_ops(tree, "lines", "5000", "90", "read", "/gate", "echo", "after")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}), pod)
    assert keeper.report() == ["ready"]
    # Opens when the app has come to it; then there is room again.
    gate = os.open(tree / "gate", os.O_WRONLY)
    wait_idle(keeper.process.pid)
    # A piece that is short enough fits in between, behind a note of its own; it may also be the last.
    entries = keeper.entries("web")
    os.truncate(full / "web.log", 0)
    os.close(gate)
    assert keeper.wait()[0] == 0
    entries += keeper.entries("web")
    notes = [re.fullmatch(r"stderr F \[appc: (\d+) bytes of log were lost\]", entry) for entry in entries]
    # Of more than 600 KB that were said, the file system held 64 KiB at any time.
    assert sum(int(note[1]) for note in notes if note) > 500_000
    assert entries[-1] == "stdout F after"


def test_inherited_output_is_the_callers_own(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree, "echo", "out", "error", "err")}, mode="inherit")
    keeper = Keeper(binaries, plan, pod, detached=False)
    assert keeper.wait() == (0, "out\n", "err\n")


def test_no_output(binaries: Path, pod: Path, tree: Path) -> None:
    keeper = Keeper(binaries, pod_plan(pod, {"web": app_ops(tree, "report")}, mode="null"), pod, detached=False)
    assert keeper.wait() == (0, "", "")
    assert list((pod / "logs").iterdir()) == []


def test_both_copies_output_as_it_is_for_one_app(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, "lines", "3000", "80", "error", "err", "print", "tail")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, mode="both"), pod, detached=False)
    status, out, err = keeper.wait()
    lines = out.splitlines()
    assert (status, len(lines), err) == (0, 3001, "err\n")
    assert lines[-1] == "tail"
    assert len(keeper.log("web")) == 3002


def test_both_says_whose_line_it_is_for_several(binaries: Path, pod: Path, tree: Path) -> None:
    actions = (
        "lines",
        "500",
        "70",
        "print",
        "par",
        "sleep",
        "0.1",
        "echo",
        "tial",
        "lines",
        "1",
        "9000",
        "print",
        "tail",
    )
    apps = {name: app_ops(tree, *actions) for name in ("one", "two")}
    keeper = Keeper(binaries, pod_plan(pod, apps, mode="both"), pod, detached=False)
    status, out, _ = keeper.wait()
    assert (status, out[-1]) == (0, "\n")
    for name in apps:
        own = [line.removeprefix(f"{name}: ") for line in out.splitlines() if line.startswith(f"{name}: ")]
        assert [line.split(" ")[0] for line in own[:500]] == [str(number) for number in range(500)]
        assert own[500] == "partial"
        # Longer than what is written at once: several lines of output, one in the log.
        assert sum(map(len, own[501:-1])) == 9000
        assert own[-1] == "tail"
        assert len(keeper.log(name)) == 503
    assert len(out.splitlines()) == 2 * len(own)


def test_a_slow_reader_holds_the_app_back_not_the_keeper(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, "lines", "4000", "90", "error", "end")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, mode="both", grace=200), pod, detached=False)
    wait_for(lambda: (pod / "logs/web.log").stat().st_size > 60000)
    time.sleep(0.3)
    assert len(keeper.log("web")) < 4000
    # The keeper still serves signals, and what was written before is not lost.
    keeper.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "exited" in keeper.status("web"))
    status, out, _ = keeper.wait()
    assert status == 143
    assert len(out) > 50000
    logged = [line.partition(" ")[2].partition(" ")[2] for line in keeper.log("web")]
    assert out.splitlines() == logged[: len(out.splitlines())]


def test_output_that_nobody_reads_any_more_still_goes_to_the_log(binaries: Path, pod: Path, tree: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    app = app_ops(tree, "lines", "4000", "90")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}, mode="both"), pod, detached=False, stdout=write)
    os.close(write)
    assert keeper.wait()[0] == 0
    assert len(keeper.log("web")) == 4000


def test_an_app_that_closes_its_output_is_fine(binaries: Path, pod: Path, tree: Path) -> None:
    app = app_ops(tree, "echo", "bye", "close", "await", "/tmp/go", "exit", "4")
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}), pod)
    # A closed pipe must not make the keeper spin.
    assert keeper.report() == ["ready"]
    wait_for(lambda: keeper.log("web") == ["stdout F bye"])
    wait_idle(keeper.process.pid)
    (tree / "tmp/go").touch()
    assert keeper.wait()[0] == 4
    assert keeper.log("web") == ["stdout F bye"]


def test_the_users_own_pipes_can_be_opened_by_name(binaries: Path, pod: Path, tree: Path) -> None:
    (tree / "dev/stdout").symlink_to("/proc/self/fd/1")
    before = [Op("ids", 1234, 1234, ())]
    app = app_ops(tree, "write", "/dev/stdout", "by name\n", before=before)
    keeper = Keeper(binaries, pod_plan(pod, {"web": app}), pod)
    assert keeper.wait()[0] == 0
    assert "stdout F by name" in keeper.log("web")


@pytest.mark.parametrize("log", ["", "absent/web.log", "logs/link"])
def test_a_log_that_cannot_be_opened_fails_the_launch(binaries: Path, pod: Path, tree: Path, log: str) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree)})
    (pod / "logs/link").symlink_to("/etc/passwd")
    plan.track("keeper").ops[2] = Op("app", "web", "app web", "null", "log", "log", log, "")
    keeper = Keeper(binaries, plan, pod)
    (line,) = keeper.report()
    assert line.startswith("fail keeper 2 ")
    assert keeper.wait()[0] == 125


def test_standard_input_is_inherited(binaries: Path, pod: Path, tree: Path) -> None:
    plan = pod_plan(pod, {"web": app_ops(tree, "cat")}, mode="inherit")
    keep = plan.track("keeper")
    keep.ops = [
        Op("app", "web", "app web", "inherit", "inherit", "inherit", "", "") if op.name == "app" else op
        for op in keep.ops
    ]
    keeper = Keeper(binaries, plan, pod, detached=False, stdin=subprocess.PIPE)
    assert keeper.process.communicate(b"through and through", timeout=10)[0] == b"through and through"
    assert keeper.process.returncode == 0
