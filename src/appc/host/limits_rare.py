"""The sections of OCI `linux.resources` that few containers have, as `limits` translates the others."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from appc.host.limits import Translation


def io_weight_of_blkio(weight: int) -> int:
    """Convert blkio.weight (10…1000) linearly to io.weight (1…10000)."""
    return 1 + (weight - 10) * 9999 // 990


def _block_io(to: Translation, block: Mapping[str, Any]) -> None:
    fields = [f"blockIO.{name}" for name, value in block.items() if value]
    controller = "blkio" if to.versions.get("blkio") else "io"
    version = to.version(controller, fields) if fields else 0
    if not version:
        return
    if weight := block.get("weight"):
        to.choose("blockIO.weight", controller, _weight_choices(version, "", weight))
    for number, device in enumerate(block.get("weightDevice") or ()):
        field = f"blockIO.weightDevice[{number}]"
        prefix = f"{device['major']}:{device['minor']} "
        if weight := device.get("weight"):
            to.choose(f"{field}.weight", controller, _weight_choices(version, prefix, weight))
        if weight := device.get("leafWeight"):
            _leaf_weight(to, version, f"{field}.leafWeight", "blkio.leaf_weight_device", f"{prefix}{weight}")
    if weight := block.get("leafWeight"):
        _leaf_weight(to, version, "blockIO.leafWeight", "blkio.leaf_weight", weight)
    for name, v1_file, v2_key in (
        ("throttleReadBpsDevice", "read_bps", "rbps"),
        ("throttleWriteBpsDevice", "write_bps", "wbps"),
        ("throttleReadIOPSDevice", "read_iops", "riops"),
        ("throttleWriteIOPSDevice", "write_iops", "wiops"),
    ):
        for number, device in enumerate(block.get(name) or ()):
            field = f"blockIO.{name}[{number}]"
            where = f"{device['major']}:{device['minor']}"
            if version == 1:
                to.put(field, controller, f"blkio.throttle.{v1_file}_device", f"{where} {device['rate']}")
            else:
                # A rate of 0 lifts the limit on v1.
                to.put(field, controller, "io.max", f"{where} {v2_key}={device['rate'] or 'max'}")


def _weight_choices(version: int, prefix: str, weight: int) -> tuple[tuple[str, str], ...]:
    suffix = "_device" if prefix else ""
    if version == 1:
        files = (f"blkio.weight{suffix}", f"blkio.bfq.weight{suffix}")
        return tuple((file, f"{prefix}{weight}") for file in files)
    return (("io.bfq.weight", f"{prefix}{weight}"), ("io.weight", f"{prefix}{io_weight_of_blkio(weight)}"))


def _leaf_weight(to: Translation, version: int, field: str, file: str, value: object) -> None:
    if version == 1:
        to.put(field, "blkio", file, value)
    else:
        to.refuse(field, "cgroup v2 has no leaf weights")


def _hugepages(to: Translation, limits: list[Mapping[str, Any]]) -> None:
    for number, entry in enumerate(limits):
        field = f"hugepageLimits[{number}]"
        version = to.version("hugetlb", [field])
        if version:
            suffix = "limit_in_bytes" if version == 1 else "max"
            size = entry["pageSize"]
            to.put(field, "hugetlb", f"hugetlb.{size}.{suffix}", entry["limit"])
            # Bounding reservations as well makes mmap fail early instead of a SIGBUS late; Linux 5.7.
            to.put(field, "hugetlb", f"hugetlb.{size}.rsvd.{suffix}", entry["limit"], optional=True)


def _network(to: Translation, network: Mapping[str, Any]) -> None:
    for field, controller in (("classID", "net_cls"), ("priorities", "net_prio")):
        if not network.get(field) or not to.version(controller, [f"network.{field}"]):
            continue
        if field == "classID":
            to.put("network.classID", controller, "net_cls.classid", network[field])
        else:
            for number, entry in enumerate(network[field]):
                value = f"{entry['name']} {entry['priority']}"
                to.put(f"network.priorities[{number}]", controller, "net_prio.ifpriomap", value)


def _rdma(to: Translation, devices: Mapping[str, Mapping[str, Any]]) -> None:
    for device, entry in devices.items():
        field = f"rdma.{device}"
        if to.version("rdma", [field]):
            words = [device]
            if entry.get("hcaHandles") is not None:
                words.append(f"hca_handle={entry['hcaHandles']}")
            if entry.get("hcaObjects") is not None:
                words.append(f"hca_object={entry['hcaObjects']}")
            to.put(field, "rdma", "rdma.max", " ".join(words))


def _unified(to: Translation, files: Mapping[str, str]) -> None:
    for file, value in files.items():
        field = f"unified.{file}"
        prefix = file.partition(".")[0]
        controller = "" if prefix == "cgroup" else prefix
        if "/" in file or "." not in file:
            to.refuse(field, "not the name of a control file")
        elif to.versions.get(controller) != 2:
            to.refuse(field, f"this host has no cgroup v2 {controller} controller".replace("  ", " "))
        else:
            for line in value.split("\n"):
                to.put(field, controller, file, line)


SECTIONS: dict[str, Callable[[Translation, Any], None]] = {
    "blockIO": _block_io,
    "hugepageLimits": _hugepages,
    "network": _network,
    "rdma": _rdma,
    "unified": _unified,
}
