"""OCI resources become the control files and values that mean them (runtime-spec config-linux.md)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.host.limits import Setting, settings, weight_of_shares
from appc.host.limits_rare import io_weight_of_blkio

NAMES_V1 = ("memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma")
V1 = dict.fromkeys(NAMES_V1, 1)
V2 = {**dict.fromkeys(("memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma"), 2), "": 2}
GIB = 1 << 30


def writes(resources: dict[str, Any], versions: dict[str, int]) -> list[tuple[str, str]]:
    """The (file, value) of every write, in order; the first choice where there are several."""
    return [setting.choices[0] for setting in settings(resources, versions) if setting.choices]


def only(resources: dict[str, Any], versions: dict[str, int]) -> Setting:
    (setting,) = settings(resources, versions)
    return setting


@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        (
            {"memory": {"limit": GIB, "reservation": GIB // 2, "swap": 3 * GIB // 2}},
            [
                ("memory.limit_in_bytes", str(GIB)),
                ("memory.soft_limit_in_bytes", str(GIB // 2)),
                ("memory.memsw.limit_in_bytes", str(3 * GIB // 2)),
            ],
            [("memory.max", str(GIB)), ("memory.low", str(GIB // 2)), ("memory.swap.max", str(GIB // 2))],
        ),
        (
            {"memory": {"limit": -1}},
            [("memory.limit_in_bytes", "-1")],
            [("memory.max", "max"), ("memory.swap.max", "max")],
        ),
        (
            {"memory": {"limit": GIB, "swap": -1}},
            [("memory.limit_in_bytes", str(GIB)), ("memory.memsw.limit_in_bytes", "-1")],
            [("memory.max", str(GIB)), ("memory.swap.max", "max")],
        ),
        ({"memory": {"limit": GIB, "swap": GIB}}, None, [("memory.max", str(GIB)), ("memory.swap.max", "0")]),
        ({"memory": {"limit": 0, "reservation": 0, "swap": 0}}, [], []),
        ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")], []),
        ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")], []),
        ({"cpu": {"shares": 1024}}, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
        (
            {"cpu": {"quota": 50000, "period": 200000, "burst": 10000}},
            [("cpu.cfs_period_us", "200000"), ("cpu.cfs_quota_us", "50000"), ("cpu.cfs_burst_us", "10000")],
            [("cpu.max", "50000 200000"), ("cpu.max.burst", "10000")],
        ),
        ({"cpu": {"quota": 50000}}, [("cpu.cfs_quota_us", "50000")], [("cpu.max", "50000 100000")]),
        ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max 100000")]),
        ({"cpu": {"period": 50000}}, [("cpu.cfs_period_us", "50000")], [("cpu.max", "max 50000")]),
        ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}, [], []),
        ({"cpu": {"idle": 0}}, [("cpu.idle", "0")], [("cpu.idle", "0")]),
        (
            {"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 950000}},
            [("cpu.rt_period_us", "1000000"), ("cpu.rt_runtime_us", "950000")],
            [],
        ),
        (
            {"cpu": {"cpus": "0-3,7", "mems": "0"}},
            [("cpuset.cpus", "0-3,7"), ("cpuset.mems", "0")],
            [("cpuset.cpus", "0-3,7"), ("cpuset.mems", "0")],
        ),
        ({"pids": {"limit": 100}}, [("pids.max", "100")], [("pids.max", "100")]),
        ({"pids": {"limit": 0}}, [("pids.max", "0")], [("pids.max", "0")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
        ({"blockIO": {"weight": 500}}, [("blkio.weight", "500")], [("io.bfq.weight", "500")]),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}]}},
            [("blkio.weight_device", "8:0 500"), ("blkio.leaf_weight_device", "8:0 300")],
            [("io.bfq.weight", "8:0 500")],
        ),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
                }
            },
            [
                ("blkio.throttle.read_bps_device", "8:0 600"),
                ("blkio.throttle.write_iops_device", "8:16 0"),
            ],
            [("io.max", "8:0 rbps=600"), ("io.max", "8:16 wiops=max")],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}]},
            [("hugetlb.2MB.limit_in_bytes", "209715200"), ("hugetlb.2MB.rsvd.limit_in_bytes", "209715200")],
            [("hugetlb.2MB.max", "209715200"), ("hugetlb.2MB.rsvd.max", "209715200")],
        ),
        (
            {"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}},
            [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "eth0 500")],
            [],
        ),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 0}}},
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"), ("rdma.max", "rxe3 hca_object=0")],
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"), ("rdma.max", "rxe3 hca_object=0")],
        ),
        (
            {"unified": {"io.max": "259:0 rbps=2097152\n253:0 wiops=120", "cgroup.max.depth": "3"}},
            [],
            [("io.max", "259:0 rbps=2097152"), ("io.max", "253:0 wiops=120"), ("cgroup.max.depth", "3")],
        ),
    ],
)
def test_a_field_is_written_as_each_version_means_it(
    resources: dict[str, Any], v1: list[tuple[str, str]] | None, v2: list[tuple[str, str]]
) -> None:
    """Each field's file, unit and "unlimited" on v1 and v2; None leaves v1 to another case."""
    if v1 is not None:
        assert writes(resources, V1) == v1
    assert writes(resources, V2) == v2


