"""The root an app gets: file systems and devices of OS-SPEC.md, what is hidden, what can be written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, Done, one_app, pod_manifest, until

from capabilities import need

EROFS = "errno 30 "


@pytest.fixture(scope="module")
def mounts(shared: Appc) -> dict[str, tuple[str, set[str]]]:
    """Mount point → (file system, options) as an app sees them."""
    done = shared.run(PROBE, "--", "mounts")
    shared.clear()
    found = {}
    for line in done.out.splitlines():
        before, _, after = line.removeprefix("mount=").partition(" - ")
        fields = before.split(" ")
        found[fields[4]] = (after.split(" ")[0], set(fields[5].split(",")) | set(after.split(" ")[2].split(",")))
    return found


@pytest.mark.parametrize(
    ("path", "fstype", "options"),
    [
        ("/", "overlay", {"rw"}),
        ("/proc", "proc", {"rw", "nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        ("/dev", "tmpfs", {"rw", "nosuid"}),
        ("/dev/pts", "devpts", {"rw", "nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", {"rw", "nosuid", "nodev", "noexec"}),
        ("/dev/mqueue", "mqueue", {"rw", "nosuid", "nodev", "noexec"}),
    ],
)
def test_file_systems(mounts: dict[str, tuple[str, set[str]]], path: str, fstype: str, options: set[str]) -> None:
    assert mounts[path][0] == fstype
    assert options <= mounts[path][1]


def test_the_end_of_a_pod_does_not_wait_for_the_disk(mounts: dict[str, tuple[str, set[str]]]) -> None:
    """Unmounting any other overlay writes the whole file system that holds its upper layer to disk."""
    assert mounts["/"][1] & {"volatile", "fsync=volatile"}, "as older and newer kernels show it"


def test_nothing_of_the_hosts_mounts_is_seen(mounts: dict[str, tuple[str, set[str]]]) -> None:
    own = ("/proc", "/sys", "/dev")
    assert [path for path in mounts if path != "/" and not path.startswith(own)] == []


def test_devices(appc: Appc) -> None:
    devices = {
        "null": (1, 3),
        "zero": (1, 5),
        "full": (1, 7),
        "random": (1, 8),
        "urandom": (1, 9),
        "tty": (5, 0),
        "pts/ptmx": (5, 2),
    }
    actions = [word for name in devices for word in ("stat", f"/dev/{name}")]
    done = appc.probe(*actions, "stat", "/dev/console", "link", "/dev/ptmx", "link", "/dev/fd", "list", "/dev")
    lines = done.out.splitlines()
    for line, (name, (major, minor)) in zip(lines, devices.items(), strict=False):
        path, mode, owner, number, _ = line.split(" ")
        assert (path, number) == (f"/dev/{name}", f"{major}:{minor}")
        assert stat.S_ISCHR(int(mode, 8))
        assert stat.S_IMODE(int(mode, 8)) == 0o666
        assert owner == "0:0"
    console = lines[len(devices)].split(" ")
    assert stat.S_ISCHR(int(console[1], 8))
    assert lines[len(devices) + 1 :] == [
        "pts/ptmx",
        "/proc/self/fd",
        *("console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
    ]


def test_other_devices_of_the_host_cannot_be_opened(appc: Appc) -> None:
    need("cgroup")
    done = appc.run(PROBE, "--exec", "/bin/sh", "--", "-c", "mknod /tmp-disk b 8 0 && cat /tmp-disk")
    assert done.status == 1
    assert "Operation not permitted" in done.err


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"])
def test_hidden_files_are_empty(appc: Appc, path: str) -> None:
    done = appc.probe("read", path)
    assert done.out == "" or "errno 2 " in done.out


def test_hidden_directories_are_empty(appc: Appc) -> None:
    done = appc.probe("list", "/sys/firmware", "list", "/proc/scsi", "write", "/sys/firmware/x", "x")
    assert all("errno" in line for line in done.out.splitlines()), done


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/lru_gen/enabled",
        "/sys/kernel/uevent_seqnum",
    ],
)
def test_what_would_change_the_host_cannot_be_written(appc: Appc, path: str) -> None:
    if not Path(path).exists():
        pytest.skip("this kernel has no such file")
    assert EROFS in appc.probe("write", path, "x").out


def test_every_execution_starts_from_a_clean_root(appc: Appc) -> None:
    trees = appc.root / "store/images"
    before = sorted(str(path) for path in trees.rglob("*"))
    first = appc.probe("write", "/work/file", "changed", "write", "/new", "new", "read", "/work/file")
    assert first.out == "/work/file: written\n/new: written\nchanged"
    second = appc.probe("read", "/work/file", "read", "/new")
    assert second.out == "here\n/new: errno 2 (No such file or directory)\n"
    assert sorted(str(path) for path in trees.rglob("*")) == before


def test_apps_of_one_image_have_roots_of_their_own(appc: Appc) -> None:
    both = until("[ -e /dev/shm/a ] && [ -e /dev/shm/b ]")
    script = f"echo of $AC_APP_NAME > /mine; echo > /dev/shm/$AC_APP_NAME; {both}; cat /mine"
    flags = ("--exec", "/bin/sh", "--", "-c", script)
    done = appc.run(PROBE, "--name", "a", *flags, "---", PROBE, "--name", "b", *flags)
    assert sorted(done.out.splitlines()) == ["a: of a", "b: of b"]


def test_a_read_only_root(appc: Appc) -> None:
    done = appc.probe(
        *("write", "/new", "x", "write", "/work/file", "x"),
        *("write", "/dev/shm/x", "x", "write", "/data/x", "x"),
        flags=("--readonly-rootfs", "--mount", "volume=data,target=/data"),
        pod=("--volume", "data,kind=empty"),
    )
    lines = done.out.splitlines()
    assert EROFS in lines[0]
    assert EROFS in lines[1]
    assert lines[2:] == ["/dev/shm/x: written", "/data/x: written"]


def hosts(done: Done) -> list[list[str]]:
    return [line.split() for line in done.out.splitlines()]


def test_hosts_where_the_image_has_none(appc: Appc) -> None:
    done = appc.probe("read", "/etc/hosts", pod=("--hostname", "here.example.com"))
    assert ["127.0.0.1", "localhost", "here.example.com"] in hosts(done)
    assert hosts(done)[1][:2] == ["::1", "localhost"]


def test_hosts_of_the_image_or_of_a_volume_stay(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "hosts.aci",
        {"etc/hosts": "10.0.0.1 image\n"},
        "example.com/hosts",
        app=one_app(),
        dependencies=[{"imageName": PROBE}],
    )
    assert appc.run("example.com/hosts", "--", "read", "/etc/hosts").out == "10.0.0.1 image\n"
    (sandbox / "hosts").write_text("10.0.0.2 volume\n")
    done = appc.probe(
        *("read", "/etc/hosts"),
        pod=("--volume", f"hosts,kind=host,source={sandbox / 'hosts'}"),
        flags=("--mount", "volume=hosts,target=/etc/hosts"),
    )
    assert done.out == "10.0.0.2 volume\n"
    assert (sandbox / "hosts").read_text() == "10.0.0.2 volume\n"


def test_dependencies_lie_over_each_other_in_their_order(appc: Appc, sandbox: Path) -> None:
    def layer(name: str, files: list[str], **fields: object) -> None:
        appc.add(sandbox / f"{name}.aci", dict.fromkeys(files, name), f"example.com/{name}", **fields)

    layer("d", ["all", "d-over-b"])
    layer("b", ["all", "d-over-b", "b-only"], dependencies=[{"imageName": PROBE}])
    layer("c", ["all", "c-over-d"], dependencies=[{"imageName": "example.com/d"}])
    layer(
        "a",
        ["all"],
        dependencies=[{"imageName": "example.com/b"}, {"imageName": "example.com/c"}],
        app=one_app(["/bin/sh", "-c", "for i in all d-over-b b-only c-over-d; do cat /$i; echo; done"]),
    )
    assert appc.run("example.com/a").out.split() == ["a", "d", "b", "c"]


def test_a_whitelist_leaves_out_what_it_does_not_name(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "white.aci",
        {"kept": "kept", "left-out": "x"},
        "example.com/white",
        app=one_app(["/probe", "list", "/", "list", "/bin"]),
        dependencies=[{"imageName": PROBE}],
        pathWhitelist=["/probe", "/kept", "/bin/sh"],
    )
    done = appc.run("example.com/white")
    assert done.out.split() == ["bin", "dev", "kept", "probe", "proc", "sys", "sh"], done


def test_the_roots_own_mode_and_owner_are_the_images(appc: Appc) -> None:
    name, mode, owner, *_ = appc.probe("stat", "/").out.split(" ")
    assert (name, owner) == ("/", "0:0")
    assert stat.S_IMODE(int(mode, 8)) == 0o755


def test_a_manifest_can_make_the_root_read_only(appc: Appc, sandbox: Path) -> None:
    image = appc.add(sandbox / "again.aci", name="example.com/again", dependencies=[{"imageName": PROBE}])
    apps = [
        {"name": name, "image": {"id": image}, "app": one_app(["/probe", "write", "/new", "x"]), "readOnlyRootFS": ro}
        for name, ro in (("shut", True), ("open", False))
    ]
    done = appc.run("--pod-manifest", pod_manifest(sandbox / "pod.json", apps))
    assert "open: /new: written" in done.out.splitlines()
    assert any(line.startswith("shut: ") and EROFS in line for line in done.out.splitlines())
