"""The container configuration of the OCI runtime-spec 1.3, for Linux (config.md, config-linux.md).

A configuration is the middle level between manifests and launch plans. It stays the plain dict that its JSON is,
so nothing is lost when it is handed to another runtime; here it is only checked, every fault with its path.

What the text requires is required, with two exceptions that every engine relies on: `user.uid` and `user.gid`, and
`ioPriority.priority`, may be left out and are 0. Unknown properties are ignored, as the text demands, and null is
the same as absent, as it is to the runtimes written in Go. Sections for other platforms are not looked into.
"""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError, quoted
from appc.schema.json import loads
from appc.schema.kinds import Faults, Struct, anything, boolean, choice, integer, list_of, map_of, prefixed, string
from appc.schema.oci_resources import RESOURCES, cpu_list
from appc.schema.oci_seccomp import SECCOMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The version of the runtime-spec that configurations made here follow.
OCI_VERSION = "1.3.0"
# What nearly every configuration says; judging others takes the module that knows versions.
_RELEASED = ("1.0.0", "1.0.1", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.0", "1.2.1", OCI_VERSION)

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
RLIMITS = prefixed(
    "RLIMIT_", "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
)
POLICIES = prefixed("SCHED_", "OTHER FIFO RR BATCH ISO IDLE DEADLINE")
SCHEDULER_FLAGS = prefixed(
    "SCHED_FLAG_", "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX"
)
MEMORY_MODES = prefixed("MPOL_", "DEFAULT BIND INTERLEAVE WEIGHTED_INTERLEAVE PREFERRED PREFERRED_MANY LOCAL")
MEMORY_FLAGS = prefixed("MPOL_F_", "NUMA_BALANCING RELATIVE_NODES STATIC_NODES")
# The forms with r are not in the text, but engines write them and runtimes take them.
PROPAGATIONS = ("private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable", "")

_int32 = integer(-(1 << 31), (1 << 31) - 1)
_int64 = integer(-(1 << 63), (1 << 63) - 1)
_uint32 = integer(0, (1 << 32) - 1)
_uint64 = integer(0, (1 << 64) - 1)


def text(value: Any, faults: Faults) -> str:
    """A string the kernel can take: without NUL."""
    if "\0" in string(value, faults):
        raise InvalidValue("must not hold a NUL character")
    return str(value)


def absolute(value: Any, faults: Faults) -> str:
    """A path that begins with a slash."""
    if not text(value, faults).startswith("/"):
        raise InvalidValue(f"must be an absolute path, not {quoted(value)}")
    return str(value)


def some_path(value: Any, faults: Faults) -> str:
    """A path, absolute or not, but not empty."""
    if not text(value, faults):
        raise InvalidValue("must not be empty")
    return str(value)


def _version(value: Any, faults: Faults) -> str:
    if value in _RELEASED:
        return str(value)
    from appc.values import SemVer

    version = SemVer.parse(string(value, faults), True)
    if version.major > SemVer(OCI_VERSION).major:
        raise InvalidValue(f"{version} is a later major version than {OCI_VERSION}, which this appc implements")
    return version


def _arguments(value: Any, faults: Faults) -> Any:
    arguments = _texts(value, faults)
    if not arguments:
        raise InvalidValue("must hold at least the program's name")
    return arguments


def _variable(value: Any, faults: Faults) -> str:
    variable = text(value, faults)
    if "=" not in variable[1:]:
        raise InvalidValue(f"must be NAME=VALUE, not {quoted(variable)}")
    return variable


def _no_newline(value: Any, faults: Faults) -> str:
    if "\n" in string(value, faults):
        raise InvalidValue("must not hold a newline")
    return str(value)


def _bandwidth_schema(value: Any, faults: Faults) -> str:
    if not _no_newline(value, faults).startswith("MB:"):
        raise InvalidValue(f"must begin with MB:, not {quoted(value)}")
    return str(value)


def _interface(value: Any, faults: Faults) -> str:
    name = text(value, faults)
    if (
        len(name.encode()) > 15
        or "/" in name
        or ":" in name
        or name in (".", "..")
        or name.split() != [name] * bool(name)
    ):
        raise InvalidValue(f"{quoted(name)} cannot be the name of a network device")
    return name


def _annotations(value: Any, faults: Faults) -> Any:
    annotations = map_of(string)(value, faults)
    if "" in annotations:
        raise InvalidValue("must not have an empty key")
    return annotations


def _unique_types(what: str, items: Any, faults: Faults) -> None:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        kind = item.get("type") if item is not None else None
        if not isinstance(kind, str):
            continue
        if kind in seen:
            faults.add(f"is the second {what} of type {quoted(kind)}; the first is [{seen[kind]}]", f"[{index}].type")
        seen.setdefault(kind, index)


def _rlimits(items: tuple[Any, ...], faults: Faults) -> tuple[Any, ...]:
    _unique_types("limit", items, faults)
    return items


def _namespaces(items: tuple[Any, ...], faults: Faults) -> tuple[Any, ...]:
    _unique_types("namespace", items, faults)
    return items


def _check_rlimit(limit: dict[str, Any], faults: Faults) -> None:
    if limit["soft"] > limit["hard"]:
        faults.add(f"{limit['soft']} is above the hard limit of {limit['hard']}", "soft")


def _check_mount(mount: dict[str, Any], faults: Faults) -> None:
    for own, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if mount.get(own) and not mount.get(other):
            faults.add(f"is required beside {own}", other)


def _check_scheduler(scheduler: dict[str, Any], faults: Faults) -> None:
    """Which values mean something under which policy, and their ranges (sched(7))."""
    policy = scheduler["policy"]
    real_time = policy in ("SCHED_FIFO", "SCHED_RR")
    if not -20 <= (scheduler.get("nice") or 0) <= 19:
        faults.add("must be from -20 to 19", "nice")
    if real_time and not 1 <= (scheduler.get("priority") or 0) <= 99:
        faults.add(f"must be from 1 to 99 under {policy}", "priority")
    if not real_time and scheduler.get("priority"):
        faults.add(f"has no meaning under {policy}", "priority")
    times = [scheduler.get(name) or 0 for name in ("runtime", "deadline", "period")]
    if policy != "SCHED_DEADLINE":
        for name, value in zip(("runtime", "deadline", "period"), times, strict=True):
            if value:
                faults.add(f"has no meaning under {policy}", name)
    elif not 0 < times[0] <= times[1] <= (times[2] or times[1]):
        faults.add("must be above 0 and not above the deadline, nor that above the period", "runtime")


def _check_memory_policy(policy: dict[str, Any], faults: Faults) -> None:
    without_nodes = policy["mode"] in ("MPOL_DEFAULT", "MPOL_LOCAL")
    if without_nodes and policy.get("nodes"):
        faults.add(f"has no meaning with {policy['mode']}", "nodes")
    if not without_nodes and policy["mode"] != "MPOL_PREFERRED" and not (policy.get("nodes") or "").strip():
        faults.add(f"is required with {policy['mode']}", "nodes")


def _check_device(device: dict[str, Any], faults: Faults) -> None:
    if device["type"] != "p":
        for key in ("major", "minor"):
            if device.get(key) is None:
                faults.add(f"is required for a device of type {device['type']}", key)


def _check_linux_mappings(config: dict[str, Any], faults: Faults) -> None:
    linux = config.get("linux") or {}
    if linux.get("uidMappings") or any(n["type"] == "user" and n.get("path") for n in linux.get("namespaces") or ()):
        return
    for index, mount in enumerate(config.get("mounts") or ()):
        options = mount.get("options") or ()
        if ("idmap" in options or "ridmap" in options) and not mount.get("uidMappings"):
            faults.add("idmap needs mappings: in the mount, or of a user namespace", f"mounts[{index}].options")


_texts = list_of(text)
_strings = list_of(string)
_environment = list_of(_variable)

ID_MAPPINGS = list_of(
    Struct(
        {"containerID": _uint32, "hostID": _uint32, "size": _uint32},
        required=("containerID", "hostID", "size"),
    )
)

ROOT = Struct({"path": some_path, "readonly": boolean}, required=("path",))

MOUNT = Struct(
    {
        "destination": some_path,
        "source": text,
        "type": text,
        "options": _texts,
        "uidMappings": ID_MAPPINGS,
        "gidMappings": ID_MAPPINGS,
    },
    required=("destination",),
    check=_check_mount,
)

HOOK = Struct(
    {"path": absolute, "args": _texts, "env": _environment, "timeout": integer(1, (1 << 63) - 1)},
    required=("path",),
)

SCHEDULER = Struct(
    {
        "policy": choice(*POLICIES),
        "nice": _int32,
        "priority": _int32,
        "flags": list_of(choice(*SCHEDULER_FLAGS)),
        "runtime": _uint64,
        "deadline": _uint64,
        "period": _uint64,
    },
    required=("policy",),
    check=_check_scheduler,
)

PROCESS = Struct(
    {
        "terminal": boolean,
        "consoleSize": Struct({"height": _uint64, "width": _uint64}, required=("height", "width")),
        "cwd": absolute,
        "env": _environment,
        "args": _arguments,
        "user": Struct({"uid": _uint32, "gid": _uint32, "umask": _uint32, "additionalGids": list_of(_uint32)}),
        "rlimits": list_of(
            Struct(
                {"type": choice(*RLIMITS), "soft": _uint64, "hard": _uint64},
                required=("type", "soft", "hard"),
                check=_check_rlimit,
            ),
            _rlimits,
        ),
        "apparmorProfile": text,
        "capabilities": Struct(dict.fromkeys(CAPABILITY_SETS, _strings)),
        "noNewPrivileges": boolean,
        "oomScoreAdj": integer(-1000, 1000),
        "scheduler": SCHEDULER,
        "selinuxLabel": text,
        "ioPriority": Struct(
            {
                "class": choice("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"),
                "priority": integer(0, 7),
            },
            required=("class",),
        ),
        "execCPUAffinity": Struct({"initial": cpu_list, "final": cpu_list}),
    },
    required=("cwd", "args"),
)

DEVICE = Struct(
    {
        "type": choice("c", "b", "u", "p"),
        "path": absolute,
        "major": _int64,
        "minor": _int64,
        "fileMode": _uint32,
        "uid": _uint32,
        "gid": _uint32,
    },
    required=("type", "path"),
    check=_check_device,
)

_OFFSET = Struct({"secs": _int64, "nanosecs": _uint32})

LINUX = Struct(
    {
        "namespaces": list_of(
            Struct({"type": choice(*NAMESPACES), "path": absolute}, required=("type",)),
            _namespaces,
        ),
        "uidMappings": ID_MAPPINGS,
        "gidMappings": ID_MAPPINGS,
        "timeOffsets": Struct({"boottime": _OFFSET, "monotonic": _OFFSET}),
        "devices": list_of(DEVICE),
        "netDevices": map_of(Struct({"name": _interface})),
        "cgroupsPath": text,
        "resources": RESOURCES,
        "intelRdt": Struct(
            {
                "closID": text,
                "schemata": list_of(_no_newline),
                "l3CacheSchema": string,
                "memBwSchema": _bandwidth_schema,
                "enableMonitoring": boolean,
            }
        ),
        "memoryPolicy": Struct(
            {
                "mode": choice(*MEMORY_MODES),
                "nodes": cpu_list,
                "flags": list_of(choice(*MEMORY_FLAGS)),
            },
            required=("mode",),
            check=_check_memory_policy,
        ),
        "sysctl": map_of(text),
        "seccomp": SECCOMP,
        "rootfsPropagation": choice(*PROPAGATIONS),
        "maskedPaths": list_of(absolute),
        "readonlyPaths": list_of(absolute),
        "mountLabel": text,
        "personality": Struct({"domain": choice("LINUX", "LINUX32"), "flags": _strings}, required=("domain",)),
    }
)

CONFIG = Struct(
    {
        "ociVersion": _version,
        "root": ROOT,
        "mounts": list_of(MOUNT),
        "process": PROCESS,
        "hostname": text,
        "domainname": text,
        "hooks": Struct(dict.fromkeys(HOOKS, list_of(HOOK))),
        "annotations": _annotations,
        "linux": LINUX,
        "vm": anything,
    },
    required=("ociVersion", "root"),
    check=_check_linux_mappings,
)


def validate(config: Any) -> list[tuple[str, str]]:
    """All faults of a configuration as (path, message); empty when it is sound.

    `process` may be absent, as the text allows until the container is started.
    """
    faults = Faults()
    try:
        CONFIG(config, faults)
    except InvalidValue as error:
        faults.add("the configuration " + error.what)
    return list(faults)


def parse(data: bytes | str, where: str = "config.json") -> dict[str, Any]:
    """The configuration in `data`, checked. Raises ManifestError with all faults; `where` names it in the message."""
    try:
        config = loads(data)
        faults = Faults()
        faults.extend(validate(config))
        faults.check()
    except ManifestError as error:
        raise ManifestError(list(error.faults), where) from None
    checked: dict[str, Any] = config
    return checked
