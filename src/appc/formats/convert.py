"""From an app of a pod to an OCI runtime configuration (runtime-spec), which any OCI runtime accepts.

Pure functions: what has to be looked up (users, volumes, the host) is given.
"""

from __future__ import annotations

from appc.abi import CAPABILITIES
from appc.formats.enforce import Enforcement
from appc.schema.isolators import APP, POD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    from appc.formats.enforce import Facts, Outcome
    from appc.schema.image import App
    from appc.schema.isolators import Isolator

    class ResolvedMount(Protocol):
        """A volume as an app mounts it: host path, target, and how."""

        @property
        def source(self) -> str: ...
        @property
        def target(self) -> str: ...
        @property
        def read_only(self) -> bool: ...
        @property
        def recursive(self) -> bool: ...


# The oldest version that has every field written here: runtimes refuse versions newer than they know.
OCI_VERSION = "1.0.2"
EXECUTOR = "appc"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
UMASK = 0o022

# What of procfs and sysfs would tell about the host or reach it. Below /sys nothing can be written
# anyway (it is mounted read-only); those entries keep it so under runtimes that mount it otherwise.
MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmem",
    "/proc/latency_stats",
    "/proc/mem",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/hypervisor",
    "/sys/module",
    "/sys/power",
]
READONLY_PATHS = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/sys/block",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/kernel",
]

