"""The native front and Python say and do the same."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities import need
from conftest import Runtime, configuration
from starter import installed


class Both:
    """Two runtimes over one root; each does everything to a container of its own, `by-front` and `by-python`."""

    def __init__(self, base: Path) -> None:
        self.front = Runtime(base / "front", str(installed(base / "installed")))
        self.python = Runtime(base / "python")
        self.python.root = self.front.root

    def configure(self, *args: str, **fields: object) -> None:
        for one in (self.front, self.python):
            one.configure({**configuration(*args), **fields})

    def create(self) -> None:
        self.front.create("by-front")
        self.python.create("by-python")

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Do it both ways, NAME being the container's; return status, output and messages, which are the same."""
        results: list[tuple[int, str, str]] = []
        for one, name in ((self.front, "by-front"), (self.python, "by-python")):
            done = subprocess.run(
                one.words(*(word.replace("NAME", name) for word in words)), capture_output=True, text=True, check=False
            )
            texts = [text.replace(name, "NAME").replace(str(one.base), "") for text in (done.stdout, done.stderr)]
            results.append((done.returncode, texts[0], texts[1]))
        assert results[0] == results[1]
        return results[0]

    def state_is_the_same(self) -> str:
        """Compare the states byte by byte, of each container both ways; return the status."""
        found = ""
        for name in ("by-front", "by-python"):
            outputs = {one("state", name).stdout for one in (self.front, self.python)}
            assert len(outputs) == 1
            found = self.front.state(name)["status"]
        return found


@pytest.fixture
def both(sandbox: Path) -> Iterator[Both]:
    need("root", "native", "cgroup", "busybox")
    made = Both(sandbox)
    yield made
    for name in made.python("list", "--quiet").stdout.split():
        made.python("delete", "--force", name)


def test_a_whole_life(both: Both) -> None:
    both.configure("/bin/sleep", "1000", annotations={"note": 'ü\0"\n'})
    assert both("state", "NAME")[0] == 1
    both.create()
    assert both.state_is_the_same() == "created"
    assert both("start", "NAME") == (0, "", "")
    assert both.state_is_the_same() == "running"
    assert both("start", "NAME")[0] == 1
    assert both("delete", "NAME")[0] == 1
    for word in ("NOSUCH", "0", "65"):
        assert both("kill", "NAME", word)[0] == 1
    both.front("pause", "by-front")
    both.front("pause", "by-python")
    assert both.state_is_the_same() == "paused"
    pids = [both.front.state(name)["pid"] for name in ("by-front", "by-python")]
    assert both("kill", "NAME", "KILL") == (0, "", "")
    for pid in pids:
        both.front.wait(pid)
    assert both.state_is_the_same() == "stopped"
    assert both("kill", "NAME")[0] == 1
    assert both("kill", "--all", "NAME", "KILL") == (0, "", "")
    assert both("delete", "NAME") == (0, "", "")
    assert both("delete", "NAME")[0] == 1
    assert both("delete", "--force", "NAME") == (0, "", "")
    assert list(both.front.root.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_what_was_never_started(both: Both, options: list[str]) -> None:
    both.configure("/bin/sleep", "1000")
    both.create()
    assert both("delete", *options, "NAME") == (0, "", "")
    assert list(both.front.root.iterdir()) == []


def test_processes_left_in_the_groups_go_with_the_container(both: Both) -> None:
    both.configure("/bin/sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000")
    both.create()
    both("start", "NAME")
    groups = [
        path
        for name in ("by-front", "by-python")
        for path in Path("/sys/fs/cgroup").glob(f"**/appc-oci/{name}")
        if path.is_dir()
    ]
    assert groups
    assert both("delete", "--force", "NAME") == (0, "", "")
    assert not [path for path in groups if path.exists()]


def test_a_program_that_vanished_before_its_start(both: Both) -> None:
    for one in (both.front, both.python):
        (one.bundle / "rootfs/bin/late").symlink_to("busybox")
    both.configure("/bin/late")
    both.create()
    for one in (both.front, both.python):
        (one.bundle / "rootfs/bin/late").unlink()
    pids = [both.front.state(name)["pid"] for name in ("by-front", "by-python")]
    status, output, message = both("start", "NAME")
    assert (status, output) == (1, "")
    assert "/bin/late: no such file or directory" in message
    for pid in pids:
        both.front.wait(pid)
    assert both("start", "NAME")[0] == 1


def test_hooks_of_start_and_delete_are_run(both: Both) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat >&2; exit 3"]}
    both.configure("/bin/sleep", "1000", hooks={"poststop": [hook]})
    both.create()
    pids = [both.front.state(name)["pid"] for name in ("by-front", "by-python")]
    status, _, message = both("delete", "NAME")
    assert status == 0
    assert '"status":"stopped"' in message
    for pid in pids:
        both.front.wait(pid)
