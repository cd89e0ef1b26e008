"""What this kernel and this user can do, read once and handed on as data (`HostFacts`).

Everything comes from procfs and a few stat(2) calls: no fork, no ctypes, no trial mounts, so that a
launch can afford it (about a millisecond).
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host.mountinfo import unescape

# uname(2) machine → the arch label of spec/aci.md; machines it does not name keep the kernel's name.
_ARCH_LABELS = {
    "x86_64": "amd64",
    "i386": "i386",
    "i486": "i386",
    "i586": "i386",
    "i686": "i386",
    "aarch64": "aarch64",
    "aarch64_be": "aarch64_be",
    "armv6l": "armv6l",
    "armv7l": "armv7l",
    "armv7b": "armv7b",
    "armv8l": "armv7l",
}

# Rows of /proc/self/limits → the names OCI uses.
_RLIMITS = {
    "Max cpu time": "RLIMIT_CPU",
    "Max file size": "RLIMIT_FSIZE",
    "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK",
    "Max core file size": "RLIMIT_CORE",
    "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC",
    "Max open files": "RLIMIT_NOFILE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS",
    "Max file locks": "RLIMIT_LOCKS",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
}
_UNLIMITED = 2**64 - 1


class HostFacts:
    """The host as the compiler needs to know it: plain values, no behaviour, nothing looked up later.

    `cgroup` is "v2", "v1", "hybrid" (v1 controllers and a cgroup2 mount) or "none"; `controllers`
    maps each usable controller to the mount point of its hierarchy, `unified` is the mount point of
    cgroup2 or "", and `bases` maps a mount point to the highest directory in it this user may write
    (absent when there is none). `caps` and `bounding` are masks of this process; `rlimits` maps OCI names
    to (soft, hard). `initial_userns` tells whether user IDs here are the host's, `setgroups` whether there are others
    than one's own, so that groups can be changed, `swap` whether memory is swapped out.
    """

    __slots__ = (
        "apparmor",
        "arch",
        "bases",
        "bounding",
        "caps",
        "cgroup",
        "controllers",
        "euid",
        "initial_userns",
        "kernel",
        "last_cap",
        "machine",
        "memfd_noexec",
        "namespaces",
        "no_new_privs",
        "os",
        "overlay",
        "rlimits",
        "seccomp",
        "selinux",
        "setgroups",
        "swap",
        "unified",
        "userns",
    )

    def __init__(
        self,
        *,
        os: str = "linux",
        arch: str = "amd64",
        machine: str = "x86_64",
        kernel: tuple[int, int] = (6, 1),
        euid: int = 0,
        caps: int = (1 << 41) - 1,
        bounding: int = (1 << 41) - 1,
        last_cap: int = 40,
        no_new_privs: bool = False,
        seccomp: bool = True,
        apparmor: bool = False,
        selinux: bool = False,
        swap: bool = False,
        overlay: bool = True,
        namespaces: frozenset[str] = frozenset(("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")),
        userns: bool = True,
        initial_userns: bool = True,
        setgroups: bool = True,
        memfd_noexec: int = 0,
        rlimits: dict[str, tuple[int, int]] | None = None,
        cgroup: str = "none",
        controllers: dict[str, str] | None = None,
        unified: str = "",
        bases: dict[str, str] | None = None,
    ) -> None:
        self.os = os
        self.arch = arch
        self.machine = machine
        self.kernel = kernel
        self.euid = euid
        self.caps = caps
        self.bounding = bounding
        self.last_cap = last_cap
        self.no_new_privs = no_new_privs
        self.seccomp = seccomp
        self.apparmor = apparmor
        self.selinux = selinux
        self.swap = swap
        self.overlay = overlay
        self.namespaces = namespaces
        self.userns = userns
        self.initial_userns = initial_userns
        self.setgroups = setgroups
        self.memfd_noexec = memfd_noexec
        self.rlimits = rlimits or {}
        self.cgroup = cgroup
        self.controllers = controllers or {}
        self.unified = unified
        self.bases = bases or {}

    def as_text(self) -> dict[str, str]:
        """Return the facts a plan's choices rest on, for its header; no user names, paths of homes or limits."""
        return {
            "kernel": ".".join(map(str, self.kernel)),
            "arch": f"{self.os}/{self.arch}",
            "euid": str(self.euid),
            "caps": f"{self.caps:x}/{self.last_cap}",
            "bounding": f"{self.bounding:x}",
            "cgroup": self.cgroup,
            "controllers": " ".join(sorted(self.controllers)),
            "namespaces": " ".join(sorted(self.namespaces)),
            "overlay": _yes(self.overlay),
            "seccomp": _yes(self.seccomp),
            "apparmor": _yes(self.apparmor),
            "selinux": _yes(self.selinux),
            "userns": _yes(self.userns),
            "initial-userns": _yes(self.initial_userns),
            **({} if self.setgroups else {"setgroups": "no"}),
        }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def facts(proc: str = "/proc") -> HostFacts:
    """Read the facts of this host through the procfs at `proc`; HostError when it is not mounted."""
    status = _fields(_must_read(f"{proc}/self/status"))
    uname = os.uname()
    own = _own_cgroups(_read(f"{proc}/self/cgroup"))
    mode, controllers, unified, bases = _cgroups(_read(f"{proc}/self/mountinfo"), own)
    namespaces = _listdir(f"{proc}/self/ns")
    limit = _read(f"{proc}/sys/user/max_user_namespaces").strip()
    debian = _read(f"{proc}/sys/kernel/unprivileged_userns_clone").strip()
    euid = os.geteuid()
    return HostFacts(
        os=uname.sysname.lower(),
        arch=_ARCH_LABELS.get(uname.machine, uname.machine),
        machine=uname.machine,
        kernel=_kernel(uname.release),
        euid=euid,
        caps=int(status.get("CapEff", "0"), 16),
        bounding=int(status.get("CapBnd", "0"), 16),
        last_cap=int(_read(f"{proc}/sys/kernel/cap_last_cap") or "40"),
        no_new_privs=status.get("NoNewPrivs", "0") != "0",
        seccomp="Seccomp" in status,
        apparmor=_read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        selinux=_read("/sys/fs/selinux/enforce") != "",
        # A line of titles, and one for each area.
        swap=_read(f"{proc}/swaps").count("\n") > 1,
        overlay=_has_overlay(_read(f"{proc}/filesystems"), uname.release, euid),
        namespaces=frozenset(name for name in namespaces if "_" not in name),
        userns="user" in namespaces and limit != "0" and (euid == 0 or debian != "0"),
        setgroups=_read(f"{proc}/self/setgroups").strip() != "deny",
        initial_userns=_read(f"{proc}/self/uid_map").split() == ["0", "0", "4294967295"],
        memfd_noexec=int(_read(f"{proc}/sys/vm/memfd_noexec") or "0"),
        rlimits=_rlimits(_read(f"{proc}/self/limits")),
        cgroup=mode,
        controllers=controllers,
        unified=unified,
        bases=bases,
    )


