"""Fields of a configuration that change what the process is to the kernel, looked at from inside."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appc.host.probe import facts
from capabilities import need
from conftest import Runtime, configuration

# For what the front has no part in.
ONCE = pytest.mark.parametrize("runtime", ["front"], indirect=True)
SCRIPT_ENDS = "; echo end"  # so that the shell makes a process for what comes before


def run(runtime: Runtime, config: dict[str, Any], *options: str) -> str:
    """Run a container in the foreground; return what it prints."""
    runtime.configure(config)
    return runtime("run", "--bundle", str(runtime.bundle), *options, "one").stdout


def shell(script: str, **process: Any) -> dict[str, Any]:
    config = configuration("/bin/sh", "-c", script)
    config["process"].update(process)
    return config


def test_clocks_are_shifted_and_shared_by_commands(runtime: Runtime) -> None:
    need("time-namespace")
    config = configuration("/bin/sleep", "1000")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {
        "boottime": {"secs": 1_000_000, "nanosecs": 5},
        "monotonic": {"secs": 7, "nanosecs": 9},
    }
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    outside = float(Path("/proc/uptime").read_text().split()[0])
    inside = float(runtime("exec", "one", "/bin/cat", "/proc/uptime").stdout.split()[0])
    assert 999_990 < inside - outside < 1_000_100
    lines = Path(f"/proc/{runtime.state('one')['pid']}/timens_offsets").read_text().split()
    assert lines == ["monotonic", "7", "9", "boottime", "1000000", "5"]


def test_the_scheduler_knows_the_process(runtime: Runtime) -> None:
    fields = "cut -d ' ' -f 19,41 /proc/self/stat" + SCRIPT_ENDS
    (runtime.bundle / "rootfs/bin/cut").symlink_to("busybox")
    out = run(runtime, shell(fields, scheduler={"policy": "SCHED_BATCH", "nice": 7}))
    assert out.split() == ["7", "3", "end"]
    config = shell(fields, scheduler={"policy": "SCHED_OTHER", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]})
    # Children begin anew, and the reader is one.
    assert run(runtime, config).split() == ["0", "0", "end"]


def test_io_has_its_priority(runtime: Runtime) -> None:
    (runtime.bundle / "rootfs/bin/ionice").symlink_to("busybox")
    config = shell("ionice -p $$", ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6})
    assert run(runtime, config) == "best-effort: prio 6\n"
    config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    assert run(runtime, config).startswith("idle")


def test_a_machine_of_32_bits_is_claimed(runtime: Runtime) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("needs x86_64")
    (runtime.bundle / "rootfs/bin/uname").symlink_to("busybox")
    config = shell("uname -m")
    config["linux"]["personality"] = {"domain": "LINUX32"}
    assert run(runtime, config) == "i686\n"
    config["linux"]["personality"] = {"domain": "LINUX"}
    assert run(runtime, config) == "x86_64\n"


def test_memory_comes_from_the_nodes_named(runtime: Runtime) -> None:
    need("memory-policies")
    config = configuration("/bin/sleep", "1000")
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    maps = Path(f"/proc/{runtime.state('one')['pid']}/numa_maps").read_text()
    assert "bind=static:0" in maps
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "900"}
    runtime.configure(config)
    assert "linux.memoryPolicy" in runtime.create("two", fails=1)


def test_commands_run_on_the_processors_named(runtime: Runtime) -> None:
    config = configuration("/bin/sleep", "1000")
    config["process"]["execCPUAffinity"] = {"initial": "0", "final": "0"}
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    status = runtime("exec", "one", "/bin/cat", "/proc/self/status").stdout
    assert "Cpus_allowed_list:\t0\n" in status
    # It says nothing of the container's own process.
    own = Path(f"/proc/{runtime.state('one')['pid']}/status").read_text()
    ours = next(line for line in Path("/proc/self/status").read_text().splitlines() if "Cpus_allowed_list" in line)
    assert ours in own


def test_a_tmpfs_begins_with_what_was_there(runtime: Runtime) -> None:
    data = runtime.bundle / "rootfs/data"
    (data / "sub").mkdir(parents=True)
    (data / "sub/file").write_text("content\n")
    os.chown(data / "sub/file", 5, 6)
    os.chmod(data / "sub/file", 0o4755)
    (data / "link").symlink_to("sub/file")
    os.mkfifo(data / "pipe")
    data.chmod(0o711)
    config = shell("/probe mounts; cd /data; ls -nR; cat link; echo new > sub/other")
    config["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nodev", "size=1m"]}
    )
    out = run(runtime, config)
    assert " /data rw,nodev,relatime - tmpfs " in out
    assert "content\n" in out
    assert "-rwsr-xr-x    1 5        6" in out
    assert "prw" in out
    assert not (data / "sub/other").exists()
    config["mounts"][-1]["options"] += ["ro"]
    runtime.configure(config)
    assert "Read-only" in runtime("run", "--bundle", str(runtime.bundle), "one", fails=1).stderr
    config["mounts"][-1]["type"] = "ramfs"
    runtime.configure(config)
    assert "mounts[3].options: tmpcopyup is for a tmpfs" in runtime.create("one", fails=1)


@pytest.mark.parametrize(
    ("option", "expected"), [("rshared", "shared:"), ("rslave", "master:"), ("rprivate", ""), ("runbindable", "unbind")]
)
def test_mounts_go_on_appearing_as_asked(runtime: Runtime, sandbox: Path, option: str, expected: str) -> None:
    peer = sandbox / "peer"
    peer.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "peer", peer], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", peer], check=True)
        (peer / "later").mkdir()
        config = configuration("/bin/sleep", "1000")
        config["mounts"].append(
            {"destination": "/peer", "type": "bind", "source": str(peer), "options": [option, "rbind"]}
        )
        runtime.configure(config)
        runtime.create("one")
        runtime("start", "one")
        inside = f"/proc/{runtime.state('one')['pid']}/mountinfo"

        def shown(path: str) -> list[str]:
            return [line for line in Path(inside).read_text().splitlines() if line.split(" ")[4] == path]

        (line,) = shown("/peer")
        tags = line.partition(" - ")[0].split(" ")[6:]
        assert [tag for tag in tags if tag.startswith(expected)] if expected else tags == []
        subprocess.run(["mount", "-t", "tmpfs", "later", peer / "later"], check=True)
        assert bool(shown("/peer/later")) == (option in ("rshared", "rslave"))
        runtime("delete", "--force", "one")
    finally:
        subprocess.run(["umount", "-R", peer], check=True)


def test_a_container_has_the_hosts_network_device(runtime: Runtime) -> None:
    need("ip")
    (runtime.bundle / "rootfs/bin/ip").symlink_to("busybox")
    name = f"appc{os.getpid() % 100000}"
    config = shell("ip addr show")
    config["linux"]["netDevices"] = {name: {"name": "eth7"}}
    runtime.configure(config)
    assert f"linux.netDevices.{name}: the host has no such" in runtime.create("one", fails=1)
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    try:
        for address in ("10.99.1.2/24", "fd00:99::2/64"):
            subprocess.run(["ip", "addr", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "mtu", "1300", "up"], check=True)
        out = run(runtime, config)
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False, stderr=subprocess.DEVNULL)
    assert ": eth7" in out
    (line,) = (line for line in out.splitlines() if ": eth7" in line)
    assert ",UP" in line
    assert "mtu 1300" in line
    assert "inet 10.99.1.2/24 " in out
    assert "inet6 fd00:99::2/64 " in out


def test_a_container_without_process_waits_until_it_is_deleted(runtime: Runtime) -> None:
    config = configuration()
    del config["process"]
    runtime.configure(config)
    runtime.create("one")
    assert runtime.state("one")["status"] == "created"
    assert "without process" in runtime("start", "one", fails=1).stderr
    assert runtime.state("one")["status"] == "created"
    runtime("delete", "--force", "one")
    assert "process" in runtime("run", "--bundle", str(runtime.bundle), "two", fails=1).stderr


def test_the_process_is_who_it_is_said_to_be(runtime: Runtime) -> None:
    config = configuration("/probe", "report")
    config["process"].update(
        user={"uid": 5, "gid": 6, "umask": 0o27, "additionalGids": [7, 8]},
        cwd="/bin",
        env=["PATH=/bin", "A=b=c"],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        oomScoreAdj=321,
        noNewPrivileges=False,
    )
    kept = ["CAP_KILL", "CAP_CHOWN"]
    config["process"]["capabilities"] = {
        "bounding": [*kept, "CAP_NET_RAW"],
        "permitted": kept,
        "effective": ["CAP_KILL"],
        "inheritable": kept,
        "ambient": ["CAP_KILL"],
    }
    config["hostname"], config["domainname"] = "inside", "example.com"
    lines = run(runtime, config).splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    assert [values[name] for name in ("uid", "gid", "groups")] == ["5 5 5", "6 6 6", "7 8"]
    assert [values[name] for name in ("umask", "cwd", "argv.1")] == ["0027", "/bin", "report"]
    assert {"env.PATH=/bin", "env.A=b=c"} <= set(lines)
    assert [values[name] for name in ("rlimit.7", "rlimit.4", "oom-score-adj")] == ["50 60", "0 0", "321"]
    assert [values[name] for name in ("hostname", "domainname")] == ["inside", "example.com"]
    kill, chown, raw = 1 << 5, 1 << 0, 1 << 13
    # A program of another user keeps what is ambient.
    masks = {"Bnd": kill | chown | raw, "Prm": kill, "Eff": kill, "Inh": kill | chown, "Amb": kill}
    assert {name: int(values[f"status.Cap{name}"], 16) for name in masks} == masks
    assert values["status.NoNewPrivs"] == "0"


def test_paths_are_hidden_and_closed(runtime: Runtime) -> None:
    (runtime.bundle / "rootfs/secret").mkdir()
    (runtime.bundle / "rootfs/secret/file").write_text("secret\n")
    (runtime.bundle / "rootfs/closed").mkdir()
    script = "ls /secret; cat /proc/kcore; echo x > /closed/x; echo x > /x; cat /proc/sys/kernel/shmmni"
    config = shell(script)
    config["root"]["readonly"] = True
    config["linux"].update(
        maskedPaths=["/secret", "/proc/kcore", "/missing"],
        readonlyPaths=["/closed", "/absent"],
        sysctl={"kernel.shmmni": "123"},
    )
    runtime.configure(config)
    done = runtime("run", "--bundle", str(runtime.bundle), "one")
    assert done.stdout == "123\n"
    assert done.stderr.count("Read-only file system") == 2
    for field, value in (("maskedPaths", ["/a/../b"]), ("readonlyPaths", ["/a/../b"]), ("sysctl", {"kernel.x": "1"})):
        runtime.configure({**config, "linux": {**config["linux"], field: value}})
        assert f"linux.{field}" in runtime.create("two", fails=1)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["ro", "nosuid", "nodev", "noexec", "noatime"], "ro,nosuid,nodev,noexec,noatime"),
        (["nosymfollow", "nodiratime"], "rw,nodiratime,relatime,nosymfollow"),
        (["strictatime"], "rw"),
    ],
)
def test_mounts_have_their_options(runtime: Runtime, options: list[str], shown: str) -> None:
    config = configuration("/probe", "mounts")
    config["mounts"].append({"destination": "/t", "type": "tmpfs", "source": "t", "options": [*options, "size=64k"]})
    (line,) = (line for line in run(runtime, config).splitlines() if " /t " in line)
    words = line.split(" ")
    assert set(words[5].split(",")) == set(shown.split(","))
    assert "size=64k" in words[-1]


def test_devices_are_those_given(runtime: Runtime) -> None:
    for name in ("stat", "dd"):
        (runtime.bundle / "rootfs/bin" / name).symlink_to("busybox")
    config = shell("stat -c '%n %F %t:%T %a %u:%g' /dev/mine /dev/pipe /dev/null; readlink /dev/fd; readlink /dev/ptmx")
    config["linux"]["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p"},
    ]
    assert run(runtime, config).splitlines() == [
        "/dev/mine character special file 1:5 640 3:4",
        "/dev/pipe fifo 0:0 666 0:0",
        "/dev/null character special file 1:3 666 0:0",
        "/proc/self/fd",
        "pts/ptmx",
    ]


@pytest.mark.parametrize(("joined", "file"), [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")])
def test_namespaces_are_joined_or_the_hosts(runtime: Runtime, joined: str, file: str) -> None:
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    pid = runtime.state("one")["pid"]
    config = configuration("/bin/sleep", "1000")
    others = [one for one in config["linux"]["namespaces"] if one["type"] != joined]
    config["linux"]["namespaces"] = [*others, {"type": joined, "path": f"/proc/{pid}/ns/{file}"}]
    runtime.configure(config)
    runtime.create("two")
    second = runtime.state("two")["pid"]
    assert os.readlink(f"/proc/{second}/ns/{file}") == os.readlink(f"/proc/{pid}/ns/{file}")
    config["linux"]["namespaces"] = others
    runtime.configure(config)
    runtime.create("three")
    third = runtime.state("three")["pid"]
    assert os.readlink(f"/proc/{third}/ns/{file}") == os.readlink(f"/proc/self/ns/{file}")
    config["linux"]["namespaces"] = [*others, {"type": joined, "path": "/proc/self/ns/mnt"}]
    runtime.configure(config)
    message = runtime.create("four", fails=1)
    assert "no namespace of that type" in message
    assert "linux.namespaces" in message


@ONCE
def test_real_time_is_had_or_refused(runtime: Runtime) -> None:
    """A group without a budget for it (cgroup v1), or a process bound to some processors, cannot have it."""
    for scheduler, expected in (
        ({"policy": "SCHED_FIFO", "priority": 7}, "1 7"),
        ({"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 10**7, "period": 10**8}, "6 0"),
    ):
        # Threads of such a policy cannot fork, but for ones whose children begin anew.
        config = configuration("/bin/sleep", "1000")
        config["process"]["scheduler"] = {**scheduler, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
        runtime.configure(config)
        done = subprocess.run(
            runtime.words("run", "--detach", "--bundle", str(runtime.bundle), "one"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(runtime.base / "errors").open("w"),
            check=False,
        )
        if done.returncode:
            assert "process.scheduler" in (runtime.base / "errors").read_text()
            continue
        stat = runtime("exec", "one", "/bin/cat", "/proc/1/stat").stdout.rpartition(")")[2].split()
        assert f"{stat[38]} {stat[37]}" == expected
        runtime("delete", "--force", "one")


@ONCE
@pytest.mark.parametrize(("propagation", "tag"), [("shared", "shared:"), ("unbindable", "unbindable"), ("private", "")])
def test_the_root_has_its_propagation(runtime: Runtime, propagation: str, tag: str) -> None:
    config = configuration("/probe", "mounts")
    config["linux"]["rootfsPropagation"] = propagation
    (line,) = (line for line in run(runtime, config).splitlines() if line.split(" ")[4:5] == ["/"])
    tags = line.partition(" - ")[0].split(" ")[6:]
    assert [word.startswith(tag) for word in tags] == ([True] if tag else [])


@ONCE
def test_labels_of_security_modules_that_are_missing_are_refused(runtime: Runtime) -> None:
    """Where they are there, tests/vm looks at them."""
    host = facts()
    for missing, section, field in (
        (not host.apparmor, "process", "apparmorProfile"),
        (not host.selinux, "process", "selinuxLabel"),
        (not host.selinux, "linux", "mountLabel"),
    ):
        if missing:
            config = shell("true")
            config[section][field] = "system_u:object_r:container_t:s0"
            runtime.configure(config)
            assert f"{section}.{field}" in runtime.create("one", fails=1)


@ONCE
def test_a_personality_has_no_flags(runtime: Runtime) -> None:
    config = shell("true")
    config["linux"]["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
    runtime.configure(config)
    assert "linux.personality.flags" in runtime.create("one", fails=1)


@ONCE
def test_bundles_say_where_their_root_is_and_what_they_follow(runtime: Runtime) -> None:
    config = shell("ls /")
    elsewhere = runtime.base / "elsewhere"
    (runtime.bundle / "rootfs").rename(elsewhere)
    (elsewhere / "here").touch()
    config["root"] = {"path": str(elsewhere)}
    config["ociVersion"] = "1.0.2"
    assert "here" in run(runtime, config)
    config["root"] = {"path": "rootfs"}
    runtime.configure(config)
    assert "root.path" in runtime.create("one", fails=1)
    config.update(root={"path": str(elsewhere)}, ociVersion="2.0.0")
    runtime.configure(config)
    assert "ociVersion: 2.0.0 is a later major version" in runtime.create("one", fails=1)


@ONCE
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "poststart", "poststop"])
def test_hooks_get_their_words_and_no_more_than_their_time(runtime: Runtime, sandbox: Path, kind: str) -> None:
    out = sandbox / "words"
    said = {"path": "/bin/sh", "args": ["name", "-c", f'echo "$0 $A" > {out}', "zero"], "env": ["A=b"]}
    late = {"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
    config = shell("true")
    config["hooks"] = {kind: [said, late]}
    runtime.configure(config)
    done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=None)
    assert out.read_text() == "zero b\n"
    assert f"hooks.{kind}[1]" in done.stderr
    assert (done.returncode == 0) == (kind == "poststop")
