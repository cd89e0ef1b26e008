"""`linux.resources` as the container's own control groups show it, or the field that this host cannot honour."""

from __future__ import annotations

import os
from typing import Any

import pytest

from appc.host.disks import whole_disks
from appc.host.limits_rare import io_weight_of_blkio
from appc.host.probe import facts
from capabilities import need
from conftest import Runtime, configuration

# Once is enough: what the front does by itself has no part in it.
pytestmark = pytest.mark.parametrize("runtime", ["front"], indirect=True)

MIB = 1 << 20
SHOW = "cd /sys/fs/cgroup; for file in {}; do echo $file: $(cat $file); done"


def looking(resources: dict[str, Any], *files: str) -> dict[str, Any]:
    """A container with limits that prints control files of its own group."""
    config = configuration("/bin/sh", "-c", SHOW.format(" ".join(files)))
    config["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    config["linux"]["resources"] = resources
    return config


def shown(runtime: Runtime, resources: dict[str, Any], *files: str) -> dict[str, str]:
    """What is in the control files of a container with these limits."""
    runtime.configure(looking(resources, *files))
    lines = runtime("run", "--bundle", str(runtime.bundle), "one").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def in_files(controller: str, v1: dict[str, str], v2: dict[str, str]) -> dict[str, str]:
    """What the files of a controller, as this host has it, should hold."""
    host = facts()
    if host.controllers[controller] == host.unified:
        return {(f"unified/{name}" if host.cgroup == "hybrid" else name): value for name, value in v2.items()}
    return {f"{os.path.basename(host.controllers[controller])}/{name}": value for name, value in v1.items()}


def test_memory(runtime: Runtime) -> None:
    need("memory-controller")
    expected = in_files(
        "memory",
        {"memory.limit_in_bytes": str(64 * MIB), "memory.soft_limit_in_bytes": str(32 * MIB)},
        {"memory.max": str(64 * MIB), "memory.low": str(32 * MIB)},
    )
    memory = {"limit": 64 * MIB, "reservation": 32 * MIB, "checkBeforeUpdate": True, "useHierarchy": True}
    # What the kernel no longer counts apart is taken, as by every runtime.
    memory.update(kernel=MIB, kernelTCP=MIB)
    assert shown(runtime, {"memory": memory}, *expected) == expected


def test_memory_as_version_1_has_it(runtime: Runtime) -> None:
    need("memory-controller")
    host = facts()
    fields = {"swap": 96 * MIB, "swappiness": 7, "disableOOMKiller": True}
    if host.controllers["memory"] == host.unified:
        for field in ("swappiness", "disableOOMKiller"):
            runtime.configure(looking({"memory": {field: fields[field]}}))
            assert f"linux.resources.memory.{field}: cgroup v2" in runtime.create("one", fails=1)
        return
    names = ("memsw.limit_in_bytes", "swappiness", "oom_control")
    place = os.path.basename(host.controllers["memory"])
    files = [f"{place}/memory.{name}" for name in names]
    found = list(shown(runtime, {"memory": {"limit": 64 * MIB, **fields}}, *files).values())
    assert found[:2] == [str(96 * MIB), "7"]
    assert found[2].startswith("oom_kill_disable 1")


def test_processors(runtime: Runtime) -> None:
    need("cpu-controller", "cpuset-controller")
    cpu = {"shares": 512, "quota": 20000, "period": 50000, "burst": 10000}
    v1 = {"cpu.shares": "512", "cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000", "cpu.cfs_burst_us": "10000"}
    expected = in_files("cpu", v1, {"cpu.weight": "50", "cpu.max": "20000 50000", "cpu.max.burst": "10000"})
    names = {"cpuset.cpus": "0", "cpuset.mems": "0"}
    expected.update(in_files("cpuset", names, names))
    found = shown(runtime, {"cpu": {**cpu, "cpus": "0", "mems": "0"}}, *expected)
    # Kernels disagree on which weight 512 shares are.
    assert {name: value for name, value in found.items() if "weight" not in name} == {
        name: value for name, value in expected.items() if "weight" not in name
    }
    idle = in_files("cpu", {"cpu.idle": "1"}, {"cpu.idle": "1"})
    assert shown(runtime, {"cpu": {"idle": 1}}, *idle) == idle


@pytest.mark.parametrize("field", ["realtimeRuntime", "realtimePeriod"])
def test_a_realtime_budget_is_had_or_refused(runtime: Runtime, field: str) -> None:
    """Only kernels with CONFIG_RT_GROUP_SCHED have it, under cgroup v1, and as far as the groups above have some."""
    need("cpu-controller")
    name = {"realtimeRuntime": "cpu.rt_runtime_us", "realtimePeriod": "cpu.rt_period_us"}[field]
    files = in_files("cpu", {name: "500000"}, {})
    runtime.configure(looking({"cpu": {field: 500000}}, *files))
    done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=None)
    if done.returncode:
        assert f"linux.resources.cpu.{field}" in done.stderr
    else:
        assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == ["500000"]


