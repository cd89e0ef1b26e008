"""What CRIU is asked for a container, from the command lines engines write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appc.errors import AppcError, Unenforceable, UsageError
from appc.host.probe import HostFacts
from appc.oci import criu_options
from appc.oci.criu_options import dump_options, group_roots, handed, outside, restore_options, stream_key
from appc.oci.external import make_mount_points, restored_mounts
from appc.oci.options import VERBS, Args, parse

SOFT = 3  # enum criu_cg_mode
OWN = [{"type": "mount"}]
CLONE_NEWNET = 0x40000000


def parsed(verb: str, *words: str) -> Args:
    options, short, *_ = VERBS[verb]
    return parse(words, options, short, verb)


def dumped(*words: str, **more: Any) -> list[tuple[str, Any]]:
    given: dict[str, Any] = {"freezer": "/cg/one", "mounts": [], "streams": [], "namespaces": {}, **more}
    return dump_options(parsed("checkpoint", *words, "one"), pid=7, **given)


def restored(*words: str, **more: Any) -> list[tuple[str, Any]]:
    given: dict[str, Any] = {"mounts": [], "streams": [], "namespaces": {}, "cgroups": [], **more}
    return restore_options(parsed("restore", *words, "one"), root="/r", **given)


def values(options: list[tuple[str, Any]], name: str) -> list[Any]:
    return [value for key, value in options if key == name]


def test_podmans_checkpoint() -> None:
    """As podman writes it; what is not asked for is not granted."""
    words = ("--image-path", "/i", "--work-path", "/w", "--leave-running", "--tcp-established", "--file-locks")
    options = dumped(*words)
    assert set(options) == {
        ("log_level", 4),
        ("log_file", "dump.log"),
        ("pid", 7),
        ("orphan_pts_master", 1),
        ("tcp_established", 1),
        ("file_locks", 1),
        ("leave_running", 1),
        ("manage_cgroups", 1),
        ("manage_cgroups_mode", SOFT),
        ("freeze_cgroup", "/cg/one"),
    }


def test_what_lies_outside_is_named_by_keys() -> None:
    options = dumped(
        mounts=[("/vol", "/vol"), ("/proc/kcore", "device c 1:3")],
        streams=["file[16:4]", "file[16:4]"],
        namespaces={"network": 12, "ipc": 14},
    )
    assert values(options, "ext_mnt") == [("/vol", "/vol"), ("/proc/kcore", "device c 1:3")]
    assert values(options, "external") == ["file[16:4]", "net[12]:extRootNetNS"]


def test_memory_is_tracked_for_what_is_written_in_steps() -> None:
    assert values(dumped("--pre-dump"), "track_mem") == [1]
    options = dumped("--parent-path", "../before")
    assert (values(options, "track_mem"), values(options, "parent_img")) == ([1], ["../before"])
    assert values(dumped(), "track_mem") == []


def test_containerds_restore() -> None:
    words = ("--image-path", "/i", "--work-path", "/w", "--detach", "--pid-file", "/p", "-no-subreaper", "--bundle=/b")
    namespaces = {"network": "/n", "uts": "/u", "ipc": "/j"}
    options = restored(
        *words,
        mounts=[("/vol", "/host")],
        streams=["file[16:4]", "pipe:[9]", "pipe:[9]"],
        namespaces=namespaces,
        cgroups=[("", "/g/one")],
    )
    assert values(options, "root") == ["/r"]
    assert values(options, "ext_mnt") == [("/vol", "/host")]
    # A stream that two descriptors share is handed over once.
    assert values(options, "inherit_fd") == [
        ("file[16:4]", 4),
        ("pipe:[9]", 5),
        ("extRootNetNS", 6),
    ]
    assert handed(["", "pipe:[9]", "pipe:[9]"]) == [1]
    assert outside(namespaces) == ["network"]
    assert values(options, "join_ns") == [("uts", "/u"), ("ipc", "/j")]
    assert values(options, "cg_root") == [("", "/g/one")]
    assert [values(options, name) for name in ("rst_sibling", "notify_scripts", "tcp_close")] == [[1], [1], []]


def test_labels_are_handed_on() -> None:
    options = restored("--lsm-profile", "apparmor:p", "--lsm-mount-context", "c", "--tcp-close")
    assert values(options, "lsm_profile") == ["apparmor:p"]
    assert values(options, "lsm_mount_context") == ["c"]
    assert values(options, "tcp_close") == [1]


@pytest.mark.parametrize(("mode", "number"), [("soft", 3), ("full", 4), ("strict", 5)])
def test_modes_of_control_groups(mode: str, number: int) -> None:
    assert values(dumped("--manage-cgroups-mode", mode), "manage_cgroups_mode") == [number]
    with pytest.raises(UsageError, match="--manage-cgroups-mode"):
        restored("--manage-cgroups-mode", mode.upper())


def test_nothing_is_restored_out_of_its_groups() -> None:
    with pytest.raises(UsageError, match="'ignore' is none of soft, full, strict"):
        dumped("--manage-cgroups-mode", "ignore")


def test_only_networks_are_left_empty() -> None:
    assert values(dumped("--empty-ns", "network"), "empty_ns") == [CLONE_NEWNET]
    with pytest.raises(AppcError, match="--empty-ns"):
        dumped("--empty-ns", "uts")


def test_groups_by_hierarchy() -> None:
    base = "/sys/fs/cgroup"
    facts = HostFacts(unified=base, bases={base: base}, controllers={"memory": base})
    assert group_roots([f"{base}/a/one"], facts) == [("", "/a/one")]
    places = {f"{base}/{name}": f"{base}/{name}" for name in ("cpu,cpuacct", "unified")}
    both = dict.fromkeys(("cpu", "cpuacct"), f"{base}/cpu,cpuacct")
    facts = HostFacts(unified=f"{base}/unified", bases=places, controllers=both)
    groups = [f"{base}/unified/one", f"{base}/cpu,cpuacct/one"]
    assert group_roots(groups, facts) == [("", "/one"), ("cpu", "/one"), ("cpuacct", "/one")]


@pytest.mark.parametrize(
    ("linux", "field"),
    [
        ({"namespaces": [{"type": "mount"}, {"type": "user"}]}, r"linux\.namespaces\[1\]"),
        ({"namespaces": [{"type": "cgroup", "path": "/u"}, *OWN]}, r"linux\.namespaces\[0\]\.path"),
        ({"namespaces": [{"type": "mount", "path": "/m"}]}, r"linux\.namespaces\[0\]\.path"),
        ({"namespaces": [{"type": "pid"}]}, r"linux\.namespaces: "),
        ({"namespaces": [*OWN, {"type": "pid", "path": "/p"}]}, r"linux\.namespaces\[1\]\.path"),
        ({"namespaces": OWN, "seccomp": {"listenerPath": "/agent"}}, r"linux\.seccomp\.listenerPath"),
        ({"namespaces": OWN, "netDevices": {"eth0": {}}}, r"linux\.netDevices"),
    ],
)
def test_what_does_not_come_back_the_same_is_refused(linux: dict[str, Any], field: str) -> None:
    with pytest.raises(Unenforceable, match=field):
        criu_options.refuse({"linux": linux})


def test_streams_that_a_caller_can_put_another_in_place_of() -> None:
    assert [stream_key(text) for text in ("pipe:[1]", "file[1:2]", "/dev/pts/0", "socket:[1]", 7, None)] == [
        "pipe:[1]",
        "file[1:2]",
        *[""] * 4,
    ]


def test_keys_of_mounts_have_their_sources(tmp_path: Path) -> None:
    (tmp_path / "vol").mkdir()
    (tmp_path / "link").symlink_to("vol")
    config = {
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "data/", "type": "bind", "source": "link"},
            {"destination": "/x", "type": "none", "source": "/nowhere", "options": ["rbind"]},
        ]
    }
    found = dict(restored_mounts(config, str(tmp_path)))
    assert found["/data"] == str(tmp_path / "vol")
    assert found["/x"] == "/nowhere"
    assert "/proc" not in found
    assert found["device c 1:3"] == "/dev/null"


def test_mount_points_are_made_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "up").symlink_to("../../outside")
    (root / "to").symlink_to("/real")
    (tmp_path / "file").write_text("")
    config = {
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/proc/below", "type": "tmpfs"},
            {"destination": "/to/a/b", "type": "bind", "source": "/"},
            {"destination": "/etc/hosts", "type": "bind", "source": str(tmp_path / "file")},
        ]
    }
    make_mount_points(config, str(tmp_path), str(root))
    make_mount_points(config, str(tmp_path), str(root))
    assert (root / "real/a/b").is_dir()
    assert (root / "etc/hosts").is_file()
    assert list((root / "proc").iterdir()) == []
    assert not (tmp_path / "outside").exists()
    (tmp_path / "outside").mkdir()
    with pytest.raises(AppcError, match=r"mounts\[0\]\.destination: /up/x"):
        make_mount_points({"mounts": [{"destination": "/up/x", "type": "tmpfs"}]}, str(tmp_path), str(root))
    assert list((tmp_path / "outside").iterdir()) == []
