"""`import appc`: pods from a program, from its threads, without touching what is the program's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, wait_for

import appc as api
from appc import errors

SIGUSR1 = signal.SIGUSR1


@pytest.fixture
def where(appc: Appc) -> Iterator[api.Directories]:
    """The directories of the shared store."""
    yield api.Directories(str(appc.root), str(appc.state), [str(appc.config)])
    # A keeper that is our child stays a zombie until somebody waits for it.
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break


def test_as_the_documentation_shows_it(where: api.Directories) -> None:
    image = api.fetch(PROBE, directories=where)
    with api.run(image, args=["echo", "hello", "error", "oops", "wait"], memory="64Mi", directories=where) as pod:
        pod.wait_ready(timeout=5)
        assert pod.status["state"] == "running"
        lines = pod.logs(follow=True)
        first = next(lines)
        assert (first.app, first.text, first.stream) == ("probe", b"hello", "stdout")
        assert next(lines).stream == "stderr"
    assert pod.exit_status == 143
    assert pod.status["state"] == "exited"
    assert [line.text for line in pod.logs("probe")] == [b"hello", b"oops"]
    pod.remove()
    with pytest.raises(errors.PodNotFound):
        _ = pod.status


def test_a_pod_removed_within_its_block(where: api.Directories) -> None:
    with api.run(PROBE, args=["wait"], directories=where) as pod:
        pod.stop(force=True)
        pod.remove()


def test_one_image_and_what_to_change_about_it(where: api.Directories, sandbox: Path) -> None:
    pod = api.run(
        PROBE,
        exec="/bin/sh",
        args=["-c", "id -u; pwd; echo $COLOUR; cat /data/x; cat /proc/sys/kernel/hostname; echo > /new"],
        name="main",
        user="0",
        group="0",
        env={"COLOUR": "red"},
        working_dir="/work",
        volumes={"v": str(sandbox), "w": None},
        mounts={"/data": "v", "/empty": "w"},
        hostname="given",
        read_only=True,
        cpu="500m",
        directories=where,
    )
    assert pod.wait(PATIENCE) != 0
    text = [line.text.decode() for line in pod.logs()]
    assert "/work" in text
    assert "red" in text
    assert "given" in text
    assert any("Read-only" in line for line in text)
    assert pod.manifest["apps"][0]["name"] == "main"


def test_several_apps(where: api.Directories) -> None:
    pod = api.run(
        api.App(PROBE, name="a", args=("exit", "0")), api.App(PROBE, name="b", args=("exit", "5")), directories=where
    )
    assert pod.wait(PATIENCE) == 5


def test_killing_waiting_and_finding_again(where: api.Directories) -> None:
    pod = api.run(PROBE, args=["trap", "10", "3", "echo", "up", "wait"], directories=where)
    with pytest.raises(TimeoutError):
        pod.wait(0.05)
    assert pod.exit_status is None
    wait_for(lambda: [line.text for line in pod.logs()] == [b"up"])
    again = api.pod(pod.uuid[:8], directories=where)
    again.kill(SIGUSR1, "probe")
    assert again.wait(PATIENCE) == 3
    assert [entry.uuid for entry in api.list_pods(directories=where)] == [pod.uuid]
    with pytest.raises(errors.PodStateError):
        pod.kill(SIGUSR1)
    pod.stop()
    assert pod.exit_status == 3


def test_the_callers_descriptors_and_signals_are_untouched(where: api.Directories) -> None:
    def look() -> tuple[set[str], list[object], set[int], str]:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        return set(os.listdir("/proc/self/fd")), handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.getcwd()

    received = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: received.append(number))
    inheritable = os.dup(0)
    os.set_inheritable(inheritable, True)
    try:
        found = look()
        pod = api.run(PROBE, args=["report", "echo", "end", "wait"], directories=where)
        assert look() == found
        wait_for(lambda: any(line.text == b"end" for line in pod.logs()))
        pod.stop()
        assert look() == found
        with pytest.raises(errors.ProgramNotFound):
            api.run(PROBE, exec="/nowhere", directories=where)
        assert look() == found
        with pytest.raises(errors.AppcError):
            api.run(PROBE, mounts={"/x": "undefined"}, directories=where)
        assert look() == found
    finally:
        os.close(inheritable)
        signal.signal(signal.SIGCHLD, before)
    text = [line.text.decode() for line in pod.logs()]
    assert {line.partition("=")[0] for line in text if line.startswith("fd.")} == {"fd.0", "fd.1", "fd.2"}


def test_pods_from_many_threads(where: api.Directories) -> None:
    results: list[int | None] = []

    def one(number: int) -> None:
        pod = api.run(PROBE, args=["echo", str(number), "exit", str(number)], directories=where)
        status = pod.wait(PATIENCE)
        assert [line.text for line in pod.logs()] == [str(number).encode()]
        results.append(status)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(status for status in results if status is not None) == list(range(8))


def test_one_pod_used_by_many_threads(where: api.Directories) -> None:
    pod = api.run(PROBE, args=["sleep", "0.2", "exit", "4"], directories=where)
    statuses: list[int | None] = []
    threads = [threading.Thread(target=lambda: statuses.append(pod.wait(PATIENCE))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert statuses == [4] * 6


def test_a_program_that_lets_the_kernel_reap_its_children(appc: Appc) -> None:
    program = f"""