def test_processes(runtime: Runtime) -> None:
    need("pids-controller")
    expected = in_files("pids", {"pids.max": "77"}, {"pids.max": "77"})
    assert shown(runtime, {"pids": {"limit": 77}}, *expected) == expected


def test_files_of_version_2_are_written_as_they_are(runtime: Runtime) -> None:
    if not facts().unified:
        runtime.configure(looking({"unified": {"cgroup.max.depth": "3"}}))
        assert "linux.resources.unified" in runtime.create("one", fails=1)
        return
    file = "unified/cgroup.max.depth" if facts().cgroup == "hybrid" else "cgroup.max.depth"
    assert shown(runtime, {"unified": {"cgroup.max.depth": "3"}}, file) == {file: "3"}


@pytest.mark.parametrize(
    ("field", "v1", "v2"),
    [
        ("throttleReadBpsDevice", "read_bps", "rbps"),
        ("throttleWriteBpsDevice", "write_bps", "wbps"),
        ("throttleReadIOPSDevice", "read_iops", "riops"),
        ("throttleWriteIOPSDevice", "write_iops", "wiops"),
    ],
)
def test_a_disk_is_throttled(runtime: Runtime, field: str, v1: str, v2: str) -> None:
    need("disks")
    controller = "blkio" if "blkio" in facts().controllers else "io"
    major, minor = min(whole_disks())
    limits = {"rbps": "max", "wbps": "max", "riops": "max", "wiops": "max", v2: "1048576"}
    expected = in_files(
        controller,
        {f"blkio.throttle.{v1}_device": f"{major}:{minor} 1048576"},
        {"io.max": " ".join([f"{major}:{minor}", *(f"{key}={value}" for key, value in limits.items())])},
    )
    assert (
        shown(runtime, {"blockIO": {field: [{"major": major, "minor": minor, "rate": 1048576}]}}, *expected) == expected
    )


def test_weights_of_disks_are_had_or_refused(runtime: Runtime) -> None:
    """The kernel has files of weights for schedulers: BFQ's, which may be a module; CFQ's are no more."""
    need("disks")
    controller = "blkio" if "blkio" in facts().controllers else "io"
    major, minor = min(whole_disks())
    files = in_files(
        controller,
        {"blkio.weight": "300", "blkio.bfq.weight": "300"},
        {"io.weight": f"default {io_weight_of_blkio(300)}", "io.bfq.weight": "default 300"},
    )
    runtime.configure(looking({"blockIO": {"weight": 300}}, *files))
    done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=None)
    if done.returncode:
        assert "linux.resources.blockIO.weight" in done.stderr
    else:
        assert {tuple(line.split(": ", 1)) for line in done.stdout.splitlines()} & set(files.items())
    for field, value in (("weight", {"weight": 300}), ("leafWeight", {"leafWeight": 300})):
        runtime.configure(looking({"blockIO": {"weightDevice": [{"major": major, "minor": minor, **value}]}}, "."))
        done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=None)
        assert not done.returncode or f"linux.resources.blockIO.weightDevice[0].{field}" in done.stderr
    runtime.configure(looking({"blockIO": {"leafWeight": 300}}))
    assert "linux.resources.blockIO.leafWeight" in runtime.create("one", fails=1)


@pytest.mark.parametrize(
    ("resources", "controller", "field", "file", "value"),
    [
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb", "hugepageLimits[0]", "2MB", 4 * MIB),
        ({"network": {"classID": 0x100001}}, "net_cls", "network.classID", "classid", 0x100001),
        ({"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "net_prio", "network.priorities", "map", "lo 5"),
        ({"rdma": {"mlx5_0": {"hcaHandles": 2, "hcaObjects": 3}}}, "rdma", "rdma", "max", "mlx5_0 hca_handle=2"),
    ],
)
def test_controllers_that_few_hosts_have(
    runtime: Runtime, resources: dict[str, Any], controller: str, field: str, file: str, value: object
) -> None:
    """They show the limit inside, or the field is refused: for want of the controller, or of a device."""
    files = {
        "2MB": {"hugetlb.2MB.limit_in_bytes": "", "hugetlb.2MB.max": ""},
        "classid": {"net_cls.classid": ""},
        "map": {"net_prio.ifpriomap": ""},
        "max": {"rdma.max": ""},
    }[file]
    if controller not in facts().controllers:
        runtime.configure(looking(resources))
        message = runtime.create("one", fails=1)
        assert f"linux.resources.{field}" in message
        assert controller in message or "cgroup v2" in message
        return
    names = [name for name in in_files(controller, files, files) if not name.endswith("in_bytes") or "/" in name]
    runtime.configure(looking(resources, *names))
    done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=None)
    if done.returncode:
        assert f"linux.resources.{field}" in done.stderr
    else:
        assert str(value) in done.stdout
