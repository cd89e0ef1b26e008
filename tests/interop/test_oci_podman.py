"""podman, which starts its containers with our runtime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import PATIENCE, run
from podman_kit import COMMON, Podman, a_podman

from appc.host import criu

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with a_podman() as made:
        yield made


def test_a_container_runs_with_its_output_and_status(podman: Podman) -> None:
    assert podman("run", "--rm", *COMMON, "box", "/bin/echo", "hello") == "hello\n"
    podman("run", "--rm", *COMMON, "box", "/bin/sh", "-c", "exit 3", fails=3)
    assert podman("ps", "--all", "--quiet") == ""


def test_programs_that_do_not_start_have_the_statuses_of_a_shell(podman: Podman) -> None:
    podman("run", "--rm", *COMMON, "box", "/bin/nosuch", fails=127)
    podman("run", "--rm", *COMMON, "box", "nosuch", fails=127)
    podman("run", "--rm", *COMMON, "box", "/etc", fails=126)


def test_terminals(podman: Podman) -> None:
    said = podman("run", "--rm", "-it", *COMMON, "box", "/bin/sh", "-c", "'test -t 0 && echo is one'", tty=True)
    assert "is one" in said


def test_a_detached_container_is_entered_paused_and_stopped(podman: Podman) -> None:
    podman.start("long", "/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    assert podman("exec", "long", "/bin/echo", "in") == "in\n"
    podman("exec", "long", "/bin/false", fails=1)
    podman("exec", "long", "/bin/nosuch", fails=127)
    assert "uid=0" in podman("exec", "-it", "long", "/bin/id", tty=True)
    podman("pause", "long")
    assert "Paused" in podman("ps", "--all", "--format", "{{.Status}}")
    podman("unpause", "long")
    podman("stop", "--time", "20", "long")
    assert podman("logs", "long") == "up\nbye\n"
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "long") == "0\n"
    podman("rm", "long")


def test_a_killed_container_says_so(podman: Podman) -> None:
    podman.start("victim", "/bin/sleep", "1000")
    podman("kill", "victim")
    assert podman("wait", "victim") == "137\n"
    podman("start", "victim")
    podman.clear()


def test_user_namespaces(podman: Podman, tmp_path: Path) -> None:
    ranges = tmp_path / "subuid"
    ranges.write_text("containers:300000:70000\n")
    look = "cat /proc/self/uid_map; ls -ln /bin/busybox; id"
    told = {
        ("--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000"): "200000",
        ("--userns", "auto:size=3000"): "300000",
    }
    for options, root in told.items():
        said = podman("run", "--rm", *COMMON, *options, "box", "/bin/sh", "-c", look, ranges=ranges)
        assert said.split()[:2] == ["0", root], said
        assert "uid=0 gid=0" in said
        assert said.splitlines()[1].split()[2:4] == ["0", "0"]
    podman.start("mapped", "/bin/sleep", "1000", options=("--uidmap", "0:200000:5000"))
    assert podman("exec", "--user", "7", "mapped", "/bin/cat", "/proc/self/uid_map").split() == ["0", "200000", "5000"]
    podman.clear()


def test_options_reach_the_container(podman: Podman) -> None:
    look = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; id; echo $A; pwd"
    said = podman(
        *("run", "--rm", *COMMON, "--memory", "64m", "--user", "5:6", "--env", "A=b", "--workdir", "/etc"),
        *("--cap-drop", "all", "--volume", "/usr:/host:ro", "--hostname", "named", "box"),
        *("/bin/sh", "-c", look + "; cat /proc/sys/kernel/hostname; echo x >/host/x || echo read-only"),
    )
    assert str(64 << 20) in said
    assert "uid=5 gid=6" in said
    assert "\nb\n/etc\nnamed\n" in said
    assert "read-only" in said


def test_a_read_only_root_has_places_to_write_to(podman: Podman) -> None:
    """What podman mounts there by itself begins with what the image has (`tmpcopyup`)."""
    script = "echo x >/tmp/x && cat /tmp/x; echo x >/etc/x"
    said = podman("run", "--rm", "--read-only", *COMMON, "box", "/bin/sh", "-c", script, fails=1)
    assert said.startswith("x\n")
    assert "Read-only file system" in said


def test_descriptors_are_handed_on(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given\n")
    words = podman.words("run", "--rm", "--preserve-fds", "1", *COMMON, "box", "/bin/cat", "/proc/self/fd/3")
    script = f'exec "$@" 3< {tmp_path}/given'
    assert run(["/bin/sh", "-c", script, "sh", *words]) == "given\n"


def test_a_container_is_written_down_and_brought_back(podman: Podman, tmp_path: Path) -> None:
    """Where it ended, and elsewhere from an archive; left running it goes on."""
    obstacle = criu.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    script = "i=0; while :; do i=$((i+1)); echo $i; echo $i >/dev/shm/count; sleep 0.1; done"
    podman.start("counter", "/bin/sh", "-c", script)
    assert reached(podman, "counter", 0) > 0
    archive = str(tmp_path / "counter.tar")
    podman("container", "checkpoint", "--leave-running", "--export", archive, "--compress", "none", "counter")
    assert "Up" in podman("ps", "--all", "--format", "{{.Status}}")
    podman("container", "checkpoint", "counter")
    assert "Exited" in podman("ps", "--all", "--format", "{{.Status}}")
    last = len(podman("logs", "counter").splitlines())
    podman("container", "restore", "counter")
    assert reached(podman, "counter", last) < last + 1000
    assert podman("exec", "counter", "/bin/echo", "in") == "in\n"
    podman("rm", "--force", "--time", "0", "counter")
    podman("container", "restore", "--import", archive, "--name", "again")
    assert reached(podman, "again", 1) > 1
    podman("stop", "--time", "1", "again")
    podman("rm", "again")


def reached(podman: Podman, name: str, number: int) -> int:
    """Wait until a container has counted beyond a number; return how far it is."""
    deadline = time.monotonic() + PATIENCE
    while True:
        last = podman("exec", name, "/bin/cat", "/dev/shm/count", fails=None).strip()
        if last.isdigit() and int(last) > number:
            return int(last)
        assert time.monotonic() < deadline, last
        time.sleep(0.1)
