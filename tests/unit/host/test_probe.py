"""HostFacts from the text of kernel files: hosts that this machine is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.errors import HostError
from appc.host import probe
from appc.host.mountinfo import unescape
from appc.host.mounts import Mount, below, mounts, of, parse

STATUS = "Name:\tx\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425ff\nNoNewPrivs:\t1\nSeccomp:\t0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A procfs of a small host without cgroups."""
    for name, text in {
        "self/status": STATUS,
        "self/cgroup": "0::/\n",
        "self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
        "self/uid_map": "         0     100000      65536\n",
        "self/limits": (
            "Limit                     Soft Limit           Hard Limit           Units     \n"
            "Max open files            1024                 524288               files     \n"
            "Max cpu time              unlimited            unlimited            seconds   \n"
        ),
        "filesystems": "nodev\toverlay\n",
        "sys/kernel/cap_last_cap": "39\n",
        "sys/user/max_user_namespaces": "0\n",
        "self/ns/mnt": "",
        "self/ns/pid_for_children": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def hierarchy(proc: Path, name: str, fields: str = "") -> Path:
    """Add a mount line for a directory standing in for a cgroup hierarchy."""
    place = proc / name
    place.mkdir(parents=True, exist_ok=True)
    device = os.stat(place).st_dev
    line = f"30 22 {os.major(device)}:{os.minor(device)} / {place} rw - {fields}\n"
    with (proc / "self/mountinfo").open("a") as file:
        file.write(line)
    return place


@pytest.mark.parametrize(("areas", "swap"), [("", False), ("/dev/zram0\t\tpartition\t1\t0\t-2\n", True)])
def test_swap(proc: Path, areas: str, swap: bool) -> None:
    (proc / "swaps").write_text(f"Filename\t\tType\tSize\tUsed\tPriority\n{areas}")
    assert probe.facts(str(proc)).swap is swap


def test_facts_come_from_the_files(proc: Path) -> None:
    found = probe.facts(str(proc))
    assert found.caps == 0xA80425FB
    assert found.bounding == 0xA80425FF
    assert found.last_cap == 39
    assert found.no_new_privs
    assert found.seccomp
    assert found.overlay
    assert not found.initial_userns
    assert not found.userns
    assert found.namespaces == {"mnt"}
    assert found.rlimits == {"RLIMIT_NOFILE": (1024, 524288), "RLIMIT_CPU": (2**64 - 1, 2**64 - 1)}
    assert (found.cgroup, found.controllers, found.unified, found.bases) == ("none", {}, "", {})


def test_pure_v2(proc: Path) -> None:
    place = hierarchy(proc, "cgroup", "cgroup2 cgroup2 rw,nsdelegate")
    (place / "cgroup.controllers").write_text("cpu memory pids\n")
    found = probe.facts(str(proc))
    assert found.cgroup == "v2"
    assert found.unified == str(place)
    assert found.controllers == dict.fromkeys(("cpu", "memory", "pids"), str(place))
    assert found.bases == {str(place): str(place)}


def test_v1_with_controllers_mounted_together(proc: Path) -> None:
    (proc / "self/cgroup").write_text("3:cpu,cpuacct:/x\n2:pids:/\n1:name=systemd:/\n")
    both = hierarchy(proc, "cg/cpu,cpuacct", "cgroup cgroup rw,cpu,cpuacct")
    pids = hierarchy(proc, "cg/pids", "cgroup cgroup rw,pids")
    hierarchy(proc, "cg/systemd", "cgroup cgroup rw,xattr,name=systemd")
    found = probe.facts(str(proc))
    assert found.cgroup == "v1"
    assert found.controllers == {"cpu": str(both), "cpuacct": str(both), "pids": str(pids)}


def test_hybrid_prefers_v1_controllers_and_adds_those_only_v2_has(proc: Path) -> None:
    (proc / "self/cgroup").write_text("2:pids:/\n0::/\n")
    pids = hierarchy(proc, "cg/pids", "cgroup cgroup rw,pids")
    unified = hierarchy(proc, "cg/unified", "cgroup2 cgroup2 rw")
    (unified / "cgroup.controllers").write_text("hugetlb\n")
    found = probe.facts(str(proc))
    assert found.cgroup == "hybrid"
    assert found.controllers == {"pids": str(pids), "hugetlb": str(unified)}


def test_a_hierarchy_mounted_read_only_is_not_usable(proc: Path) -> None:
    place = hierarchy(proc, "cgroup", "cgroup2 cgroup2 rw")
    (place / "cgroup.controllers").write_text("pids\n")
    text = (proc / "self/mountinfo").read_text()
    (proc / "self/mountinfo").write_text(text.replace(f"{place} rw -", f"{place} ro,nosuid -"))
    found = probe.facts(str(proc))
    assert (found.cgroup, found.unified, found.bases, found.controllers) == ("v2", str(place), {}, {})


def test_a_mount_of_another_device_number_is_covered(proc: Path) -> None:
    hierarchy(proc, "cgroup", "cgroup2 cgroup2 rw")
    text = (proc / "self/mountinfo").read_text()
    (proc / "self/mountinfo").write_text(text.replace("30 22 ", "30 22 9", 1))
    assert probe.facts(str(proc)).cgroup == "none"


@pytest.mark.parametrize(
    ("root", "own", "writable", "base"),
    [
        ("/", "/user.slice/u.service/app", "user.slice/u.service", "/user.slice/u.service"),
        ("/docker/1", "/docker/1/sub", "sub", "/sub"),
        ("/", "/a/b", "elsewhere", ""),
        ("/", "/../up", "up", ""),
    ],
)
def test_a_delegated_subtree_becomes_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, own: str, writable: str, base: str
) -> None:
    """Where the hierarchy is not ours, the highest directory on the way to our own group that is."""
    allowed = tmp_path / writable

    def access(path: str, mode: int) -> bool:
        return Path(path) == allowed or allowed in Path(path).parents

    monkeypatch.setattr(os, "access", access)
    assert probe._base(str(tmp_path), root, own) == (str(tmp_path) + base if base else "")


