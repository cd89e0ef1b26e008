"""`appc doctor`: what this host can enforce, and the remedy for what it cannot."""

from __future__ import annotations

import os

from appc.cli.options import FORMAT, Verb
from appc.cli.output import json_document, out, style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.host.probe import HostFacts

VERB = Verb(
    "doctor",
    "show what this host can enforce, with the remedy for what it cannot",
    description="""A line is `ok`, `limited` (something works less well, or a limit cannot be set) or `missing` (pods
    cannot run). The exit status is 1 when something is missing.""",
    options=(FORMAT,),
)

OLDEST_KERNEL = (5, 12)  # mount_setattr(2)

OK, LIMITED, MISSING = "ok", "limited", "missing"


class Finding:
    """One line of the report."""

    __slots__ = ("about", "finding", "remedy", "state")

    def __init__(self, about: str, state: str, finding: str, remedy: str = "") -> None:
        self.about = about
        self.state = state
        self.finding = finding
        self.remedy = remedy


def run(args: Args, context: Context) -> int:
    """Print the findings."""
    from appc.host.probe import facts

    host = facts()
    pods = [*examine(host), *_isolators(host), *_users(host, context)]
    found = [*pods, *_programs(), _checkpoints(), *_directories(context)]
    if context.format == "json":
        fields = ("about", "state", "finding", "remedy")
        json_document([{name: getattr(finding, name) for name in fields} for finding in found])
    else:
        _print(found)
    return int(any(finding.state == MISSING for finding in found))


def _print(found: list[Finding]) -> None:
    width = max(len(finding.about) for finding in found)
    for finding in found:
        before, after = style({OK: "32", LIMITED: "33", MISSING: "31"}[finding.state])
        out(f"{before}{finding.state:8}{after} {finding.about:{width}}  {finding.finding}\n")
        if finding.remedy:
            out(f"{'':{width + 11}}hint: {finding.remedy}\n")


def examine(facts: HostFacts) -> Iterator[Finding]:
    """Yield what follows from the host's facts."""
    kernel = ".".join(map(str, facts.kernel))
    if facts.kernel >= OLDEST_KERNEL:
        yield Finding("kernel", OK, f"Linux {kernel}, {facts.arch}")
    else:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        yield Finding("kernel", MISSING, f"Linux {kernel} lacks mount_setattr(2)", f"use Linux {oldest} or later")
    yield from _privilege(facts)
    yield from _cgroups(facts)
    if facts.overlay:
        yield Finding("overlay", OK, "images are shared between pods")
    else:
        yield Finding("overlay", LIMITED, "each pod copies its images", "modprobe overlay")
    if facts.seccomp:
        yield Finding("seccomp", OK, "system calls can be filtered")
    else:
        yield Finding(
            "seccomp", LIMITED, "the kernel cannot filter system calls", "use a kernel with CONFIG_SECCOMP_FILTER"
        )
    if facts.memfd_noexec >= 2:
        remedy = "sysctl vm.memfd_noexec=1"
        yield Finding("sealed programs", MISSING, f"vm.memfd_noexec is {facts.memfd_noexec}", remedy)


def _privilege(facts: HostFacts) -> Iterator[Finding]:
    everything = (1 << facts.last_cap + 1) - 1
    if facts.euid != 0:
        what = "an ordinary user: pods have no networks of plugins, and limits where the control group is the user's"
        if facts.userns:
            yield Finding("privilege", LIMITED, what, "docs/users.md says what root can do besides")
        else:
            yield Finding("privilege", MISSING, "an ordinary user, who needs user namespaces", "run pods as root")
    elif not facts.caps >> 21 & 1:
        yield Finding("privilege", MISSING, "root without CAP_SYS_ADMIN", "run appc outside the container it is in")
    elif facts.bounding & everything != everything:
        lost = [str(n) for n in range(facts.last_cap + 1) if not facts.bounding >> n & 1]
        yield Finding("privilege", LIMITED, f"capabilities {', '.join(lost)} cannot be granted to apps")
    else:
        yield Finding("privilege", OK, "root with all capabilities")
    if facts.no_new_privs:
        yield Finding(
            "no_new_privs", LIMITED, "set already: setuid programs in apps gain nothing", "start appc without it"
        )
    if not facts.initial_userns:
        yield Finding(
            "user namespace", LIMITED, "user IDs here are not the host's", "run appc in the initial namespace"
        )
    if not facts.userns:
        yield Finding("user namespaces", LIMITED, "switched off", "sysctl user.max_user_namespaces=65536")