def _read(path: str) -> str:
    """Return the text of a small kernel file, "" when it is absent or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    parts = []
    try:
        while part := os.read(fd, 65536):
            parts.append(part)
    except OSError:
        return ""
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _must_read(path: str) -> str:
    text = _read(path)
    if not text:
        raise HostError("cannot be read", path, "mount procfs on /proc")
    return text


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _fields(text: str) -> dict[str, str]:
    """Parse `Name:<tab>value` lines."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _kernel(release: str) -> tuple[int, int]:
    """`6.1.0-13-amd64` → (6, 1); a release that is not so numbered counts as (0, 0)."""
    digits = release.replace("-", ".").split(".")[:2]
    if len(digits) == 2 and digits[0].isdigit() and digits[1].isdigit():
        return int(digits[0]), int(digits[1])
    return 0, 0


def _rlimits(text: str) -> dict[str, tuple[int, int]]:
    limits = {}
    for line in text.splitlines()[1:]:
        name = _RLIMITS.get(line[:25].rstrip())
        if name:
            soft, hard = (_UNLIMITED if word == "unlimited" else int(word) for word in line[25:].split()[:2])
            limits[name] = soft, hard
    return limits


def _has_overlay(filesystems: str, release: str, euid: int) -> bool:
    """Tell whether an overlay mount can be had; the kernel loads the module at root's first mount."""
    if "\toverlay\n" in filesystems:
        return True
    directory = f"/lib/modules/{release}/kernel/fs/overlayfs"
    return euid == 0 and any(name.startswith("overlay.ko") for name in _listdir(directory))


def _own_cgroups(text: str) -> dict[str, str]:
    """Parse /proc/self/cgroup into controller → path; cgroup2's key is ""."""
    own = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            own[name] = path
    return own


def _cgroups(mountinfo: str, own: dict[str, str]) -> tuple[str, dict[str, str], str, dict[str, str]]:
    """Return (mode, controllers, unified, bases) of `HostFacts` from mountinfo and this process's cgroups."""
    v1: dict[str, str] = {}
    unified = ""
    bases: dict[str, str] = {}
    for line in mountinfo.splitlines():
        if " - cgroup" not in line:
            continue
        before, _, after = line.partition(" - ")
        _, _, device, root, mountpoint, options = before.split(" ")[:6]
        fstype, _, super_options = after.split(" ", 2)
        mountpoint = unescape(mountpoint)
        if not _visible(mountpoint, device):
            continue
        if fstype == "cgroup2":
            names = [""]
        else:
            # A key of /proc/self/cgroup that is no controller (name=systemd) or an option (rw, xattr) is not one here.
            names = [name for name in super_options.split(",") if name in own and not name.startswith("name=")]
        if not names or names[0] in v1 or (fstype == "cgroup2" and unified):
            continue
        if fstype == "cgroup2":
            unified = mountpoint
        for name in filter(None, names):
            v1[name] = mountpoint
        base = _base(mountpoint, unescape(root), own.get(names[0], "/"))
        if base and "ro" not in options.split(","):
            bases[mountpoint] = base
    controllers = {name: place for name, place in v1.items() if place in bases}
    if unified in bases:
        for name in _read(f"{bases[unified]}/cgroup.controllers").split():
            controllers.setdefault(name, unified)
    mode = ("hybrid" if v1 else "v2") if unified else ("v1" if v1 else "none")
    return mode, controllers, unified, bases


def _visible(mountpoint: str, device: str) -> bool:
    """Tell whether the mount is what the path leads to: mountinfo also lists what a later mount covers."""
    try:
        number = os.stat(mountpoint).st_dev
    except OSError:
        return False
    # As os.major() and os.minor() divide it, which lie in a part of Python's program that a launch else never reads.
    major, minor = number >> 32 & ~0xFFF | number >> 8 & 0xFFF, number >> 12 & ~0xFF | number & 0xFF
    return device == f"{major}:{minor}"


def _base(mountpoint: str, root: str, own: str) -> str:
    """Return the highest directory, on the way from the mount point to our own cgroup, that we may write; or ""."""
    if os.access(mountpoint, os.W_OK):
        return mountpoint
    inside = own[len(root) :] if root != "/" and (own + "/").startswith(root + "/") else own
    directory = mountpoint
    for name in filter(None, inside.split("/")):
        if name == "..":
            return ""
        directory = f"{directory}/{name}"
        if os.access(directory, os.W_OK):
            return directory
    return ""
