"""Control groups made by systemd (`--systemd-cgroup`), where it is PID 1: tests/vm/test_systemd.py boots that."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jeepney
import pytest

from capabilities import missing, need
from conftest import PATIENCE, Runtime, configuration
from interop.engine_kit import run, write_root
from starter import installed

pytestmark = pytest.mark.root

MIB = 1 << 20
GROUPS = Path("/sys/fs/cgroup")


class UnderSystemd(Runtime):
    """The runtime that is told --systemd-cgroup with every command, as containerd does."""

    def words(self, *words: str) -> list[str]:
        return super().words("--systemd-cgroup", *words)


def with_jeepney(base: Path) -> Path:
    """Install this source tree below `base` with what it needs to speak with systemd; return its `appc-oci`."""
    program = installed(base / "installed")
    (packages,) = (base / "installed").glob("lib/*/site-packages")
    (packages / "jeepney").symlink_to(Path(jeepney.__file__).parent)
    return program


@pytest.fixture
def runtime(sandbox: Path) -> Iterator[UnderSystemd]:
    need("root", "native", "busybox")
    if missing("systemd"):
        pytest.skip(missing("systemd"))
    made = UnderSystemd(sandbox, str(with_jeepney(sandbox)))
    yield made
    for name in made("list", "--quiet").stdout.split():
        made("delete", "--force", name)


def systemctl(*words: str, fails: bool = False) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode != 0) == fails, done
    return done.stdout


def properties(unit: str) -> dict[str, str]:
    """What systemd says of a unit."""
    return dict(line.split("=", 1) for line in systemctl("show", unit).splitlines())


def container(path: str = "machine.slice:test:one", **resources: Any) -> dict[str, Any]:
    config = configuration("/bin/sleep", "1000")
    config["linux"].update(cgroupsPath=path, resources=resources)
    return config


def test_a_container_is_a_scope_with_its_limits(runtime: UnderSystemd) -> None:
    config = container(
        "machine-apps.slice:test:one",
        memory={"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 32 * MIB},
        cpu={"shares": 2048, "quota": 15000, "period": 100000, "cpus": "0-1"},
        pids={"limit": 20},
        unified={"memory.high": str(48 * MIB)},
    )
    config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.Documentation": "['https://example.com/one']",
    }
    runtime.configure(config)
    runtime.create("one")
    group = GROUPS / "machine.slice/machine-apps.slice/test-one.scope"
    pid = runtime.state("one")["pid"]
    assert (group / "cgroup.procs").read_text() == f"{pid}\n"
    found = properties("test-one.scope")
    assert {key: found[key] for key in ("ActiveState", "Slice", "Delegate", "ControlGroup", "MemoryMax")} == {
        "ActiveState": "active",
        "Slice": "machine-apps.slice",
        "Delegate": "yes",
        "ControlGroup": str(group).removeprefix(str(GROUPS)),
        "MemoryMax": str(64 * MIB),
    }
    assert {key: found[key] for key in ("MemorySwapMax", "MemoryLow", "MemoryHigh", "TasksMax", "AllowedCPUs")} == {
        "MemorySwapMax": "0",
        "MemoryLow": str(32 * MIB),
        "MemoryHigh": str(48 * MIB),
        "TasksMax": "20",
        "AllowedCPUs": "0-1",
    }
    assert (found["CPUQuotaPerSecUSec"], found["CPUQuotaPeriodUSec"]) == ("150ms", "100ms")
    assert (found["TimeoutStopUSec"], found["Documentation"]) == ("7s", "https://example.com/one")

    # What systemd was told holds when it writes everything again.
    weight = (group / "cpu.weight").read_text()
    systemctl("daemon-reload")
    limits = {"memory.max": 64 * MIB, "memory.high": 48 * MIB, "memory.swap.max": 0, "pids.max": 20}
    assert {name: int((group / name).read_text()) for name in limits} == limits
    assert (group / "cpu.max").read_text() == "15000 100000\n"
    assert (group / "cpu.weight").read_text() == weight != "100\n"

    runtime("start", "one")
    runtime("pause", "one")
    assert runtime.state("one")["status"] == "paused"
    runtime("resume", "one")
    assert runtime("exec", "one", "/bin/cat", "/proc/self/cgroup").stdout == "0::/\n"
    assert f"{pid}" in runtime("ps", "--format", "json", "one").stdout
    runtime("delete", "--force", "one")
    assert not group.exists()
    assert "test-one.scope" not in systemctl("list-units", "--all", "--plain", "--no-legend")


def test_limits_are_changed_in_both_places(runtime: UnderSystemd) -> None:
    runtime.configure(container(memory={"limit": 64 * MIB}, pids={"limit": 20}))
    runtime.create("one")
    group = GROUPS / "machine.slice/test-one.scope"
    runtime("update", "--memory", "96m", "--cpu-quota", "25000", "--cpuset-cpus", "1", "one")
    found = properties("test-one.scope")
    assert (found["MemoryMax"], found["TasksMax"], found["AllowedCPUs"]) == (str(96 * MIB), "20", "1")
    systemctl("daemon-reload")
    assert (group / "memory.max").read_text() == f"{96 * MIB}\n"
    assert (group / "cpu.max").read_text() == "25000 100000\n"
    assert (group / "cpuset.cpus").read_text() == "1\n"


def test_a_scope_ends_with_its_container(runtime: UnderSystemd) -> None:
    config = container("")
    config["process"]["args"] = ["/bin/sh", "-c", "cat /proc/self/cgroup; exit 3"]
    runtime.configure(config)
    assert runtime("run", "--bundle", str(runtime.bundle), "whole", fails=3).stdout == "0::/\n"
    assert "appc-oci-whole.scope" not in systemctl("list-units", "--all", "--plain", "--no-legend")
    # One that ended by itself, and is deleted later.
    runtime.create("later")
    pid = runtime.state("later")["pid"]
    assert properties("appc-oci-later.scope")["Slice"] == "system.slice"
    runtime("start", "later")
    runtime.wait(pid)
    assert runtime.state("later")["status"] == "stopped"
    runtime("delete", "later")
    assert not (GROUPS / "system.slice/appc-oci-later.scope").exists()


def test_a_container_of_one_process(runtime: UnderSystemd) -> None:
    config = container(pids={"limit": 1})
    config["process"]["args"] = ["/bin/sh", "-c", "true & echo more"]
    runtime.configure(config)
    assert "more" not in runtime("run", "--bundle", str(runtime.bundle), "one", fails=2).stdout


def test_what_systemd_stops_has_stopped(runtime: UnderSystemd) -> None:
    runtime.configure(container())
    runtime.create("one")
    pid = runtime.state("one")["pid"]
    runtime("start", "one")
    systemctl("kill", "--signal=KILL", "test-one.scope")
    runtime.wait(pid)
    assert runtime.state("one")["status"] == "stopped"
    runtime("delete", "one")


def test_what_cannot_be_had_is_one_line_and_leaves_nothing(runtime: UnderSystemd) -> None:
    for path, reason in (
        ("/a/b", "is not SLICE:PREFIX:NAME"),
        ("machine:test:one", "is not the name of a slice"),
        ("a--b.slice:test:one", "is not the name of a slice"),
        ("machine.slice:test:b.slice", "has no processes"),
        ("machine.slice:test:a+b", "test-a+b.scope: systemd refuses"),
    ):
        runtime.configure(container(path))
        message = runtime.create("one", fails=1)
        assert reason in message
        assert message.count("\n") == 1
    config = container()
    config["annotations"] = {"org.systemd.property.NoSuch": "true"}
    runtime.configure(config)
    assert "systemd refuses" in runtime.create("one", fails=1)
    config = container()
    config["process"]["args"] = ["/bin/absent"]
    runtime.configure(config)
    assert "no such file" in runtime.create("one", fails=1)
    assert list(runtime.root.iterdir()) == []
    assert ".scope" not in systemctl("list-units", "--all", "--plain", "--no-legend", "test-*", "a*")


def test_the_scope_of_another_container_is_left_alone(runtime: UnderSystemd) -> None:
    runtime.configure(container())
    runtime.create("one")
    other = UnderSystemd(runtime.base / "other", *runtime.program)
    other.configure(container())
    assert "test-one.scope: systemd refuses" in other.create("two", fails=1)
    assert runtime.state("one")["status"] == "created"
    assert properties("test-one.scope")["ActiveState"] == "active"


def test_podman_with_its_usual_manager_of_control_groups(sandbox: Path) -> None:
    if missing("systemd"):
        pytest.skip(missing("systemd"))
    need("root", "native", "busybox", "podman", "conmon")
    program = with_jeepney(sandbox)
    # podman makes paths of sockets from these, which may be a hundred bytes long.
    place = Path(tempfile.mkdtemp(prefix="p"))
    places = ("--root", str(place / "root"), "--runroot", str(place / "run"), "--tmpdir", str(place / "tmp"))
    manner = ("--storage-driver", "vfs", "--cgroup-manager", "systemd", "--events-backend", "file")

    def podman(*words: str) -> str:
        return run(["podman", *places, *manner, "--runtime", str(program), *words])

    network = ("--network", "none")
    podman("import", f"{write_root(sandbox / 'rootfs')}.tar", "box")
    assert podman("run", "--rm", *network, "box", "/bin/echo", "hello") == "hello\n"
    podman("run", "--detach", "--name", "one", "--memory", "64m", *network, "box", "/bin/sleep", "1000")
    try:
        (group,) = (GROUPS / "machine.slice").glob("libpod-*.scope")
        assert properties(group.name)["MemoryMax"] == str(64 * MIB)
        podman("update", "--memory", "96m", "one")
        assert (group / "memory.max").read_text() == f"{96 * MIB}\n"
        assert podman("exec", "one", "/bin/echo", "inside") == "inside\n"
        podman("pause", "one")
        podman("unpause", "one")
    finally:
        podman("rm", "--force", "--time", "0", "one")
        podman("rmi", "--force", "box")
        shutil.rmtree(place)
    assert "libpod" not in systemctl("list-units", "--all", "--plain", "--no-legend", "*.scope")
