"""Control groups of a container: where its configuration says, with the limits it asks for, and other ones later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from appc.host.probe import facts
from capabilities import need
from conftest import Runtime, configuration

MIB = 1 << 20


def setting(path: str, v1: str, v2: str) -> str:
    """Read a control file of the group at `path`."""
    controller = v1.partition(".")[0]
    place = facts().controllers[controller]
    name = v2 if place == facts().unified else v1
    return (Path(facts().bases[place] + path) / name).read_text().strip()


def test_limits_are_set_and_changed(runtime: Runtime, tmp_path: Path) -> None:
    need("memory-controller", "pids-controller")
    path = f"/appc-test/{tmp_path.name}"
    config = configuration("/bin/sleep", "1000")
    config["linux"]["cgroupsPath"] = path
    config["linux"]["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    runtime.configure(config)
    runtime.create("one")
    try:
        assert setting(path, "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
        assert setting(path, "pids.max", "pids.max") == "20"
        runtime("update", "--memory", "96m", "one")
        assert setting(path, "memory.limit_in_bytes", "memory.max") == str(96 * MIB)
        assert setting(path, "pids.max", "pids.max") == "20"
        resources = tmp_path / "resources.json"
        resources.write_text(json.dumps({"pids": {"limit": 30}}))
        runtime("update", f"--resources={resources}", "one")
        assert setting(path, "pids.max", "pids.max") == "30"
        resources.write_text(json.dumps({"pids": {"limit": "many"}}))
        assert "pids.limit" in runtime("update", "-r", str(resources), "one", fails=1).stderr
        assert "no limit" in runtime("update", "one", fails=1).stderr
        assert "is not a number" in runtime("update", "--memory", "much", "one", fails=1).stderr
    finally:
        runtime("delete", "--force", "one")
        for base in facts().bases.values():
            Path(f"{base}/appc-test").rmdir()


def test_a_path_that_leads_elsewhere_is_refused(runtime: Runtime) -> None:
    config = configuration("/bin/true")
    for path in ("/", "/a/../..", ".."):
        config["linux"]["cgroupsPath"] = path
        runtime.configure(config)
        assert "linux.cgroupsPath" in runtime.create("one", fails=1)
    assert list(runtime.root.iterdir()) == []


def test_what_spec_writes_runs(runtime: Runtime) -> None:
    runtime("spec", "--bundle", str(runtime.bundle))
    assert "exists" in runtime("spec", "--bundle", str(runtime.bundle), fails=1).stderr
    config = json.loads((runtime.bundle / "config.json").read_text())
    config["process"].update(args=["/bin/echo", "hello"], terminal=False)
    runtime.configure(config)
    assert runtime("run", "--bundle", str(runtime.bundle), "one").stdout == "hello\n"


def test_a_group_that_is_in_use_is_not_taken(runtime: Runtime, tmp_path: Path) -> None:
    """Whatever is in it would end with the container, or with the attempt to make one."""
    path = f"/appc-test/{tmp_path.name}"
    config = configuration("/bin/sleep", "1000")
    config["linux"]["cgroupsPath"] = path
    runtime.configure(config)
    runtime.create("one")
    try:
        message = runtime.create("two", fails=1)
        assert "container's cgroup is not empty: 1 process(es) found" in message
        assert path in message
        assert runtime.state("one")["status"] == "created"
        assert not (runtime.root / "two").exists()
        runtime("delete", "--force", "one")
        runtime.create("two")
        runtime("delete", "two")
        frozen = next(freezers(path))
        assert "unexpectedly frozen" in runtime.create("three", fails=1)
        assert frozen.parent.exists()
    finally:
        for name in ("one", "two", "three"):
            runtime("delete", "--force", name)
        for base in facts().bases.values():
            for place in (f"{base}{path}", f"{base}/appc-test"):
                if Path(place).exists():
                    Path(place).rmdir()


def freezers(path: str) -> Iterator[Path]:
    """Make a group and freeze it; the file that says so."""
    for base in facts().bases.values():
        Path(f"{base}{path}").mkdir(parents=True, exist_ok=True)
        for name, word in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
            file = Path(f"{base}{path}/{name}")
            if file.exists():
                file.write_text(word)
                yield file


def test_what_spec_writes_for_a_user_runs_as_that_user(runtime: Runtime) -> None:
    """Called by the host's root here, who is then the only one that the container has."""
    need("userns")
    runtime("spec", "--rootless", "--bundle", str(runtime.bundle))
    config = json.loads((runtime.bundle / "config.json").read_text())
    config["process"].update(args=["/bin/cat", "/proc/self/uid_map"], terminal=False)
    config["root"]["readonly"] = False
    runtime.configure(config)
    assert runtime("run", "--bundle", str(runtime.bundle), "one").stdout.split() == ["0", "0", "1"]
