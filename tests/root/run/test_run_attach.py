"""Attaching to apps, as people and programs do."""

from __future__ import annotations

import select
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, wait_for
from test_run_streams import Terminal

import appc as api
from appc import errors


def test_piping_through_an_app(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--stdin", "stream", "--", "cat", "error", "done")
    done = appc("attach", uuid, stdin="through\nand through\n")
    assert (done.status, done.out, done.err) == (0, "through\nand through\n", "done\n")
    assert appc("status", "--wait", uuid).status == 0
    assert appc("logs", uuid).out == done.out


def test_only_one_stream(appc: Appc) -> None:
    speak = "until [ -e /done ]; do echo out; echo err >&2; sleep 0.1; done"
    uuid = appc.detached(PROBE, "--exec", "/bin/sh", "--", "-c", speak)
    attached = appc.start("attach", "--streams", "stderr", uuid)
    assert attached.stderr is not None
    assert attached.stderr.readline() == b"err\n"
    (Path("/proc") / str(appc.status(uuid)["apps"][0]["pid"]) / "root/done").touch()
    out, err = attached.communicate(timeout=PATIENCE)
    assert (out, set(err.splitlines()) - {b"err"}) == (b"", set())
    assert attached.returncode == 0


def test_a_shell_on_a_terminal_that_is_left_and_taken_again(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--stdin", "tty", "--exec", "/bin/sh")
    terminal = Terminal(*appc.words("attach", uuid))
    # The shell shows its prompt anew when the window's size is known.
    terminal.expect(b"/ # ")
    terminal.type(b"echo a$((1+1))b; /probe window\r")
    terminal.expect(b"a2b")
    terminal.expect(b"window 24 80")
    terminal.type(b"\x10")
    terminal.type(b"\x11")
    assert terminal.end() == 0
    assert appc.status(uuid)["apps"][0]["state"] == "running"
    again = Terminal(*appc.words("attach", "--detach-keys", "ctrl-],q", uuid))
    again.expect(b"/ # ")
    again.type(b"echo c$((1+1))d\r")
    again.expect(b"c2d")
    again.type(b"exit 3\r")
    assert again.end() == 0
    appc("status", "--wait", uuid)
    assert appc.status(uuid)["exit-status"] == 3


def test_what_cannot_be_attached_to(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--name", "a", "--", "wait", "---", PROBE, "--name", "b", "--", "exit", "0")
    assert "there are several apps" in appc("attach", uuid).err
    wait_for(lambda: appc.status(uuid)["apps"][1]["exited"])
    done = appc("attach", "--app", "b", uuid)
    assert (done.status, done.err) == (1, f"appc: pod {uuid}: app b is not running\n")
    assert appc("attach", "--streams", "stdlog", "--app", "a", uuid).status == 2
    assert appc("stop", uuid).status == 0
    assert appc("attach", "--app", "a", uuid).err == f"appc: pod {uuid}: is exited, not running\n"


def test_from_python(appc: Appc) -> None:
    where = api.Directories(str(appc.root), str(appc.state), [str(appc.config)])
    app = api.App(PROBE, args=("cat",), stdin="stream", stdout="stream")
    with api.run(app, directories=where) as pod, pod.attach() as streams:
        streams.send(b"x" * 100_000)
        received = 0
        while received < 100_000:
            assert select.select([streams], [], [], PATIENCE)[0]
            output = streams.receive()
            assert output is not None
            received += len(output[1])
        streams.end()
        assert streams.receive() is None
        assert pod.wait(timeout=PATIENCE) == 0
        assert list(pod.logs()) == []
        with pytest.raises(errors.PodStateError):
            pod.attach()
