"""Mounts, devices and paths of OCI configurations as ops."""

from __future__ import annotations

from typing import Any

import pytest
from compiling import config, mounted, named, ops, refused

from appc.errors import Unenforceable
from appc.plan.compile_root import FILE, NO_SYMLINKS, REPLACES_FILE
from appc.plan.ops import BIND_NO_SYMLINKS, BIND_RECURSIVE, Op
from golden.examples import facts

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME = 1, 2, 4, 8, 0x10
CGROUP = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nosuid"]}
OWN = {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}
DEV = {"destination": "/dev", "type": "tmpfs"}


class TestMounts:
    def test_a_file_system_gets_attributes_and_options_apart(self) -> None:
        options = ["nosuid", "noexec", "nodev", "relatime", "mode=755", "size=64k"]
        made = mounted({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": options})
        expected = ("tmpfs", "tmpfs", "/run", NOSUID | NOEXEC | NODEV, ("mode=755", "size=64k"))
        assert [op.name for op in made] == ["mkdir", "mount"]
        assert made[1].args == expected
        assert made[1].source == "mounts[0]"

    def test_the_last_of_contradicting_options_holds(self) -> None:
        made = mounted({"destination": "/x", "type": "tmpfs", "options": ["ro", "noexec", "rw", "exec"]})
        assert made[-1].args[3] == 0

    def test_a_bind_mount_of_a_relative_source_is_relative_to_the_bundle(self) -> None:
        made = mounted({"destination": "/x", "source": "data", "options": ["rbind"]}, bundle="/bundle")
        assert made[-1].args == ("/bundle/data", "/x", BIND_RECURSIVE, 0)

    def test_read_only_holds_for_the_top_of_a_recursive_bind_and_rro_for_all_of_it(self) -> None:
        top = mounted({"destination": "/x", "source": "/d", "options": ["rbind", "ro"]})
        assert top[-2].args == ("/d", "/x", BIND_RECURSIVE, 0)
        assert top[-1].args == ("/x", 0, RDONLY, 0)
        both = mounted({"destination": "/x", "source": "/d", "options": ["rbind", "ro", "rro"]})
        assert both[-1].args == ("/d", "/x", BIND_RECURSIVE, RDONLY)
        plain = mounted({"destination": "/x", "source": "/d", "options": ["bind", "ro", "noatime"]})
        assert plain[-1].args == ("/d", "/x", 0, RDONLY | NOATIME)

    def test_recursive_clearing_comes_after_the_bind(self) -> None:
        made = mounted({"destination": "/x", "source": "/d", "options": ["rbind", "rrw", "rsuid"]})
        assert made[-1].args == ("/x", 1, 0, RDONLY | NOSUID)

    def test_a_remount_changes_what_is_there(self) -> None:
        assert mounted({"destination": "/", "options": ["remount", "ro"]})[0].args == ("/", 0, RDONLY, 0)

    def test_hints_tell_of_files_and_symbolic_links(self) -> None:
        mount = {"destination": "/etc/app/x.conf", "source": "/h/x", "options": ["bind"]}
        made = mounted(mount, hints={"/etc/app/x.conf": (FILE, NO_SYMLINKS)})
        assert [(op.name, op.args[0]) for op in made[:2]] == [("mkdir", "/etc/app"), ("file", "/etc/app/x.conf")]
        assert made[-1].args[2] == BIND_NO_SYMLINKS
        replaced = mounted({"destination": "/d", "source": "/h", "options": ["bind"]}, hints={"/d": (REPLACES_FILE,)})
        assert [op.name for op in replaced] == ["remove", "mkdir", "bind"]

    def test_a_read_only_tmpfs_is_closed_after_what_lies_in_it_is_made(self) -> None:
        outer = {"destination": "/t", "type": "tmpfs", "options": ["ro"]}
        inner = {"destination": "/t/a/b", "type": "tmpfs", "options": []}
        found = ops(config(mounts=[outer, inner]))
        assert named(found, "mount") == [("tmpfs", "tmpfs", "/t", 0, ()), ("tmpfs", "tmpfs", "/t/a/b", 0, ())]
        names = [op.name for op in found]
        assert names.index("attributes") > names.index("symlink")
        assert named(found, "attributes") == [("/t", 0, RDONLY, 0)]

    def test_nothing_is_made_where_it_exists_for_sure(self) -> None:
        mounts = [{"destination": path, "type": "tmpfs"} for path in ("/a/b", "/a", "/a/b/c")]
        assert [args[0] for args in named(ops(config(mounts=mounts)), "mkdir")] == ["/a/b", "/a/b/c", "/dev"]

    def test_directories_of_kernel_file_systems_are_not_made(self) -> None:
        mounts = [{"destination": "/sys", "type": "sysfs"}, {"destination": "/sys/fs/x", "type": "tmpfs"}]
        assert ("/sys/fs/x", 0o755, 0, 0) not in named(ops(config(mounts=mounts)), "mkdir")

    def test_private_binds_are_had_by_making_everything_private_first(self) -> None:
        found = ops(config(mounts=[{"destination": "/x", "source": "/d", "options": ["rbind", "rprivate"]}]))
        names = [op.name for op in found]
        assert named(found, "propagation") == [(0x4000 | 1 << 18,)]
        assert names.index("propagation") < names.index("root-bind")

    def test_a_shared_root_is_made_so_after_the_pivot(self) -> None:
        found = ops(config(linux={"rootfsPropagation": "shared"}))
        names = [op.name for op in found]
        assert names.index("propagation") == names.index("pivot") + 1

    def test_labels_go_to_file_systems_that_take_them(self) -> None:
        mounts = [{"destination": "/t", "type": "tmpfs"}, {"destination": "/proc", "type": "proc"}]
        given = config(mounts=mounts, linux={"mountLabel": "u:r:t:s0"})
        assert [args[4] for args in named(ops(given, facts=facts(selinux=True)), "mount")] == [
            ("context=u:r:t:s0",),
            (),
        ]
        with pytest.raises(Unenforceable) as caught:
            ops(given)
        assert caught.value.where == "linux.mountLabel"

    @pytest.mark.parametrize(
        ("mount", "where"),
        [
            ({"destination": "/x", "source": "/d", "options": ["bind", "what"]}, "mounts[0].options[1]"),
            ({"destination": "/x", "source": "/d", "options": ["bind", "rshared"]}, "mounts[0].options"),
            ({"destination": "/x", "type": "ramfs", "options": ["tmpcopyup"]}, "mounts[0].options"),
            ({"destination": "/x", "type": "tmpfs", "uidMappings": [{}]}, "mounts[0].uidMappings"),
            ({"destination": "/a/../x", "type": "tmpfs"}, "mounts[0].destination"),
            ({"destination": "/x"}, "mounts[0].type"),
            ({"destination": "/x", "options": ["bind"]}, "mounts[0].source"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_cannot_be_honoured_is_refused_with_its_path(self, mount: dict[str, Any], where: str) -> None:
        assert refused(config(mounts=[mount])).where == where


class TestCgroupMounts:
    def test_v2_is_one_mount(self) -> None:
        found = ops(config(mounts=[CGROUP], linux=OWN), cgroups=("/sys/fs/cgroup/g",))
        assert named(found, "mount") == [("cgroup2", "cgroup", "/sys/fs/cgroup", RDONLY | NOSUID, ())]

    def test_v1_shows_the_hierarchies_the_container_is_in_with_the_usual_links(self) -> None:
        groups = ("/sys/fs/cgroup/cpu,cpuacct/g", "/sys/fs/cgroup/memory/g")
        found = ops(config(mounts=[CGROUP], linux=OWN), cgroups=groups, facts=facts("v1"))
        assert [(args[2], args[4]) for args in named(found, "mount")[1:]] == [
            ("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct")),
            ("/sys/fs/cgroup/memory", ("memory",)),
        ]
        assert ("cpu,cpuacct", "/sys/fs/cgroup/cpu") in named(found, "symlink")
        assert ("/sys/fs/cgroup", 0, RDONLY, 0) in named(found, "attributes")

    def test_without_a_cgroup_namespace_the_own_group_is_bound(self) -> None:
        found = ops(config(mounts=[CGROUP]), cgroups=("/sys/fs/cgroup/g",))
        assert ("/sys/fs/cgroup/g", "/sys/fs/cgroup", 0, RDONLY | NOSUID) in named(found, "bind")

    def test_a_host_without_cgroups_cannot_show_any(self) -> None:
        host = facts()
        host.cgroup = "none"
        assert refused(config(mounts=[CGROUP]), facts=host).where == "mounts[0]"


class TestDevices:
    def test_default_devices_are_there_without_being_asked_for(self) -> None:
        nodes = {args[0]: args[2:4] for args in named(ops(config(mounts=[DEV])), "mknod")}
        assert nodes == {
            "/dev/null": (1, 3),
            "/dev/zero": (1, 5),
            "/dev/full": (1, 7),
            "/dev/random": (1, 8),
            "/dev/urandom": (1, 9),
            "/dev/tty": (5, 0),
        }

    def test_a_device_is_made_with_mode_and_owner_wherever_it_is_asked_for(self) -> None:
        device = {"path": "/opt/d/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4}
        found = ops(config(mounts=[DEV], linux={"devices": [device]}))
        assert ("/opt/d/fuse", 0o20640, 10, 229, 3, 4) in named(found, "mknod")
        assert ("/opt/d", 0o755, 0, 0) in named(found, "mkdir")

    @pytest.mark.parametrize(("kind", "mode"), [("c", 0o20666), ("u", 0o20666), ("b", 0o60666), ("p", 0o10666)])
    def test_types(self, kind: str, mode: int) -> None:
        found = ops(config(mounts=[DEV], linux={"devices": [{"path": "/dev/x", "type": kind, "major": 1, "minor": 1}]}))
        assert named(found, "mknod")[-1][1] == mode

    def test_the_hosts_nodes_are_bound_where_none_can_be_made(self) -> None:
        found = ops(config(mounts=[DEV]), facts=facts(initial_userns=False))
        assert not named(found, "mknod")
        assert ("/dev/null", "/dev/null", 0, 0) in named(found, "bind")

    def test_what_an_image_left_in_dev_is_covered_by_the_hosts_nodes(self) -> None:
        found = ops(config())
        assert not named(found, "mknod")
        assert ("/dev/urandom", "/dev/urandom", 0, 0) in named(found, "bind")

    def test_a_dev_of_the_host_is_left_alone(self) -> None:
        found = ops(config(mounts=[{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]))
        assert not named(found, "mknod")
        assert not named(found, "symlink")

    def test_an_unknown_type_is_refused(self) -> None:
        device = {"path": "/dev/x", "type": "z", "major": 1, "minor": 1}
        assert refused(config(linux={"devices": [device]})).where == "linux.devices[0].type"


class TestPaths:
    def test_masks_tolerate_what_does_not_exist(self) -> None:
        found = [op for op in ops(config(linux={"maskedPaths": ["/proc/kcore"]})) if op.name == "mask"]
        assert found == [Op("mask", "/proc/kcore", tolerate=(2,), source="linux.maskedPaths[0]")]

    def test_paths_below_a_read_only_path_or_mount_need_nothing_more(self) -> None:
        sys = {"destination": "/sys", "type": "sysfs", "options": ["ro"]}
        paths = ["/proc/sys", "/proc/sys/kernel", "/sys/bus", "/proc/bus"]
        found = ops(config(mounts=[sys], linux={"readonlyPaths": paths}))
        assert [args[1] for args in named(found, "bind") if str(args[0]).startswith("@")] == ["/proc/sys", "/proc/bus"]

    def test_a_writable_mount_below_a_read_only_one_keeps_the_path_alive(self) -> None:
        mounts = [
            {"destination": "/sys", "type": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/x", "type": "tmpfs"},
        ]
        found = ops(config(mounts=mounts, linux={"readonlyPaths": ["/sys/fs"]}))
        assert ("@/sys/fs", "/sys/fs", BIND_RECURSIVE, RDONLY) in named(found, "bind")

    def test_a_read_only_root_is_closed_last(self) -> None:
        found = ops(config(root={"readonly": True}), files=(("/etc/hosts", 0o644, b"x", False),))
        names = [op.name for op in found]
        assert found[names.index("pivot") - 1] == Op("attributes", "/", 0, RDONLY, 0, source="root.readonly")
        assert names.index("file") < names.index("pivot")

    def test_a_file_may_replace_the_images(self) -> None:
        for replace in (False, True):
            names = [
                op.name
                for op in ops(config(), files=(("/etc/hosts", 0o644, b"x", replace),))
                if "/etc/hosts" in op.args
            ]
            assert names == (["remove", "file"] if replace else ["file"])
