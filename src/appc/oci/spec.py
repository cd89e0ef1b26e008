"""`spec`: a configuration to begin with."""

from __future__ import annotations

import os

from appc.errors import AppcError
from appc.schema.json import dumps
from appc.schema.oci_runtime import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.main import Context
    from appc.oci.options import Args

_GRANTED = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_QUIET = ("nosuid", "noexec", "nodev")
_MOUNTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", ()),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", (*_QUIET, "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", _QUIET),
    ("/sys", "sysfs", (*_QUIET, "ro")),
    ("/sys/fs/cgroup", "cgroup", (*_QUIET, "relatime", "ro")),
)
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default() -> dict[str, Any]:
    """Return a configuration that runs a shell on a terminal, without privileges it does not need."""
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_GRANTED) for name in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "appc-oci",
        "mounts": [
            {"destination": path, "type": fstype, "source": fstype, "options": list(options)}
            for path, fstype, options in _MOUNTS
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }


def rootless(config: dict[str, Any], uid: int, gid: int) -> dict[str, Any]:
    """Return `config` for who is not the host's root: a container whose root is the user `uid`, of the group `gid`.

    It shares the network, of which such a user could make nothing, and has no limits. Of /sys it gets what the host
    shows, since a new one belongs to the network; and no file is given to IDs that nobody there has.
    """
    linux = {name: value for name, value in config["linux"].items() if name != "resources"}
    kinds = [one["type"] for one in linux["namespaces"] if one["type"] != "network"]
    linux["namespaces"] = [{"type": kind} for kind in (*kinds, "user")]
    for field, own in (("uidMappings", uid), ("gidMappings", gid)):
        linux[field] = [{"containerID": 0, "hostID": own, "size": 1}]
    mounts = []
    for mount in config["mounts"]:
        options = [option for option in mount["options"] if not option.startswith(("uid=", "gid="))]
        if mount["destination"] == "/sys":
            mounts.append(
                {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", *_QUIET, "ro"]}
            )
        else:
            mounts.append({**mount, "options": options})
    return {**config, "mounts": mounts, "linux": linux}


def write(args: Args, context: Context) -> int:
    """Write `config.json` into the bundle; an existing one stays."""
    config = rootless(default(), os.geteuid(), os.getegid()) if args.flag("rootless") else default()
    path = os.path.join(args.option("bundle") or ".", "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise AppcError("file exists; remove it first", path) from None
    with os.fdopen(fd, "w") as file:
        file.write(dumps(config, 2) + "\n")
    return 0