# (major, minor) of the character devices of OS-SPEC.md: null, zero, full, random, urandom, tty, ptmx.
_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2))
_PTS_MAJOR = 136
DEVICE_RULES: list[dict[str, Any]] = [
    {"allow": False, "access": "rwm"},
    # Making a node is harmless as long as it cannot be opened.
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *[{"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in _DEVICES],
    {"allow": True, "type": "c", "major": _PTS_MAJOR, "access": "rwm"},
]


def app_to_oci(
    app: App,
    *,
    name: str,
    facts: Facts,
    uid: int,
    gid: int,
    groups: Sequence[int] = (),
    home: str = "",
    environment: Iterable[tuple[str, str]] = (),
    metadata_url: str = "",
    hostname: str = "",
    volumes: Iterable[ResolvedMount] = (),
    read_only_rootfs: bool = False,
    pod_isolators: Iterable[Isolator] = (),
    namespaces: Sequence[str] = NAMESPACES,
    rootfs: str = "rootfs",
    cgroups_path: str = "",
    shm: str = "",
    terminal: bool = False,
    alone: bool = False,
    block_devices: tuple[tuple[int, int], ...] = (),
) -> tuple[dict[str, Any], Outcome]:
    """Return (OCI configuration, isolator outcomes) of the app called `name` in its pod.

    `uid`, `gid`, `groups` and `home` are the app's user as its root resolves it; `environment` overrides the
    app's own; `shm` is a host directory shared by the pod as /dev/shm ("" = one of its own); `namespaces` are the
    types the container does not share with the host; `alone` says that the pod has no other app. An outcome is
    (isolator name, "enforced" | "modified" | "ignored", reason). Raises AppcError for isolators without meaning.
    """
    inherited = Enforcement(POD, facts, namespaces, block_devices).apply(pod_isolators, "pod.isolators")
    own = Enforcement(APP, facts, namespaces, block_devices, inherited, alone)
    own.apply(app.isolators, f"app {name}.isolators")
    process: dict[str, Any] = {
        "terminal": terminal,
        "user": {"uid": uid, "gid": gid, "umask": UMASK, "additionalGids": list(groups)},
        "args": list(app.exec),
        "env": _environment(app, name, metadata_url, home, environment),
        "cwd": app.working_directory or "/",
        "capabilities": _capability_sets(sorted(own.capabilities, key=CAPABILITIES.index), uid),
        "noNewPrivileges": own.no_new_privileges,
    }
    # Labels of the app override those of the pod (ace.md, selinux-context, note 4).
    if label := own.selinux or inherited.selinux:
        process["selinuxLabel"] = label
    if profile := own.apparmor or inherited.apparmor:
        process["apparmorProfile"] = profile
    if own.oom_score_adj is not None:
        process["oomScoreAdj"] = own.oom_score_adj
    linux: dict[str, Any] = {
        "namespaces": [{"type": namespace} for namespace in namespaces],
        "resources": {"devices": DEVICE_RULES, **_resources(own)},
        "devices": [] if terminal else [_CONSOLE],
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READONLY_PATHS,
    }
    if cgroups_path:
        linux["cgroupsPath"] = cgroups_path
    if own.seccomp is not None:
        linux["seccomp"] = own.seccomp
    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": rootfs, "readonly": read_only_rootfs},
        "mounts": _mounts(list(volumes), shm, facts.cgroup != "none"),
        "linux": linux,
    }
    if hostname and "uts" in namespaces:
        config["hostname"] = hostname
    return config, own.outcome


def pod_to_oci(
    isolators: Iterable[Isolator],
    *,
    facts: Facts,
    hostname: str,
    namespaces: Sequence[str] = NAMESPACES,
    cgroups_path: str = "",
    block_devices: tuple[tuple[int, int], ...] = (),
) -> tuple[dict[str, Any], Outcome]:
    """Return (OCI configuration, isolator outcomes) of a pod's sandbox: what its apps share.

    It has no process and no root; its resources bound those of the apps.
    """
    pod = Enforcement(POD, facts, namespaces, block_devices).apply(isolators, "pod.isolators")
    linux: dict[str, Any] = {
        "namespaces": [{"type": namespace} for namespace in namespaces],
        "resources": _resources(pod),
        "sysctl": pod.sysctl,
    }
    if cgroups_path:
        linux["cgroupsPath"] = cgroups_path
    config: dict[str, Any] = {"ociVersion": OCI_VERSION, "linux": linux}
    if "uts" in namespaces:
        config["hostname"] = hostname
    return config, pod.outcome


def resources(
    isolators: Iterable[Isolator],
    scope: str,
    where: str,
    *,
    facts: Facts,
    block_devices: tuple[tuple[int, int], ...] = (),
    pod_isolators: Iterable[Isolator] = (),
    namespaces: Sequence[str] = NAMESPACES,
    alone: bool = False,
) -> tuple[dict[str, Any], Outcome, int | None]:
    """Return (OCI linux.resources, outcomes, OOM score) of isolators of an APP or POD; `where` is their place for
    messages. `pod_isolators` bound those of an app; the others are `app_to_oci`'s."""
    pod = Enforcement(POD, facts, (), block_devices).apply(pod_isolators, "pod.isolators") if scope == APP else None
    enforced = Enforcement(scope, facts, namespaces, block_devices, pod, alone).apply(isolators, where)
    return _resources(enforced), enforced.outcome, enforced.oom_score_adj


def handler_config(config: dict[str, Any], exec_: Sequence[str]) -> dict[str, Any]:
    """Return `config` for an event handler: the app's root, environment and isolators, but run by root.

    Handlers prepare what the app's own user may not; rkt's run as root as well.
    """
    process = config["process"]
    user = {**process["user"], "uid": 0, "gid": 0, "additionalGids": []}
    capabilities = _capability_sets(process["capabilities"]["bounding"], 0)
    changes = {"args": list(exec_), "user": user, "capabilities": capabilities, "terminal": False}
    return {**config, "process": {**process, **changes, "env": _without_sockets(process)}}


def enter_config(config: dict[str, Any], args: Sequence[str], *, terminal: bool) -> dict[str, Any]:
    """Return `config` for another command beside the app: its user, environment and isolators."""
    process = config["process"]
    changes = {"args": list(args), "terminal": terminal, "env": _without_sockets(process)}
    return {**config, "process": {**process, **changes}}


def as_user(config: dict[str, Any], uid: int, gid: int, home: str | None) -> dict[str, Any]:
    """Return `config` for a command of another user or group: without supplementary groups, with the app's bounding
    set, all of which root holds and nobody else any of. `home` is the user's ("" for none, None for the app's)."""
    process = config["process"]
    environment = [entry for entry in process["env"] if home is None or not entry.startswith("HOME=")]
    changes = {
        "user": {**process["user"], "uid": uid, "gid": gid, "additionalGids": []},
        "capabilities": _capability_sets(process["capabilities"]["bounding"], uid),
        "env": [*environment, f"HOME={home}"] if home else environment,
    }
    return {**config, "process": {**process, **changes}}


def _without_sockets(process: dict[str, Any]) -> list[str]:
    """The environment of a process beside the app: the sockets that are handed to the app are not its own."""
    names = ("LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=")
    handed = "LISTEN_PID=" in process["env"]
    return [entry for entry in process["env"] if not (handed and entry.startswith(names))]


# Every app must have /dev/console (OS-SPEC.md). Without a terminal it takes what is written and forgets it: the
# host's console is no business of an app.
_CONSOLE = {"path": "/dev/console", "type": "c", "major": 1, "minor": 3, "fileMode": 0o620, "uid": 0, "gid": 5}


def _environment(app: App, name: str, metadata_url: str, home: str, overrides: Iterable[tuple[str, str]]) -> list[str]:
    """Return the environment (ace.md, Execution Environment): defaults, the app's own, overrides, identity."""
    merged = {"PATH": DEFAULT_PATH, "container": EXECUTOR}
    if home:
        merged["HOME"] = home
    merged.update((str(variable.name), variable.value or "") for variable in app.environment)
    merged.update(overrides)
    # Last, because the metadata service knows the app by these.
    merged["AC_APP_NAME"] = name
    if metadata_url:
        merged["AC_METADATA_URL"] = metadata_url
    return [f"{key}={value}" for key, value in merged.items()]


def _capability_sets(names: list[str], uid: int) -> dict[str, list[str]]:
    """Return the five sets: the specification's isolators speak of the bounding set alone, root has all of it."""
    held = names if uid == 0 else []
    return {"bounding": names, "effective": held, "permitted": held, "inheritable": [], "ambient": []}


def _resources(enforced: Enforcement) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if enforced.memory:
        resources["memory"] = enforced.memory
    if enforced.cpu:
        resources["cpu"] = enforced.cpu
    if enforced.block_io:
        resources["blockIO"] = enforced.block_io
    if enforced.pids:
        resources["pids"] = enforced.pids
    return resources


def _mounts(volumes: list[ResolvedMount], shm: str, cgroup: bool) -> list[dict[str, Any]]:
    """Return the file systems of OS-SPEC.md and the volumes; a volume takes the place of what has its target."""
    locked = ["nosuid", "noexec", "nodev"]
    pts = ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    mounts = [
        _mount("/proc", "proc", "proc", locked),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", *pts]),
        _mount("/dev/shm", "bind", shm, ["bind", *locked])
        if shm
        else _mount("/dev/shm", "tmpfs", "shm", [*locked, "mode=1777"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", locked),
        _mount("/sys", "sysfs", "sysfs", [*locked, "ro"]),
    ]
    if cgroup:
        # Of /sys/fs an app sees its cgroup, not which file systems the host has mounted.
        mounts.append(_mount("/sys/fs", "tmpfs", "tmpfs", [*locked, "ro", "mode=755", "size=64k"]))
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", [*locked, "relatime", "ro"]))
    taken = {volume.target for volume in volumes}
    return [mount for mount in mounts if mount["destination"] not in taken] + [_volume(volume) for volume in volumes]


def _mount(destination: str, fstype: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": fstype, "source": source, "options": options}


def _volume(volume: ResolvedMount) -> dict[str, Any]:
    options = ["rbind" if volume.recursive else "bind"]
    if volume.read_only:
        # "rro" for what is mounted below the source, "ro" for runtimes that do not know it.
        options += ["ro", "rro"] if volume.recursive else ["ro"]
    return _mount(volume.target, "bind", volume.source, options)
