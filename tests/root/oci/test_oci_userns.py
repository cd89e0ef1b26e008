"""Containers in user namespaces: who their processes are, inside and outside, and whose their files are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from capabilities import need
from conftest import CAPABILITIES, Runtime, configuration

HOST = 100_000
COUNT = 65_536
# Of the network namespace that the tests run in.
HOST_NETWORK = f"/proc/{os.getpid()}/ns/net"
MAPPING = [{"containerID": 0, "hostID": HOST, "size": COUNT}]


def mapped(*args: str, **process: Any) -> dict[str, Any]:
    """A configuration in a new user namespace, whose root is `HOST`."""
    config = configuration(*args)
    config["process"].update(process)
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = MAPPING
    return config


def shown(runtime: Runtime, config: dict[str, Any], name: str = "one") -> str:
    """What the container says when it is run."""
    runtime.configure(config)
    return runtime("run", "--bundle", str(runtime.bundle), name).stdout


def own(runtime: Runtime) -> None:
    """Make the root the container's."""
    for path, _, files in os.walk(runtime.bundle / "rootfs"):
        for entry in (path, *(os.path.join(path, file) for file in files)):
            os.lchown(entry, HOST, HOST)


def test_root_inside_is_nobody_outside(runtime: Runtime) -> None:
    own(runtime)
    runtime.configure(
        mapped("/bin/sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; echo made >/file; sleep 1000")
    )
    runtime.create("one")
    state = runtime.state("one")
    runtime("start", "one")
    status = Path(f"/proc/{state['pid']}/status")
    assert f"Uid:\t{HOST}\t{HOST}\t{HOST}\t{HOST}\n" in status.read_text()
    assert f"Gid:\t{HOST}\t{HOST}\t{HOST}\t{HOST}\n" in status.read_text()
    assert "\nGroups:\t \n" in status.read_text()
    assert os.readlink(f"/proc/{state['pid']}/ns/user") != os.readlink("/proc/self/ns/user")
    made = runtime.bundle / "rootfs/file"
    while not made.exists():
        pass
    assert made.stat().st_uid == HOST
    assert (runtime.base / "output").read_text().split() == ["0", str(HOST), str(COUNT)] * 2
    said = runtime(
        "exec", "--user", "5:6", "one", "/bin/sh", "-c", "cat /proc/self/status; readlink /proc/self/ns/user"
    )
    assert "Uid:\t5\t5\t5\t5" in said.stdout
    assert said.stdout.endswith(os.readlink(f"/proc/{state['pid']}/ns/user") + "\n")
    runtime("kill", "one", "KILL")
    runtime.wait(state["pid"])


def test_a_user_that_is_not_root(runtime: Runtime) -> None:
    own(runtime)
    config = mapped("/bin/sh", "-c", "echo again >/dev/stdout; cat /proc/self/status")
    config["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    said = shown(runtime, config)
    assert said.startswith("again\n")
    assert "Uid:\t7\t7" in said
    assert "Gid:\t8\t8" in said
    assert "Groups:\t9 \n" in said


def test_devices_terminals_and_kernel_parameters(runtime: Runtime) -> None:
    own(runtime)
    script = (
        "echo x >/dev/null && echo 1 >/dev/full; ls -l /dev/null; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    )
    config = mapped("/bin/sh", "-c", script)
    config["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "80"}
    config["linux"]["readonlyPaths"] = ["/proc/sys"]
    config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
    config["process"]["oomScoreAdj"] = 100
    said = shown(runtime, config)
    assert "1,   3" in said
    assert said.endswith("\n80\n")


def test_capabilities_are_those_of_the_namespace(runtime: Runtime) -> None:
    own(runtime)
    config = mapped("/bin/sh", "-c", "cat /proc/self/status; chroot /bin /busybox true && echo rooted")
    config["process"]["capabilities"] = {
        key: [*CAPABILITIES, "CAP_SYS_RESOURCE", "CAP_SYS_CHROOT"] for key in ("bounding", "effective", "permitted")
    }
    (runtime.bundle / "rootfs/bin/chroot").symlink_to("busybox")
    said = shown(runtime, config)
    assert f"CapEff:\t{1 << 5 | 1 << 10 | 1 << 18 | 1 << 24:016x}\n" in said
    assert said.endswith("rooted\n")


def test_a_user_namespace_is_joined_by_its_path(runtime: Runtime) -> None:
    own(runtime)
    runtime.configure(mapped("/bin/sleep", "1000"))
    runtime.create("first")
    pid = runtime.state("first")["pid"]
    config = mapped("/bin/sh", "-c", "readlink /proc/self/ns/user; readlink /proc/self/ns/net")
    paths = {"user": f"/proc/{pid}/ns/user", "network": f"/proc/{pid}/ns/net"}
    for namespace in config["linux"]["namespaces"]:
        if namespace["type"] in paths:
            namespace["path"] = paths[namespace["type"]]
    del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    assert shown(runtime, config, "second").splitlines() == [os.readlink(path) for path in paths.values()]


def test_a_network_of_the_host_is_joined_too(runtime: Runtime) -> None:
    own(runtime)
    config = mapped("/bin/sh", "-c", "readlink /proc/self/ns/net")
    next(one for one in config["linux"]["namespaces"] if one["type"] == "network")["path"] = HOST_NETWORK
    assert shown(runtime, config) == os.readlink(HOST_NETWORK) + "\n"


def test_hooks_join_it(runtime: Runtime, tmp_path: Path) -> None:
    own(runtime)
    out = tmp_path / "out"
    config = mapped("/bin/true")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "readlink /proc/self/ns/user >&2; id -u >&2"]}
    config["hooks"] = {"createContainer": [hook], "createRuntime": [{**hook, "args": ["sh", "-c", f"cat >{out}"]}]}
    runtime.configure(config)
    said = runtime("run", "--bundle", str(runtime.bundle), "one").stderr
    assert said.startswith("user:[")
    assert os.readlink("/proc/self/ns/user") not in said
    assert '"pid":' in out.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uidMappings": []}, "linux.uidMappings: is required for a new user namespace"),
        ({"uidMappings": [{"containerID": 1, "hostID": HOST, "size": 1}]}, "linux.uidMappings: maps no root"),
        ({"gidMappings": [{"containerID": 0, "hostID": HOST, "size": 5}]}, "process.user.gid: 6 is not mapped"),
        ({"namespaces": [{"type": "mount"}]}, "linux.uidMappings: is for a user namespace"),
    ],
)
def test_what_makes_no_namespace_is_refused_by_its_path(runtime: Runtime, change: dict[str, Any], message: str) -> None:
    config = mapped("/bin/true", user={"uid": 5, "gid": 6})
    config["linux"].update(change)
    runtime.configure(config)
    assert message in runtime("run", "--bundle", str(runtime.bundle), "one", fails=1).stderr