def _cgroups(facts: HostFacts) -> Iterator[Finding]:
    if facts.cgroup == "none" or not facts.bases:
        what = "not mounted" if facts.cgroup == "none" else f"{facts.cgroup}, none of it writable"
        yield Finding("cgroups", LIMITED, f"{what}: no limits", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        return
    yield Finding("cgroups", OK, {"hybrid": "v1 and v2 side by side"}.get(facts.cgroup, facts.cgroup))
    for name, limits in (("memory", "memory"), ("cpu", "processor time"), ("pids", "the number of processes")):
        if name in facts.controllers:
            yield Finding(f"{name} controller", OK, f"{limits} can be limited")
            continue
        remedy = (
            f"boot with cgroup_enable={name}" if name == "memory" else f"use a kernel with CONFIG_CGROUP_{name.upper()}"
        )
        if facts.euid != 0:
            remedy = "delegate it: systemctl edit user@.service, [Service] Delegate=cpu memory pids"
        yield Finding(f"{name} controller", LIMITED, f"{limits} cannot be limited", remedy)


def _isolators(facts: HostFacts) -> Iterator[Finding]:
    from appc.cli.doctor_isolators import examine_isolators
    from appc.host.disks import whole_disks
    from appc.host.traffic import obstacle
    from appc.network.bandwidth import obstacle_to_apps

    return examine_isolators(facts, len(whole_disks()), obstacle(), obstacle_to_apps(facts))


def _users(facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Yield what an ordinary user's pods need besides."""
    if facts.euid == 0:
        return
    from appc.errors import HostError
    from appc.host import rootless
    from appc.network import usermode

    if rootless.several():
        yield Finding("users of images", OK, "those of /etc/subuid and /etc/subgid")
    else:
        what = "all are you: /etc/subuid and /etc/subgid give you none, or newuidmap is missing"
        yield Finding("users of images", LIMITED, what, "apt-get install uidmap; usermod --add-subuids, --add-subgids")
    try:
        program = usermode.choose(context.settings.network_helper)
        yield Finding("network", OK, f"{program} connects pods")
    except HostError as error:
        yield Finding("network", LIMITED, f"{error.where}: {error.what}", error.hint)


def _programs() -> Iterator[Finding]:
    import ctypes
    import importlib.util
    import shutil

    from appc.errors import HostError
    from appc.launch.seal import native

    try:
        for name in ("appc-init", "appc-keep"):
            native(name)
        yield Finding("programs", OK, "appc-init and appc-keep are installed")
    except HostError as error:
        yield Finding("programs", MISSING, f"{error.where} {error.what}", error.hint)
    try:
        ctypes.CDLL("libseccomp.so.2")
        yield Finding("libseccomp", OK, "seccomp isolators can be compiled")
    except OSError:
        yield Finding("libseccomp", LIMITED, "seccomp filters cannot be compiled", "apt-get install libseccomp2")
    verifiers = ["pysequoia"] if importlib.util.find_spec("pysequoia") else []
    verifiers += ["gpgv"] if shutil.which("gpgv") else []
    if verifiers:
        yield Finding("verifying", OK, f"signatures are verified by {verifiers[0]}")
    else:
        yield Finding(
            "verifying", MISSING, "nothing can verify signatures", "pip install pysequoia, or apt-get install gpgv"
        )
    if shutil.which("gpg"):
        yield Finding("signing", OK, "with the keys gpg holds")
    else:
        yield Finding("signing", LIMITED, "gpg is not installed", "apt-get install gnupg")


def _checkpoints() -> Finding:
    from appc.host import criu

    return examine_checkpoints(criu.obstacle(), bool(criu.find()))


def examine_checkpoints(obstacle: str, is_installed: bool) -> Finding:
    """Return what follows from the obstacle to CRIU, "" when it works."""
    if not obstacle:
        return Finding("checkpoints", OK, "appc-oci checkpoint and restore work, with CRIU")
    remedy = "use a CRIU that knows this kernel" if is_installed else "apt-get install criu"
    return Finding("checkpoints", LIMITED, obstacle, remedy)


def _directories(context: Context) -> Iterator[Finding]:
    from appc.host.mounts import overlay_obstacle

    for about, path in (("root", context.root), ("state", context.state)):
        existing = path
        while not os.path.isdir(existing):
            existing = os.path.dirname(existing)
        if not os.access(existing, os.W_OK):
            yield Finding(
                f"{about} directory", MISSING, f"{existing} is not writable", f"choose another with --{about}"
            )
            continue
        obstacle = overlay_obstacle(existing) if about == "root" else ""
        if obstacle:
            yield Finding(
                f"{about} directory", LIMITED, f"{path}: {obstacle}", "put it on ext4, xfs or btrfs with --root"
            )
            continue
        system = os.statvfs(existing)
        yield Finding(f"{about} directory", OK, f"{path}, {system.f_bavail * system.f_frsize >> 20} MiB free")
