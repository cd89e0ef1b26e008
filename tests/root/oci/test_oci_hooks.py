"""Hooks: when they run, where, and what their failure does (config.md, POSIX-platform Hooks)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from conftest import PATIENCE, Runtime, configuration

STANDARD = 0x7FFFFFFF  # signals; some of the others are the C library's own


def hook(out: Path, name: str, after: str = "", **more: Any) -> dict[str, Any]:
    script = f"cat >{out}/{name}.json; readlink /proc/self/ns/mnt >{out}/{name}.ns; {after}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}


def test_each_kind_runs_when_it_should(runtime: Runtime, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    config = configuration("/bin/sleep", "1000")
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    config["hooks"] = {kind: [hook(out, kind)] for kind in kinds}
    config["annotations"] = {"a.b": "c"}
    runtime.configure(config)
    runtime.create("one")
    assert sorted(path.stem for path in out.glob("*.json")) == ["createContainer", "createRuntime", "prestart"]
    pid = runtime.state("one")["pid"]
    for kind in kinds[:3]:
        state = json.loads((out / f"{kind}.json").read_text())
        assert (state["id"], state["status"], state["pid"]) == ("one", "creating", pid)
        assert state["annotations"] == {"a.b": "c"}
    ours, theirs = os.readlink("/proc/self/ns/mnt"), os.readlink(f"/proc/{pid}/ns/mnt")
    assert (out / "createRuntime.ns").read_text().strip() == ours
    assert (out / "createContainer.ns").read_text().strip() == theirs
    runtime("start", "one")
    assert json.loads((out / "poststart.json").read_text())["status"] == "running"
    runtime("delete", "--force", "one")
    state = json.loads((out / "poststop.json").read_text())
    assert (state["status"], state["pid"]) == ("stopped", 0)


def test_one_that_fails_before_the_start_unmakes_the_container(runtime: Runtime, tmp_path: Path) -> None:
    config = configuration("/bin/true")
    config["hooks"] = {"createRuntime": [hook(tmp_path, "first"), hook(tmp_path, "second", "exit 4")]}
    runtime.configure(config)
    assert "hooks.createRuntime[1]" in runtime.create("one", fails=1)
    assert list(runtime.root.iterdir()) == []
    config["hooks"] = {"prestart": [hook(tmp_path, "late", "sleep 1000", timeout=1)]}
    runtime.configure(config)
    assert "did not end in time" in runtime.create("one", fails=1)


def test_a_failing_poststart_stops_the_container_and_poststop_only_warns(runtime: Runtime, tmp_path: Path) -> None:
    config = configuration("/bin/sleep", "1000")
    stops = [hook(tmp_path, "b", "exit 1"), hook(tmp_path, "c", "exit 2"), hook(tmp_path, "d")]
    config["hooks"] = {"poststart": [hook(tmp_path, "a", "exit 1")], "poststop": stops}
    runtime.configure(config)
    runtime.create("one")
    pid = runtime.state("one")["pid"]
    assert "hooks.poststart[0]" in runtime("start", "one", fails=1).stderr
    runtime.wait(pid)
    warnings = runtime("delete", "one").stderr
    assert "warning: hooks.poststop[0]" in warnings
    assert "warning: hooks.poststop[1]" in warnings
    assert (tmp_path / "d.json").exists()


def test_what_a_hook_is_given(runtime: Runtime, tmp_path: Path) -> None:
    """No descriptor but its streams, signals as they are by default, and a mask that lets others read."""
    out = tmp_path / "out"
    out.mkdir()
    script = "grep SigIgn /proc/self/status >{0}; umask >>{0}; ls /proc/self/fd | wc -l >>{0}; cat >/dev/null"
    kinds = ("prestart", "poststart", "poststop")
    config = configuration("/bin/sleep", "1000")
    config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script.format(out / kind)], "env": ["PATH=/bin:/usr/bin"]}]
        for kind in kinds
    }
    runtime.configure(config)
    left_open = os.open("/dev/zero", os.O_RDONLY)
    try:
        with (runtime.base / "output").open("w") as output:
            for words in (("create", "--bundle", str(runtime.bundle)), ("start",), ("delete", "--force")):
                subprocess.run(
                    runtime.words(*words, "one"),
                    pass_fds=[left_open],
                    umask=0o22,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=PATIENCE,
                    check=True,
                )
    finally:
        os.close(left_open)
    for kind in kinds:
        _, ignored, mask, count = (out / kind).read_text().split()
        # The streams, and the directory that is listed.
        assert (int(ignored, 16) & STANDARD, mask, count) == (0, "0022", "4"), kind
