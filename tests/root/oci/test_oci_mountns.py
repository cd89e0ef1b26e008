"""Containers without a mount namespace of their own (config-linux.md, Namespaces): in the runtime's, or another's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Runtime, configuration

MOUNTS = "ls /proc/self/ns; cat /scratch/kept; echo new > /scratch/other; cat /scratch/other; cat /hidden"


def without_mounts(config: dict[str, Any], *path: str) -> dict[str, Any]:
    """The configuration with the mount namespace at `path`, or none."""
    others = [one for one in config["linux"]["namespaces"] if one["type"] != "mount"]
    joined = [{"type": "mount", "path": path[0]}] if path else []
    config["linux"]["namespaces"] = [*others, *joined]
    return config


def full(runtime: Runtime, *args: str) -> dict[str, Any]:
    """A configuration with mounts of several kinds, and paths that are hidden and closed."""
    rootfs = runtime.bundle / "rootfs"
    (rootfs / "scratch").mkdir(exist_ok=True)
    (rootfs / "scratch/kept").write_text("kept\n")
    (rootfs / "hidden").write_text("secret\n")
    config = configuration(*args)
    config["mounts"].append({"destination": "/scratch", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"]})
    config["linux"].update(maskedPaths=["/hidden"], readonlyPaths=["/bin"])
    return config


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process in a mount namespace of its own."""
    command = ["unshare", "--mount", "sh", "-c", "echo ready; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def mounts_of(pid: int | str) -> str:
    return Path(f"/proc/{pid}/mountinfo").read_text()


def test_the_runtimes_mount_namespace_is_inherited_and_left_as_it_was(runtime: Runtime) -> None:
    before = mounts_of("self")
    script = f"{MOUNTS}; echo x > /bin/x; readlink /proc/self/ns/mnt; /bin/true && ls /"
    config = without_mounts(full(runtime, "/bin/sh", "-c", script))
    runtime.configure(config)
    done = runtime("run", "--bundle", str(runtime.bundle), "one")
    lines = done.stdout.splitlines()
    assert lines.count("kept") == lines.count("new") == 1
    assert "secret" not in lines
    assert "Read-only" in done.stderr
    assert os.readlink("/proc/self/ns/mnt") in lines
    assert {"probe", "scratch"} <= set(lines)
    assert "etc" not in lines
    assert mounts_of("self") == before
    assert not (runtime.bundle / "rootfs/scratch/other").exists()


def test_another_mount_namespace_is_joined_and_left_as_it_was(runtime: Runtime, stranger: int) -> None:
    before = mounts_of(stranger)
    config = without_mounts(full(runtime, "/bin/sleep", "1000"), f"/proc/{stranger}/ns/mnt")
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    assert os.readlink(f"/proc/{runtime.state('one')['pid']}/ns/mnt") == os.readlink(f"/proc/{stranger}/ns/mnt")
    assert runtime("exec", "one", "/bin/sh", "-c", MOUNTS).stdout.endswith("kept\nnew\n")
    assert mounts_of(stranger) == before
    assert os.readlink(f"/proc/{stranger}/root") == "/"


@pytest.mark.parametrize("kind", ["create", "detached"])
def test_commands_find_the_root_of_the_container(runtime: Runtime, kind: str) -> None:
    runtime.configure(without_mounts(full(runtime, "/bin/sleep", "1000")))
    if kind == "create":
        runtime.create("one")
        runtime("start", "one")
    else:
        words = runtime.words("run", "--detach", "--bundle", str(runtime.bundle), "one")
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert runtime("exec", "--cwd", "/bin", "one", "/bin/sh", "-c", "pwd; ls /").stdout.startswith("/bin\nbin\n")
    # Its own mounts are no namespace's: what is not there cannot be changed.
    script = "busybox umount /proc || echo no; busybox mount -t tmpfs x /scratch || echo no"
    assert runtime("exec", "--cap", "CAP_SYS_ADMIN", "one", "/bin/sh", "-c", script).stdout == "no\nno\n"
    pid = runtime.state("one")["pid"]
    runtime("kill", "one", "KILL")
    runtime.wait(pid)
    runtime("delete", "one")


def test_hooks_see_the_root_with_its_mounts(runtime: Runtime, sandbox: Path) -> None:
    out = sandbox / "hook"
    root = runtime.bundle / "rootfs"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"ls {root}/scratch {root}/proc/1 > {out}"]}
    config = without_mounts(full(runtime, "/bin/true"))
    config["hooks"] = {"createContainer": [hook]}
    runtime.configure(config)
    runtime("run", "--bundle", str(runtime.bundle), "one")
    assert {"kept", "status"} <= set(out.read_text().split())


