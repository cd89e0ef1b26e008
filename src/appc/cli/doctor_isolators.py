"""What `appc doctor` says of isolators before one is asked for: which of them this host can enforce, and how far."""

from __future__ import annotations

from appc.cli.doctor import LIMITED, OK, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.host.probe import HostFacts


def examine_isolators(facts: HostFacts, disks: int, traffic: str, apps: str) -> Iterator[Finding]:
    """Yield what follows from the host's facts, the number of its disks, and what is in the way of limiting networks of
    pods, and of `apps` beside others in a pod ("" for nothing)."""
    yield _disks(facts, disks)
    if traffic:
        remedy = "use a kernel with sch_tbf, sch_ingress, cls_u32, act_mirred and ifb"
        yield Finding("network bandwidth", LIMITED, f"it cannot be limited: {traffic}", remedy)
    elif apps:
        remedy = "use a kernel with sch_htb and cls_bpf, with cgroup2 mounted"
        yield Finding("network bandwidth", LIMITED, f"an app's limit becomes its pod's: {apps}", remedy)
    else:
        yield Finding("network bandwidth", OK, "it can be limited, of pods and of apps, except with --net host")
    yield _devices(facts)
    for name, title in (("apparmor", "AppArmor"), ("selinux", "SELinux")):
        if getattr(facts, name):
            yield Finding(name, OK, "apps can be confined by it")
        else:
            yield Finding(name, OK, f"{title} is not active: what asks for it is told to be ignored")


def _disks(facts: HostFacts, count: int) -> Finding:
    number = f"{count} disk{'s' if count != 1 else ''}"
    if not count:
        return Finding("disk limits", OK, "there is no disk to limit")
    if "blkio" in facts.controllers:
        finding = f"{number}; cgroup v1 limits reads and direct writes alone"
        return Finding("disk limits", LIMITED, finding, "boot with systemd.unified_cgroup_hierarchy=1")
    if "io" in facts.controllers:
        return Finding("disk limits", OK, f"{number}, reads and writes")
    return Finding("disk limits", LIMITED, "disks cannot be limited", "use a kernel with CONFIG_BLK_DEV_THROTTLING")


def _devices(facts: HostFacts) -> Finding:
    if "devices" in facts.controllers:
        return Finding("devices", OK, "apps open those they are given, by the controller of cgroup v1")
    if facts.unified in facts.bases:
        return Finding("devices", OK, "apps open those they are given, by programs of cgroup v2")
    return Finding("devices", LIMITED, "apps can open any device they make a node of", "mount cgroup2")
