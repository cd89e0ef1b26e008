"""OCI configurations: what the runtime-spec's text requires is required, what it does not know is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import ManifestError
from appc.schema.json import dumps, loads
from appc.schema.oci_runtime import CAPABILITY_SETS, HOOKS, NAMESPACES, parse, validate

MAPPING = {"containerID": 0, "hostID": 1000, "size": 32000}
HOOK = {"path": "/usr/bin/hook", "args": ["hook", "-v"], "env": ["A=b"], "timeout": 5}
THROTTLE = {"major": 8, "minor": 0, "rate": 600}

FULL = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "slartibartfast",
    "domainname": "example.com",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "source": "/volumes/testing", "options": ["rbind", "rw"]},
        {
            "destination": "data2",
            "source": "x",
            "options": ["bind", "idmap"],
            "uidMappings": [MAPPING],
            "gidMappings": [MAPPING],
        },
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 1, "umask": 63, "additionalGids": [5, 6]},
        "args": ["sh", ""],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/",
        "capabilities": {name: ["CAP_KILL"] for name in CAPABILITY_SETS},
        "rlimits": [
            {"type": "RLIMIT_CORE", "hard": 1024, "soft": 1024},
            {"type": "RLIMIT_NOFILE", "hard": 2**64 - 1, "soft": 5},
        ],
        "apparmorProfile": "acme",
        "oomScoreAdj": -100,
        "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0:c124,c675",
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": -5,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 1,
            "deadline": 2,
            "period": 3,
        },
        "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
        "noNewPrivileges": True,
    },
    "hooks": {name: [HOOK] for name in HOOKS},
    "annotations": {"com.example.key1": "value1", "key2": ""},
    "linux": {
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 8630, "uid": 0, "gid": 0},
            {"path": "/dev/pipe", "type": "p"},
        ],
        "netDevices": {"eth0": {"name": "container%d"}, "eth1": {}},
        "uidMappings": [MAPPING],
        "gidMappings": [MAPPING],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "cgroupsPath": "/myRuntime/myContainer",
        "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 1}, "boottime": {"secs": 5}},
        "resources": {
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "pids": {"limit": 0},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854772000}],
            "memory": {
                "limit": 536870912,
                "reservation": 536870912,
                "swap": -1,
                "kernel": -1,
                "kernelTCP": -1,
                "swappiness": 0,
                "disableOOMKiller": False,
                "useHierarchy": False,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 1000000,
                "burst": 1000000,
                "period": 500000,
                "realtimeRuntime": 950000,
                "realtimePeriod": 1000000,
                "cpus": "2-3",
                "mems": "0-7, 9",
                "idle": 0,
            },
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": True, "type": "a", "major": -1, "minor": -1, "access": ""},
            ],
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500}, {"major": 8, "minor": 16, "leafWeight": 3}],
                "throttleReadBpsDevice": [THROTTLE],
                "throttleWriteBpsDevice": [THROTTLE],
                "throttleReadIOPSDevice": [THROTTLE],
                "throttleWriteIOPSDevice": [THROTTLE],
            },
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "1G", "io.max": "8:0 rbps=2097152\n"},
        },
        "rootfsPropagation": "slave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/listener",
            "listenerMetadata": "x",
            "syscalls": [
                {"names": ["getcwd"], "action": "SCMP_ACT_ALLOW", "args": []},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_TRACE",
                    "errnoRet": 38,
                    "args": [{"index": 0, "value": 2**63, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
        },
        "namespaces": [
            {"type": "pid"},
            {"type": "network", "path": "/run/netns/x"},
            *({"type": name} for name in NAMESPACES[2:]),
        ],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811",
        "intelRdt": {
            "closID": "guaranteed_group",
            "l3CacheSchema": "L3:0=7f0;1=1f",
            "memBwSchema": "MB:0=20;1=70",
            "schemata": ["MB:0=20"],
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32", "flags": []},
    },
}


def test_everything_the_text_describes_is_accepted():
    assert validate(FULL) == []
    assert parse(dumps(FULL)) == FULL


def test_the_smallest_configuration():
    assert validate({"ociVersion": "1.0.2-dev", "root": {"path": "rootfs"}}) == []


def test_unknown_properties_and_null_are_ignored():
    config = loads(dumps(FULL))
    config["future"] = {"a": [None]}
    config["linux"]["future"] = config["process"]["user"]["username"] = 5
    config["hooks"] = config["linux"]["devices"] = config["process"]["rlimits"] = None
    config["Process"] = "keys are compared exactly"
    assert validate(config) == []


def changed(path, value):
    """FULL with the value at `path` (keys and indices) replaced, or removed if `value` is `...`."""
    config = loads(dumps(FULL))
    at = config
    *parents, last = path
    for step in parents:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return config


def shown(path):
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


P, L, R = "process", "linux", ("linux", "resources")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ociVersion",), ...),
        (("ociVersion",), "1.3"),
        (("ociVersion",), "v1.3.0"),
        (("ociVersion",), "2.0.0"),
        (("ociVersion",), 1),
        (("root",), ...),
        (("root",), []),
        (("root", "path"), ...),
        (("root", "path"), ""),
        (("root", "readonly"), "true"),
        (("mounts",), {}),
        (("mounts", 0, "destination"), ...),
        (("mounts", 0, "destination"), ""),
        (("mounts", 0, "source"), "a\0b"),
        (("mounts", 1, "options"), "rbind"),
        (("mounts", 2, "uidMappings", 0, "size"), ...),
        (("mounts", 2, "uidMappings", 0, "hostID"), -1),
        (("hostname",), 5),
        (("domainname",), "a\0"),
        ((P, "cwd"), ...),
        ((P, "cwd"), "relative"),
        ((P, "args"), ...),
        ((P, "args"), []),
        ((P, "args", 1), "a\0"),
        ((P, "env", 0), "NOEQUALS"),
        ((P, "env", 0), "=x"),
        ((P, "env", 0), 5),
        ((P, "terminal"), 1),
        ((P, "consoleSize", "width"), ...),
        ((P, "user", "uid"), -1),
        ((P, "user", "gid"), 2**32),
        ((P, "user", "additionalGids", 0), "5"),
        ((P, "capabilities", "ambient"), "CAP_KILL"),
        ((P, "rlimits", 0, "type"), "RLIMIT_PONIES"),
        ((P, "rlimits", 0, "hard"), ...),
        ((P, "rlimits", 0, "soft"), 5000),
        ((P, "rlimits", 1, "type"), "RLIMIT_CORE"),
        ((P, "oomScoreAdj"), 1001),
        ((P, "ioPriority", "class"), "IOPRIO_CLASS_NONE"),
        ((P, "ioPriority", "class"), ...),
        ((P, "ioPriority", "priority"), 8),
        ((P, "scheduler", "policy"), ...),
        ((P, "scheduler", "policy"), "SCHED_CHAOS"),
        ((P, "scheduler", "flags", 0), "x"),
        ((P, "scheduler", "nice"), 20),
        ((P, "scheduler", "priority"), 1),
        ((P, "scheduler", "runtime"), 3),
        ((P, "execCPUAffinity", "initial"), "x"),
        (("hooks", "poststop", 0, "path"), "bin/hook"),
        (("hooks", "poststop", 0, "path"), ...),
        (("hooks", "prestart", 0, "timeout"), 0),
        (("annotations",), {"": "x"}),
        (("annotations",), []),
        ((L, "namespaces", 0, "type"), "net"),
        ((L, "namespaces", 0, "type"), ...),
        ((L, "namespaces", 1, "path"), "run/netns"),
        ((L, "uidMappings", 0, "containerID"), ...),
        ((L, "devices", 0, "major"), ...),
        ((L, "devices", 0, "type"), "x"),
        ((L, "devices", 0, "path"), "dev/fuse"),
        ((L, "devices", 1, "path"), ...),
        ((L, "sysctl"), ["a"]),
        ((L, "timeOffsets", "monotonic", "nanosecs"), -1),
        ((L, "rootfsPropagation"), "public"),
        ((L, "maskedPaths", 0), "proc/kcore"),
        ((L, "readonlyPaths", 0), ""),
        ((L, "intelRdt", "memBwSchema"), "L3:0"),
        ((L, "intelRdt", "schemata", 0), "a\nb"),
        ((L, "memoryPolicy", "mode"), ...),
        ((L, "memoryPolicy", "nodes"), "3-1"),
        ((L, "memoryPolicy", "nodes"), ...),
        ((L, "personality", "domain"), ...),
        ((*R, "pids", "limit"), "5"),
        ((*R, "memory", "limit"), 2**63),
        ((*R, "memory", "disableOOMKiller"), 0),
        ((*R, "cpu", "burst"), 2000000),
        ((*R, "cpu", "cpus"), "0-"),
        ((*R, "cpu", "shares"), 1.5),
        ((*R, "devices", 0, "allow"), ...),
        ((*R, "devices", 0, "access"), "rwx"),
        ((*R, "devices", 1, "type"), "d"),
        ((*R, "blockIO", "weight"), 65536),
        ((*R, "blockIO", "throttleReadBpsDevice", 0, "rate"), ...),
        ((*R, "hugepageLimits", 0, "pageSize"), "64kB"),
        ((*R, "hugepageLimits", 0, "limit"), ...),
        ((*R, "network", "priorities", 0, "priority"), ...),
        ((L, "seccomp", "defaultAction"), ...),
        ((L, "seccomp", "defaultAction"), "SCMP_ACT_PANIC"),
        ((L, "seccomp", "architectures", 0), "x86"),
        ((L, "seccomp", "flags", 0), "SECCOMP_FILTER_FLAG_NEW"),
        ((L, "seccomp", "syscalls", 0, "names"), []),
        ((L, "seccomp", "syscalls", 0, "names"), ...),
        ((L, "seccomp", "syscalls", 0, "action"), ...),
        ((L, "seccomp", "syscalls", 0, "errnoRet"), 1),
        ((L, "seccomp", "syscalls", 1, "args", 0, "op"), ...),
        ((L, "seccomp", "syscalls", 1, "args", 0, "index"), 6),
    ],
)
def test_refused_at_its_path(path, value):
    assert [at for at, _ in validate(changed(path, value))] == [shown(path)]


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        (("mounts", 2, "uidMappings"), ..., "mounts[2].uidMappings"),
        (("mounts", 2, "gidMappings"), ..., "mounts[2].gidMappings"),
        ((L, "namespaces", 0, "type"), "network", "linux.namespaces[1].type"),
        ((*R, "unified"), {"../evil": "1"}, 'linux.resources.unified["../evil"]'),
        ((*R, "unified"), {"": "1"}, 'linux.resources.unified[""]'),
        ((*R, "unified"), {"a": 1}, 'linux.resources.unified["a"]'),
        ((*R, "rdma"), {"mlx": {}}, 'linux.resources.rdma["mlx"]'),
        ((*R, "blockIO", "weightDevice"), [{"major": 8, "minor": 0}], "linux.resources.blockIO.weightDevice[0]"),
        ((L, "netDevices"), {"eth0": {"name": "a/b"}}, 'linux.netDevices["eth0"].name'),
        ((L, "netDevices"), {"eth0": {"name": "x" * 16}}, 'linux.netDevices["eth0"].name'),
        ((L, "sysctl"), {"a": 1}, 'linux.sysctl["a"]'),
        (("annotations",), {"a": None}, 'annotations["a"]'),
        ((L, "seccomp", "listenerPath"), ..., "linux.seccomp.listenerMetadata"),
        ((L, "seccomp", "defaultAction"), "SCMP_ACT_KILL", "linux.seccomp.defaultErrnoRet"),
        ((P, "scheduler"), {"policy": "SCHED_FIFO"}, "process.scheduler.priority"),
        ((P, "scheduler"), {"policy": "SCHED_RR", "priority": 100}, "process.scheduler.priority"),
        ((P, "scheduler"), {"policy": "SCHED_BATCH", "deadline": 1}, "process.scheduler.deadline"),
        ((L, "memoryPolicy"), {"mode": "MPOL_LOCAL", "nodes": "0"}, "linux.memoryPolicy.nodes"),
        (
            (L, "seccomp"),
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}]},
            "linux.seccomp.syscalls[0].action",
        ),
        ((L, "seccomp"), {"defaultAction": "SCMP_ACT_NOTIFY"}, "linux.seccomp.defaultAction"),
    ],
)
def test_refused_in_maps_and_pairs(path, value, at):
    assert [found for found, _ in validate(changed(path, value))] == [at]


def test_idmap_needs_a_mapping_from_somewhere():
    config = loads(dumps(FULL))
    config["mounts"][1]["options"].append("ridmap")
    assert validate(config) == []
    del config["linux"]["uidMappings"]
    assert [path for path, _ in validate(config)] == ["mounts[1].options"]
    next(n for n in config["linux"]["namespaces"] if n["type"] == "user")["path"] = "/proc/1/ns/user"
    assert validate(config) == []


def test_all_faults_are_found():
    config = changed(("process", "cwd"), "x")
    config["root"] = {}
    config["linux"]["namespaces"][3] = {"type": "x"}
    config["linux"]["resources"]["cpu"]["quota"] = "much"
    assert sorted(path for path, _ in validate(config)) == [
        "linux.namespaces[3].type",
        "linux.resources.cpu.quota",
        "process.cwd",
        "root.path",
    ]


def test_parse_names_the_file_on_every_line():
    with pytest.raises(ManifestError) as caught:
        parse(b'{"root": {}}')
    assert str(caught.value) == "config.json: root.path: is required\nconfig.json: ociVersion: is required"
    with pytest.raises(ManifestError, match=r"^/b/config.json: line 1, column 1: "):
        parse(b"", where="/b/config.json")


@given(
    st.sampled_from([(p, k) for p in FULL for k in (FULL[p] if isinstance(FULL[p], dict) else [])]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_anywhere_is_at_most_a_fault(path, value):
    for at, message in validate(changed(path, value)):
        assert isinstance(at, str)
        assert message


@pytest.mark.parametrize("value", [None, [], "x", 5, True])
def test_a_configuration_is_an_object(value):
    assert [path for path, _ in validate(value)] == [""]
