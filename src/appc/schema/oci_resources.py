"""`linux.resources` of an OCI configuration: limits by control groups (config-linux.md, "Control groups")."""

from __future__ import annotations

from appc.errors import InvalidValue, quoted
from appc.schema.kinds import Faults, Struct, boolean, choice, integer, list_of, map_of, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_int64 = integer(-(1 << 63), (1 << 63) - 1)
_uint16 = integer(0, (1 << 16) - 1)
_uint32 = integer(0, (1 << 32) - 1)
_uint64 = integer(0, (1 << 64) - 1)


def cpu_list(value: Any, faults: Faults) -> str:
    """Numbers and ranges with commas, as in `0-3,7`; empty is none."""
    listed = string(value, faults)
    for part in listed.replace(" ", "").split(",") if listed.strip() else ():
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first,)
        if any(not end or end.strip("0123456789") for end in ends) or len(part) > 20:
            raise InvalidValue(f"must be a list such as 0-3,7, not {quoted(listed)}")
        if dash and int(first) > int(last):
            raise InvalidValue(f"the range {part} runs backwards")
    return listed


def _access(value: Any, faults: Faults) -> str:
    if string(value, faults).strip("rwm"):
        raise InvalidValue(f"must be made of r, w and m, not {quoted(value)}")
    return str(value)


def _page_size(value: Any, faults: Faults) -> str:
    size = string(value, faults)
    if size[-2:] not in ("KB", "MB", "GB") or not size[:-2] or size[:-2].strip("0123456789") or size[0] == "0":
        raise InvalidValue(f"must be a size such as 64KB, 2MB or 1GB, not {quoted(size)}")
    return size


def _file_name(value: Any, faults: Faults) -> str:
    """The content of a cgroup v2 file."""
    if "\0" in string(value, faults):
        raise InvalidValue("must not hold a NUL character")
    return str(value)


def _unified(value: Any, faults: Faults) -> Any:
    files = map_of(_file_name)(value, faults)
    for name in files:
        # The key becomes a path below the cgroup's directory.
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            faults.add("is not the name of a cgroup file", f"[{quoted(name)}]")
    return files


def _check_cpu(cpu: dict[str, Any], faults: Faults) -> None:
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if 0 < quota < burst:
        faults.add(f"{burst} is more than the quota of {quota}", "burst")


def _check_weight(device: dict[str, Any], faults: Faults) -> None:
    if device.get("weight") is None and device.get("leafWeight") is None:
        faults.add("weight or leafWeight is required")


def _check_rdma(limits: dict[str, Any], faults: Faults) -> None:
    if limits.get("hcaHandles") is None and limits.get("hcaObjects") is None:
        faults.add("hcaHandles or hcaObjects is required")


_THROTTLE = list_of(Struct({"major": _int64, "minor": _int64, "rate": _uint64}, required=("major", "minor", "rate")))

MEMORY = Struct(
    {
        "limit": _int64,
        "reservation": _int64,
        "swap": _int64,
        "kernel": _int64,
        "kernelTCP": _int64,
        "swappiness": _uint64,
        "disableOOMKiller": boolean,
        "useHierarchy": boolean,
        "checkBeforeUpdate": boolean,
    }
)

CPU = Struct(
    {
        "shares": _uint64,
        "quota": _int64,
        "burst": _uint64,
        "period": _uint64,
        "realtimeRuntime": _int64,
        "realtimePeriod": _uint64,
        "cpus": cpu_list,
        "mems": cpu_list,
        "idle": _int64,
    },
    check=_check_cpu,
)

BLOCK_IO = Struct(
    {
        "weight": _uint16,
        "leafWeight": _uint16,
        "weightDevice": list_of(
            Struct(
                {"major": _int64, "minor": _int64, "weight": _uint16, "leafWeight": _uint16},
                required=("major", "minor"),
                check=_check_weight,
            )
        ),
        "throttleReadBpsDevice": _THROTTLE,
        "throttleWriteBpsDevice": _THROTTLE,
        "throttleReadIOPSDevice": _THROTTLE,
        "throttleWriteIOPSDevice": _THROTTLE,
    }
)

RESOURCES = Struct(
    {
        "devices": list_of(
            Struct(
                # An empty type is what engines written in Go write for "all".
                {
                    "allow": boolean,
                    "type": choice("a", "c", "b", ""),
                    "major": _int64,
                    "minor": _int64,
                    "access": _access,
                },
                required=("allow",),
            )
        ),
        "memory": MEMORY,
        "cpu": CPU,
        "blockIO": BLOCK_IO,
        "hugepageLimits": list_of(Struct({"pageSize": _page_size, "limit": _uint64}, required=("pageSize", "limit"))),
        "network": Struct(
            {
                "classID": _uint32,
                "priorities": list_of(Struct({"name": string, "priority": _uint32}, required=("name", "priority"))),
            }
        ),
        "pids": Struct({"limit": _int64}),
        "rdma": map_of(Struct({"hcaHandles": _uint32, "hcaObjects": _uint32}, check=_check_rdma)),
        "unified": _unified,
    }
)
