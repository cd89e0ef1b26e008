"""`appc doctor`: what follows from which facts."""

from __future__ import annotations

import json

import pytest

from appc.cli.doctor import examine, examine_checkpoints
from appc.cli.doctor_isolators import examine_isolators
from appc.host.probe import HostFacts
from starter import run

GOOD: dict[str, object] = {
    "kernel": (6, 12),
    "cgroup": "v2",
    "unified": "/sys/fs/cgroup",
    "controllers": dict.fromkeys(("memory", "cpu", "pids"), "/sys/fs/cgroup"),
    "bases": {"/sys/fs/cgroup": "/sys/fs/cgroup"},
}


def findings(**changes: object) -> dict[str, tuple[str, str]]:
    facts = HostFacts(**{**GOOD, **changes})  # type: ignore[arg-type]
    return {finding.about: (finding.state, finding.remedy) for finding in examine(facts)}


def test_a_good_host_has_no_faults() -> None:
    assert {state for state, _ in findings().values()} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "about", "state", "remedy"),
    [
        ({"kernel": (5, 4)}, "kernel", "missing", "use Linux 5.12 or later"),
        ({"overlay": False}, "overlay", "limited", "modprobe overlay"),
        ({"memfd_noexec": 2}, "sealed programs", "missing", "sysctl vm.memfd_noexec=1"),
        ({"euid": 1000, "caps": 0}, "privilege", "limited", "docs/users.md says what root can do besides"),
        ({"euid": 1000, "caps": 0, "userns": False}, "privilege", "missing", "run pods as root"),
        ({"caps": 0}, "privilege", "missing", "run appc outside the container it is in"),
        ({"cgroup": "none", "bases": {}}, "cgroups", "limited", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
        ({"controllers": {}}, "memory controller", "limited", "boot with cgroup_enable=memory"),
        ({"userns": False}, "user namespaces", "limited", "sysctl user.max_user_namespaces=65536"),
    ],
)
def test_each_lack_has_a_state_and_a_remedy(changes: dict[str, object], about: str, state: str, remedy: str) -> None:
    assert findings(**changes)[about] == (state, remedy)


@pytest.mark.parametrize(
    ("changes", "about", "state", "words"),
    [
        ({}, "disk limits", "limited", "cannot be limited"),
        ({"controllers": {"io": "/cg"}}, "disk limits", "ok", "2 disks, reads and writes"),
        ({"controllers": {"blkio": "/cg"}}, "disk limits", "limited", "direct writes alone"),
        ({"controllers": {"devices": "/cg"}}, "devices", "ok", "cgroup v1"),
        ({}, "devices", "ok", "cgroup v2"),
        ({"unified": "", "bases": {"/cg": "/cg"}}, "devices", "limited", "any device"),
        ({"apparmor": True}, "apparmor", "ok", "confined"),
        ({}, "selinux", "ok", "SELinux is not active"),
    ],
)
def test_what_isolators_come_to_is_told_before(changes: dict[str, object], about: str, state: str, words: str) -> None:
    facts = HostFacts(**{**GOOD, **changes})  # type: ignore[arg-type]
    found = {finding.about: finding for finding in examine_isolators(facts, 2, "", "")}
    assert found[about].state == state
    assert words in found[about].finding


@pytest.mark.parametrize(
    ("obstacles", "words"),
    [
        (("Operation not supported", ""), "cannot be limited: Operation not supported"),
        (("", "No such file or directory"), "an app's limit becomes its pod's: No such file or directory"),
    ],
)
def test_networks_that_cannot_be_limited_have_a_reason(obstacles: tuple[str, str], words: str) -> None:
    found = {finding.about: finding for finding in examine_isolators(HostFacts(), 0, *obstacles)}
    assert (found["network bandwidth"].state, found["disk limits"].state) == ("limited", "ok")
    assert words in found["network bandwidth"].finding


def test_why_there_are_no_checkpoints() -> None:
    assert examine_checkpoints("", True).state == "ok"
    found = examine_checkpoints("CRIU does not work here, criu check says: no", True)
    assert (found.state, found.remedy) == ("limited", "use a CRIU that knows this kernel")
    assert found.finding.endswith("criu check says: no")
    assert examine_checkpoints("CRIU is not installed", False).remedy == "apt-get install criu"


def test_the_report_is_for_people_or_programs() -> None:
    result = run("doctor", "--format", "json")
    rows = json.loads(result.stdout)
    assert {"about", "state", "finding", "remedy"} == set(rows[0])
    assert "checkpoints" in {row["about"] for row in rows}
    assert result.returncode == int(any(row["state"] == "missing" for row in rows))
    assert run("doctor").stdout.count("\n") >= len(rows)