@pytest.mark.parametrize(
    ("resources", "versions", "reason"),
    [
        ({"memory": {"swappiness": 60}}, V2, "swappiness"),
        ({"memory": {"disableOOMKiller": True}}, V2, "OOM killer"),
        ({"memory": {"kernel": GIB}}, V1, "no limit of its own"),
        ({"memory": {"swap": GIB}}, V1, "needs a memory limit"),
        ({"memory": {"useHierarchy": False}}, V1, "hierarchically"),
        ({"cpu": {"realtimeRuntime": 1}}, V2, "realtime"),
        ({"blockIO": {"leafWeight": 10}}, V2, "leaf weights"),
        ({"network": {"classID": 1}}, V2, "net_cls"),
        ({"pids": {"limit": 5}}, {}, "no usable pids controller"),
        ({"cpu": {"cpus": "0"}}, {}, "no usable cpuset controller"),
        ({"rdma": {"mlx4_0": {"hcaObjects": 1}}}, {}, "no usable rdma controller"),
        ({"unified": {"memory.high": "1"}}, V1, "no cgroup v2 memory controller"),
        ({"unified": {"cgroup.max.depth": "1"}}, V1, "no cgroup v2 controller"),
        ({"unified": {"../memory.high": "1"}}, V2, "not the name of a control file"),
        ({"unified": {"cgroup": "1"}}, V2, "not the name of a control file"),
        ({"novelty": {"limit": 1}}, V2, "not a resource that appc knows"),
    ],
)
def test_what_cannot_be_enforced_is_said_with_its_reason(
    resources: dict[str, Any], versions: dict[str, int], reason: str
) -> None:
    """No field is dropped in silence: it is ignored, and why."""
    setting = only(resources, versions)
    assert setting.status == "ignored"
    assert setting.choices == ()
    assert reason in setting.note
    assert setting.field.split(".")[0] == next(iter(resources))


def test_memory_and_swap_below_memory_is_refused() -> None:
    found = {setting.field: setting for setting in settings({"memory": {"limit": GIB, "swap": GIB - 1}}, V2)}
    assert found["memory.swap"].status == "ignored"
    assert "less than memory" in found["memory.swap"].note
    assert found["memory.limit"].status == "enforced"


def test_a_value_that_is_changed_is_called_modified() -> None:
    """Shares out of range and sizes that are not whole pages are honoured nearly, and it is said how."""
    assert only({"cpu": {"shares": 1}}, V1).choices == (("cpu.shares", "2"),)
    for resources, note in (
        ({"cpu": {"shares": 1 << 20}}, "262144"),
        ({"memory": {"limit": 5000}}, "4096 bytes"),
    ):
        setting = only(resources, V1)
        assert setting.status == "modified"
        assert note in setting.note


def test_an_idle_group_has_no_shares() -> None:
    """cpu.idle makes the kernel refuse a weight, so shares are not tried."""
    found = {setting.field: setting.status for setting in settings({"cpu": {"idle": 1, "shares": 5}}, V2)}
    assert found == {"cpu.idle": "enforced", "cpu.shares": "ignored"}


def test_weights_fall_back_to_the_file_the_kernel_has() -> None:
    """BFQ's file comes first on v2; without it io.weight takes the weight on its own scale."""
    assert only({"blockIO": {"weight": 1000}}, V2).choices == (("io.bfq.weight", "1000"), ("io.weight", "10000"))
    assert only({"blockIO": {"weight": 10}}, V1).choices == (("blkio.weight", "10"), ("blkio.bfq.weight", "10"))


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (1, 1), (2, 1), (256, 35), (512, 59), (1024, 100), (2048, 174), (262144, 10000)]
)
def test_shares_convert_on_the_agreed_curve(shares: int, weight: int) -> None:
    """1024, which everybody gets by default, is v2's default of 100; the ends meet the ends."""
    assert weight_of_shares(shares) == weight


@given(st.integers(0, 1 << 64), st.integers(0, 1 << 64))
def test_more_shares_never_weigh_less(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= weight_of_shares(low) <= weight_of_shares(high) <= 10000


@given(st.integers(10, 1000))
def test_block_weights_stay_in_range(weight: int) -> None:
    assert 1 <= io_weight_of_blkio(weight) <= 10000


def test_nothing_asked_is_nothing_written() -> None:
    """Absent, null and empty sections ask for nothing, and devices are not this module's."""
    assert settings({"memory": None, "cpu": {}, "unified": {}, "devices": [{"allow": False}]}, V2) == []
    assert settings({}, V1) == []
