"""The life of a container, as runtime.md of the runtime-spec has it and engines drive it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from conftest import PATIENCE, Runtime, configuration


def test_run_hands_on_output_and_status(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sh", "-c", "echo out; echo err >&2; exit 7"))
    done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert runtime("list", "--format", "json").stdout == "null\n"


def test_a_container_goes_from_created_to_stopped(runtime: Runtime, tmp_path: Path) -> None:
    runtime.configure(configuration("/bin/sh", "-c", "echo started; exec sleep 1000"))
    pid_file = tmp_path / "pid"
    runtime.create("one", "--pid-file", str(pid_file))
    state = runtime.state("one")
    assert (state["status"], state["id"], state["bundle"]) == ("created", "one", str(runtime.bundle))
    # Readers, who need not be root, parse the file's bytes as a number.
    assert pid_file.read_text() == str(state["pid"])
    assert pid_file.stat().st_mode & 0o777 == 0o644
    assert (runtime.base / "output").read_text() == "", "nothing of the program runs before its start"
    assert Path(f"/proc/{state['pid']}/comm").read_text() == "appc-init\n"
    runtime("start", "one")
    assert runtime.state("one")["status"] == "running"
    assert "cannot start a container that is running" in runtime("start", "one", fails=1).stderr
    assert "not stopped" in runtime("delete", "one", fails=1).stderr
    runtime("kill", "one", "KILL")
    runtime.wait(state["pid"])
    stopped = runtime.state("one")
    assert (stopped["status"], stopped["pid"]) == ("stopped", 0)
    assert "container not running" in runtime("kill", "one", "KILL", fails=1).stderr
    runtime("delete", "one")
    assert "container does not exist" in runtime("state", "one", fails=1).stderr
    runtime("delete", "--force", "one")


def test_what_engines_delete_before_its_start_is_gone(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    assert "already exists" in runtime.create("one", fails=1)
    assert runtime.state("one")["status"] == "created"
    runtime("delete", "one")
    assert not (runtime.root / "one").exists()


def test_signals_by_every_name(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sh", "-c", "trap 'exit 3' USR1; echo ready; while :; do sleep 0.1; done"))
    runtime.create("one")
    runtime("start", "one")
    assert "is not a signal" in runtime("kill", "one", "NOSUCH", fails=1).stderr
    for name in ("0x1", "65", "-1"):
        runtime("kill", "one", name, fails=1)
    pid = runtime.state("one")["pid"]
    for name in (str(int(signal.SIGCONT)), "CONT", "SIGCONT", "sigcont"):
        runtime("kill", "one", name)
    runtime("kill", "--all", "one", "9")
    runtime.wait(pid)
    runtime("kill", "--all", "one", "9")


def test_a_paused_container_stands_still_and_can_be_killed(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    runtime("start", "one")
    runtime("pause", "one")
    assert runtime.state("one")["status"] == "paused"
    assert "--ignore-paused" in runtime("exec", "one", "true", fails=255).stderr
    runtime("resume", "one")
    assert "not paused" in runtime("resume", "one", fails=1).stderr
    runtime("pause", "one")
    pid = runtime.state("one")["pid"]
    runtime("kill", "one", "KILL")
    runtime.wait(pid)
    runtime("delete", "one")


def test_a_number_used_again_is_not_the_container(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    record = runtime.root / "one/status/_process"
    real = record.read_text()
    record.write_text(f"pid={os.getpid()}\nstarttime=1\ncreated=1\n")
    assert runtime.state("one")["status"] == "stopped"
    runtime("kill", "one", "KILL", fails=1)
    record.write_text(real)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for name in ("state.json", "front"):
        file = runtime.root / "one" / name
        file.write_text(file.read_text().replace(boot, "another boot"))
    assert runtime.state("one")["status"] == "stopped"
    runtime("delete", "one")


def test_a_refusal_names_the_field_and_leaves_nothing(runtime: Runtime) -> None:
    config = configuration("/bin/true")
    config["linux"]["personality"] = {"domain": "LINUX", "flags": ["x"]}
    runtime.configure(config)
    assert "linux.personality.flags" in runtime.create("one", fails=1)
    config = configuration("/bin/true")
    config["linux"]["resources"] = {"unified": {"no-such.file": "1"}}
    runtime.configure(config)
    assert "linux.resources.unified.no-such.file" in runtime.create("one", fails=1)
    config = configuration("/bin/true")
    config["process"]["cwd"] = "/probe/below"
    runtime.configure(config)
    assert "/probe/below" in runtime.create("one", fails=1)
    config = configuration("/bin/true")
    config["hostname"] = "other"
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "uts"]
    runtime.configure(config)
    assert "hostname: needs a uts namespace" in runtime.create("one", fails=1)
    assert list(runtime.root.iterdir()) == []


def test_a_program_that_is_not_there_fails_the_making_in_the_words_engines_know(
    runtime: Runtime, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    runtime.configure(configuration("nosuch"))
    message = runtime.create("one", fails=1)
    assert 'exec: "nosuch": executable file not found in $PATH' in message
    runtime("--log", str(log), "--log-format", "json", "run", "--bundle", str(runtime.bundle), "one", fails=1)
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert "executable file not found" in entry["msg"]
    (runtime.bundle / "rootfs/text").write_text("no program")
    runtime.configure(configuration("/text"))
    assert "permission denied" in runtime.create("one", fails=1)
    (runtime.bundle / "rootfs/text").chmod(0o755)
    runtime.create("one")
    assert "exec format error" in runtime("start", "one", fails=1).stderr


def test_a_process_that_is_not_told_has_the_home_of_its_user(runtime: Runtime) -> None:
    etc = runtime.bundle / "rootfs/etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nu:x:5:6::/home/u:/bin/sh\n")
    bundle = str(runtime.bundle)
    config = configuration("/bin/sh", "-c", "echo $HOME")
    for uid, home in ((0, "/root"), (5, "/home/u"), (7, "/")):
        config["process"]["user"]["uid"] = uid
        runtime.configure(config)
        assert runtime("run", "--bundle", bundle, "one").stdout == f"{home}\n"
    # A link in the root is one in the root: the host's users are not asked.
    (etc / "passwd").unlink()
    (etc / "passwd").symlink_to("/" * 3 + "../../etc/shadow-of-the-host/../passwd")
    runtime.configure(configuration("/bin/sh", "-c", "echo $HOME"))
    assert runtime("run", "--bundle", bundle, "one").stdout == "/\n"


def test_who_was_killed_while_making_leaves_what_can_be_deleted(runtime: Runtime) -> None:
    (runtime.root / "one").mkdir(parents=True)
    assert runtime.state("one")["status"] == "stopped"
    assert "already exists" in started(runtime)
    runtime("delete", "one")


def started(runtime: Runtime) -> str:
    runtime.configure(configuration("/bin/true"))
    return runtime.create("one", fails=1)


def test_many_at_once_and_one_after_the_other_leave_nothing(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/true"))
    words = ("run", "--bundle", str(runtime.bundle))
    running = [subprocess.Popen(runtime.words(*words, f"c{number}")) for number in range(12)]
    assert [process.wait(PATIENCE) for process in running] == [0] * 12
    for _ in range(5):
        runtime.create("again")
        runtime("start", "again")
        runtime("delete", "--force", "again")
    assert list(runtime.root.iterdir()) == []


def test_engines_parse_lists_and_processes(runtime: Runtime) -> None:
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    (row,) = json.loads(runtime("list", "--format=json").stdout)
    assert row["id"] == "one"
    assert row["owner"] == "root"
    assert runtime("list", "-q").stdout == "one\n"
    assert json.loads(runtime("ps", "--format", "json", "one").stdout) == [row["pid"]]


def test_all_are_killed_also_those_that_are_made_meanwhile(runtime: Runtime) -> None:
    """Without a process namespace nothing else ends them."""
    config = configuration("/bin/sh", "-c", "f() { f & }; f; f; f; f; exec sleep 1000")
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    pid = runtime.state("one")["pid"]
    runtime("kill", "--all", "one", "KILL")
    runtime.wait(pid)
    deadline = time.monotonic() + PATIENCE
    while json.loads(runtime("ps", "--format", "json", "one").stdout):
        assert time.monotonic() < deadline, "they go on"
        time.sleep(0.1)


def test_a_missing_working_directory_is_made(runtime: Runtime) -> None:
    config = configuration("/bin/sh", "-c", "echo $PWD; ls -ld .")
    config["process"]["cwd"] = "/work/deep"
    config["root"]["readonly"] = True
    runtime.configure(config)
    assert runtime("run", "--bundle", str(runtime.bundle), "one").stdout.startswith("/work/deep\ndrwxr-xr-x")


def test_the_host_name_of_a_joined_namespace_is_set(runtime: Runtime) -> None:
    config = configuration("/bin/sleep", "1000")
    config["hostname"] = "first"
    runtime.configure(config)
    runtime.create("one")
    config = configuration("/bin/cat", "/proc/sys/kernel/hostname")
    config["hostname"] = "second"
    path = f"/proc/{runtime.state('one')['pid']}/ns/uts"
    config["linux"]["namespaces"] = [
        {**one, "path": path} if one["type"] == "uts" else one for one in config["linux"]["namespaces"]
    ]
    runtime.configure(config)
    assert runtime("run", "--bundle", str(runtime.bundle), "two").stdout == "second\n"


def test_nobody_else_may_write_to_what_leads_to_the_states(runtime: Runtime) -> None:
    """Some callers have a mask of 0."""
    runtime.root = runtime.base / "made/here/oci"
    runtime.configure(configuration("/bin/sleep", "1000"))
    with (runtime.base / "output").open("w") as output:
        subprocess.run(
            runtime.words("create", "--bundle", str(runtime.bundle), "one"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=PATIENCE,
            check=True,
            umask=0,
        )
    for place in (runtime.root, runtime.root / "one"):
        assert place.stat().st_mode & 0o777 == 0o700
    for place in (runtime.base / "made", runtime.base / "made/here"):
        assert place.stat().st_mode & 0o022 == 0


def test_capabilities_that_are_not_granted_are_told(runtime: Runtime, tmp_path: Path) -> None:
    """config.md, Linux Process: as a warning, and the container runs."""
    config = configuration("/bin/true")
    config["process"]["capabilities"]["bounding"] = ["CAP_KILL", "CAP_NO_SUCH"]
    runtime.configure(config)
    words = ("run", "--bundle", str(runtime.bundle), "one")
    assert "warning: process.capabilities.bounding[1]" in runtime(*words).stderr
    log = tmp_path / "log"
    assert runtime("--log", str(log), "--log-format", "json", *words).stderr == ""
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["level"] == "warning"
    assert "CAP_NO_SUCH" in json.loads(line)["msg"]