import signal, appc
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
where = appc.Directories({str(appc.root)!r}, {str(appc.state)!r}, [{str(appc.config)!r}])
pod = appc.run({PROBE!r}, args=["exit", "3"], directories=where)
print(pod.wait(30))
try:
    appc.run({PROBE!r}, exec="/nowhere", directories=where)
except appc.errors.ProgramNotFound as error:
    print(error)
"""
    done = _python(program)
    assert done.stdout == "3\napp probe: /nowhere: no such file in the image\n", done
    assert done.stderr == ""


def _python(program: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(api.__file__).parent.parent)}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, env=env)


def test_a_pod_outlives_the_program_that_started_it(appc: Appc) -> None:
    program = f"""
import appc
where = appc.Directories({str(appc.root)!r}, {str(appc.state)!r}, [{str(appc.config)!r}])
print(appc.run({PROBE!r}, args=["wait"], directories=where).uuid)
"""
    done = _python(program)
    uuid = done.stdout.strip()
    assert appc.status(uuid)["state"] == "running"


def test_errors_are_appcs(where: api.Directories, tmp_path: Path) -> None:
    with pytest.raises(errors.ImageNotFound):
        api.run("example.com/absent", directories=where)
    with pytest.raises(errors.UsageError):
        api.run(PROBE, PROBE, memory="1Mi", directories=where)
    with pytest.raises(errors.AppcError):
        api.run(PROBE, memory="lots", directories=where)
    with pytest.raises(errors.HostError, match="no such network"):
        api.run(PROBE, net="bogus", directories=where)
    with pytest.raises(errors.PodNotFound):
        api.pod("0000", directories=where)
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(errors.AppcError) as caught:
        api.run(str(place), insecure=["image"], directories=api.Directories(str(place / "x"), str(place / "y")))
    assert "ot a directory" in str(caught.value)
    assert api.list_pods(directories=where) == []


def test_warnings_of_a_start(where: api.Directories) -> None:
    pod = api.run(PROBE, volumes={"v": None}, mounts={"/masked": "v"}, directories=where)
    assert pod.warnings == ("app probe: the image's files below /masked are masked by a volume",)
    assert pod.wait(PATIENCE) == 0


def test_a_launch_is_quick(where: api.Directories) -> None:
    """Not a benchmark: something that takes this long is broken."""
    began = time.monotonic()
    for _ in range(5):
        assert api.run(PROBE, args=["exit", "0"], directories=where).wait(PATIENCE) == 0
    assert time.monotonic() - began < PATIENCE