def test_a_host_without_procfs_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be read") as caught:
        probe.facts(str(tmp_path))
    assert "procfs" in caught.value.hint


def test_kernel_numbers() -> None:
    assert probe._kernel("6.1.0-13-cloud-amd64") == (6, 1)
    assert probe._kernel("5.10-rc1") == (5, 10)
    assert probe._kernel("odd") == (0, 0)


def test_text_form_is_stable_and_says_no_names() -> None:
    """A plan's header: same facts, same text, and nothing that names a user or a machine."""
    text = probe.HostFacts(cgroup="v2", controllers={"pids": "/c", "cpu": "/c"}).as_text()
    assert text["controllers"] == "cpu pids"
    assert text["kernel"] == "6.1"
    assert text["caps"] == "1ffffffffff/40"
    assert all(isinstance(value, str) for value in text.values())


def test_mountinfo_lines() -> None:
    """proc_pid_mountinfo(5): optional fields, escapes, bind mounts' roots."""
    table = parse(
        "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"
        "37 36 0:5 / /mnt\\0402/sub rw - tmpfs none rw\n"
        "38 35 0:6 / /mnt rw - tmpfs x\\134y rw\n"
    )
    first: Mount = table[0]
    assert (first.id, first.parent, first.device, first.root, first.path) == (36, 35, "98:0", "/mnt1", "/mnt 2")
    assert first.propagation == ("master:1", "shared:7")
    assert first.super_options == ("rw", "errors=continue")
    assert table[2].source == "x\\y"
    assert [mount.id for mount in below("/mnt 2", table)] == [37, 36]
    assert [mount.id for mount in below("/", table)] == [38, 37, 36]
    assert unescape("a\\011b\\012c\\043") == "a\tb\nc#"


def test_a_process_that_is_gone_has_no_mounts_to_show() -> None:
    with pytest.raises(HostError, match="cannot be read"):
        mounts(1 << 30)


def test_a_path_that_no_mount_explains(tmp_path: Path) -> None:
    assert of(str(tmp_path), []) is None