def test_what_needs_mounts_of_its_own_is_refused(runtime: Runtime) -> None:
    def refused(change: dict[str, Any], *mounts: dict[str, Any]) -> str:
        config = without_mounts(full(runtime, "/bin/true"))
        config["linux"].update(change)
        config["mounts"] += mounts
        runtime.configure(config)
        return runtime.create("one", fails=1)

    bind = {"destination": "/b", "source": "/etc", "options": ["rbind", "rshared"]}
    assert "mounts[4].options: only mounts in a mount namespace" in refused({}, bind)
    assert "linux.rootfsPropagation: only mounts in a mount namespace" in refused({"rootfsPropagation": "rslave"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    kinds = [{"type": kind} for kind in ("user", "pid", "uts", "ipc", "network")]
    said = refused({"namespaces": kinds, "uidMappings": mapping, "gidMappings": mapping})
    assert "linux.namespaces: a container with a user namespace needs a mount namespace, too" in said
    assert runtime("list", "--quiet").stdout == ""


def test_mounts_are_found_in_the_order_they_are_listed(runtime: Runtime) -> None:
    """Data of a file system is ignored for what is bound, as by mount(2); a misspelt option is not."""
    config = configuration("/probe", "mounts")
    for name, options in (("a", ["shared"]), ("b", ["ro", "mode=755", "size=1k"]), ("c", ["rshared", "nosuid"])):
        mount = {"destination": f"/{name}", "source": "/etc", "options": ["rbind", *options]}
        config["mounts"] += [mount, {"destination": f"/{name}t", "type": "tmpfs", "source": "t"}]
    runtime.configure(config)
    shown = runtime("run", "--bundle", str(runtime.bundle), "one").stdout.splitlines()
    places = [line.split(" ")[4] for line in shown if line.count(" ") > 5]
    assert [place for place in places if place.startswith(("/a", "/b", "/c"))] == [
        "/a",
        "/at",
        "/b",
        "/bt",
        "/c",
        "/ct",
    ]
    assert all("shared:" in line for line in shown if " /a " in line or " /c " in line)
    config["mounts"][-2]["options"].append("readonly")
    runtime.configure(config)
    assert "mounts[7].options[3]: a bind mount has no option readonly" in runtime.create("one", fails=1)


def test_what_is_mounted_below_a_shared_mount_stays_on_the_host(runtime: Runtime, sandbox: Path) -> None:
    peer = sandbox / "peer"
    peer.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "peer", peer], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", peer], check=True)
        (peer / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "below", peer / "below"], check=True)
        (peer / "below/file").write_text("host\n")
        config = configuration("/bin/sh", "-c", "cat /peer/below/file")
        config["mounts"].append({"destination": "/peer", "source": str(peer), "options": ["rbind", "rshared"]})
        runtime.configure(config)
        assert runtime("run", "--bundle", str(runtime.bundle), "one").stdout.startswith("host\n")
        assert (peer / "below/file").read_text() == "host\n"
        assert mounts_of("self").count(f" {peer}/below ") == 1
    finally:
        subprocess.run(["umount", "-R", peer], check=True)