def test_mappings_the_kernel_refuses_are_said(runtime: Runtime) -> None:
    config = mapped("/bin/true")
    config["linux"]["uidMappings"] = [*MAPPING, {"containerID": 5, "hostID": 900_000, "size": 1}]
    runtime.configure(config)
    assert "linux.uidMappings" in runtime("run", "--bundle", str(runtime.bundle), "one", fails=1).stderr


def volume(runtime: Runtime, *options: str, **more: Any) -> dict[str, Any]:
    """A mount of a directory of the host's, which holds a file of user 3."""
    source = runtime.base / "volume"
    source.mkdir(exist_ok=True)
    (source / "file").write_text("content")
    os.chown(source / "file", 3, 4)
    return {"destination": "/volume", "source": str(source), "type": "bind", "options": ["bind", *options], **more}


def test_a_mount_has_its_owners_mapped(runtime: Runtime) -> None:
    need("idmap")
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    config = configuration("/bin/ls", "-ln", "/volume")
    config["mounts"].append(volume(runtime, "rw", uidMappings=mapping, gidMappings=mapping))
    assert shown(runtime, config).splitlines()[1].split()[2:4] == ["1003", "1004"]


def test_a_mount_is_mapped_as_its_container(runtime: Runtime) -> None:
    need("idmap")
    own(runtime)
    script = "ls -ln /volume; echo >/volume/made; ls -ln /open"
    for option in ("idmap", "ridmap"):
        config = mapped("/bin/sh", "-c", script)
        config["mounts"].append(volume(runtime, "rbind" if option == "ridmap" else "bind", option))
        config["mounts"].append({**volume(runtime), "destination": "/open"})
        lines = [line.split() for line in shown(runtime, config).splitlines() if "file" in line or "made" in line]
        owners = {(line[-1], line[2]) for line in lines}
        assert ("file", "3") in owners, "mapped, its owner is the same inside"
        assert ("file", "65534") in owners, "and else nobody"
        made = runtime.base / "volume/made"
        assert made.stat().st_uid == 0, "what its root makes is root's outside"
        made.unlink()


def test_idmap_without_mappings_is_refused(runtime: Runtime) -> None:
    config = configuration("/bin/true")
    config["mounts"].append(volume(runtime, "idmap"))
    runtime.configure(config)
    assert "mounts[3].options" in runtime("run", "--bundle", str(runtime.bundle), "one", fails=1).stderr
    config["mounts"][3] = {
        "destination": "/volume",
        "type": "tmpfs",
        "source": "tmpfs",
        "uidMappings": MAPPING,
        "gidMappings": MAPPING,
    }
    runtime.configure(config)
    assert "only bind mounts" in runtime("run", "--bundle", str(runtime.bundle), "one", fails=1).stderr
