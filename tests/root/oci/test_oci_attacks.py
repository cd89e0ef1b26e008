"""Every attack on OCI runtimes that got a number, tried: by what lies in a root, and by who runs in a container."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from capabilities import need
from conftest import PACKAGE, PATIENCE, Runtime, configuration, installed

ROUNDS = 12  # of races


@pytest.fixture
def runtime(sandbox: Path) -> Iterator[Runtime]:
    """The runtime as it is installed."""
    need("root", "native", "cgroup", "busybox")
    made = Runtime(sandbox, str(installed(sandbox / "installed")))
    yield made
    for name in made("list", "--quiet").stdout.split():
        made("delete", "--force", name)


@pytest.fixture
def outside(sandbox: Path) -> Path:
    """A directory of the host, with a file in it."""
    directory = sandbox / "outside"
    directory.mkdir()
    (directory / "file").write_text("host\n")
    return directory


def untouched(directory: Path) -> bool:
    return os.listdir(directory) == ["file"] and (directory / "file").read_text() == "host\n"


def tried(runtime: Runtime, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a container whatever comes of it."""
    runtime.configure(config)
    words = runtime.words("run", "--bundle", str(runtime.bundle), "one")
    return subprocess.run(
        words, capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL
    )


def root(runtime: Runtime) -> Path:
    return runtime.bundle / "rootfs"


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something over and over beside what is done here."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def swapping(directory: Path, link: Path) -> Callable[[], None]:
    """An action that puts a link where a directory is, or back: at every moment one of the two is there."""
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    exchange = 2  # RENAME_EXCHANGE

    def swap() -> None:
        assert renameat2(-100, os.fsencode(directory), -100, os.fsencode(link), exchange) == 0

    return swap


def test_programs_that_lead_back_to_the_runtime_change_nothing(runtime: Runtime) -> None:
    """CVE-2019-5736: who enters executes the runtime by way of /proc/self/exe, and it is written to while it runs."""
    ours = [*(PACKAGE / "_native").glob("appc-*"), Path(runtime.program[0])]
    before = [path.read_bytes() for path in ours]
    trap = "while true; do for p in /proc/[0-9]*/exe; do echo x > $p; done; done 2> /dev/null"
    runtime.configure(configuration("/bin/sh", "-c", trap))
    runtime.create("one")
    runtime("start", "one")
    (root(runtime) / "loop").symlink_to("/proc/self/exe")
    for _ in range(5):
        # What is executed is a copy that exists for this process alone, and that does not run twice.
        runtime("exec", "one", "/loop", fails=127)
    runtime("delete", "--force", "one")
    done = tried(runtime, configuration("/loop"))
    assert done.returncode != 0
    assert [path.read_bytes() for path in ours] == before


def test_who_joins_cannot_be_looked_into(runtime: Runtime) -> None:
    """CVE-2016-9962: descriptors and memory of a process on its way into the container."""
    look = "while true; do for p in /proc/[0-9]*; do ls $p/fd/ $p/root/ $p/cwd/; cat $p/environ; done; done"
    config = configuration("/bin/sh", "-c", f"({look}) > /seen 2> /dev/null")
    config["process"]["env"] = ["PATH=/bin"]
    runtime.configure(config)
    runtime.create("one")
    runtime("start", "one")
    for _ in range(ROUNDS):
        subprocess.run(
            runtime.words("exec", "one", "/bin/true"),
            env={**os.environ, "HOST_SECRET": "x"},
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=True,
        )
    runtime("delete", "--force", "one")
    seen = (root(runtime) / "seen").read_text(errors="replace")
    assert "HOST_SECRET" not in seen
    names = set(seen.split("\n"))
    assert not names & {"usr", "var", "lib64", "opt"} - set(os.listdir(root(runtime)))


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/elsewhere", "{outside}", "../../../../../../../../../..{outside}"])
def test_kernel_file_systems_are_not_reached_by_links_of_the_image(
    runtime: Runtime, outside: Path, place: str, target: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2026-41579: /proc, /sys or /dev is a link."""
    (root(runtime) / "elsewhere").mkdir()
    (root(runtime) / place).symlink_to(target.format(outside=outside))
    config = configuration("/bin/true")
    config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs"})
    config["linux"]["devices"] = [{"path": "/dev/sub/zero", "type": "c", "major": 1, "minor": 5}]
    done = tried(runtime, config)
    assert done.returncode == 1
    assert f"/{place}" in done.stderr
    assert untouched(outside)
    assert list((root(runtime) / "elsewhere").iterdir()) == []


def test_devices_are_not_made_by_way_of_links_of_the_image(runtime: Runtime, outside: Path) -> None:
    """CVE-2026-41579, with no file system mounted on /dev: nodes, links and the terminal's multiplexer."""
    (root(runtime) / "dev").mkdir()
    for name in ("sub", "pts", "null", "ptmx", "fd"):
        (root(runtime) / "dev" / name).symlink_to(outside / name)
    config = configuration("/bin/true")
    config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    config["linux"]["devices"] = [{"path": "/dev/sub/zero", "type": "c", "major": 1, "minor": 5}]
    tried(runtime, config)
    assert untouched(outside)


@pytest.mark.parametrize("kind", ["tmpfs", "directory", "file"])
def test_targets_that_are_swapped_for_links_stay_in_the_root(runtime: Runtime, outside: Path, kind: str) -> None:
    """CVE-2021-30465, CVE-2024-45310: who shares the root plays with the way to a mount while it is made."""
    (root(runtime) / "way").mkdir()
    (root(runtime) / "link").symlink_to(outside)
    source = runtime.base / "source"
    if kind == "file":
        source.write_text("x")
    else:
        source.mkdir()
    config = configuration("/bin/true")
    mount = {"destination": "/way/made/deep", "type": "tmpfs", "source": "tmpfs"}
    bind = {"destination": "/way/made/deep", "type": "bind", "source": str(source), "options": ["bind"]}
    config["mounts"].append(mount if kind == "tmpfs" else bind)
    with meanwhile(swapping(root(runtime) / "way", root(runtime) / "link")):
        for _ in range(ROUNDS):
            tried(runtime, config)
    assert untouched(outside)
    assert not any(str(outside) in line for line in Path("/proc/self/mountinfo").read_text().splitlines())


def test_writes_to_proc_do_not_go_where_the_container_points(runtime: Runtime) -> None:
    """CVE-2019-16884, CVE-2025-52881: a volume over /proc takes labels, scores and parameters meant for the kernel."""
    fake = runtime.base / "fake"
    for path in ("thread-self/attr/exec", "self/attr/exec", "thread-self/oom_score_adj", "self/oom_score_adj"):
        (fake / path).parent.mkdir(parents=True, exist_ok=True)
        (fake / path).write_text("trap")
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").symlink_to("/trigger")
    (root(runtime) / "trigger").write_text("trap")
    config = configuration("/bin/sleep", "1000")
    config["mounts"][0] = {"destination": "/proc", "type": "bind", "source": str(fake), "options": ["rbind"]}
    config["process"]["oomScoreAdj"] = 500
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    runtime.configure(config)
    runtime.create("one")
    pid = runtime.state("one")["pid"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    namespace = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "cat", "/proc/sys/net/ipv4/ip_forward"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert namespace.stdout == "1\n"
    files = [path for path in fake.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.read_text() for path in (*files, root(runtime) / "trigger")} == {"trap"}


@pytest.mark.parametrize("key", ["kernel.core_pattern", "net/../kernel/core_pattern", "kernel.sysrq", "vm.swappiness"])
def test_parameters_of_the_host_are_refused(runtime: Runtime, key: str) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    config = configuration("/bin/true")
    config["linux"]["sysctl"] = {key: "|/x"}
    runtime.configure(config)
    assert "linux.sysctl" in runtime.create("one", fails=1)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_parameters_of_a_host_s_namespace_that_is_joined_are_refused(runtime: Runtime) -> None:
    file = Path("/proc/sys/net/ipv4/ip_forward")
    before = file.read_text()
    config = configuration("/bin/true")
    network = next(one for one in config["linux"]["namespaces"] if one["type"] == "network")
    network["path"] = f"/proc/{os.getpid()}/ns/net"
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "0" if int(before) else "1"}
    runtime.configure(config)
    try:
        assert "linux.sysctl.net.ipv4.ip_forward" in runtime.create("one", fails=1)
        assert file.read_text() == before
    finally:
        file.write_text(before)


def test_commands_gain_no_inheritable_capabilities(runtime: Runtime) -> None:
    """CVE-2022-29162, CVE-2022-27650."""
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    runtime("start", "one")
    report = runtime("exec", "--cap", "CAP_NET_RAW", "one", "/probe", "report").stdout
    assert "status.CapInh=0000000000000000\n" in report
    assert "status.CapAmb=0000000000000000\n" in report


def test_groups_above_its_own_are_out_of_sight(runtime: Runtime) -> None:
    """CVE-2023-25809: control groups of the host, in a container without a cgroup namespace."""
    config = configuration("/bin/sh", "-c", "cd /sys/fs/cgroup; ls */..; ls */release_agent; echo 0 > */cgroup.procs")
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "cgroup"]
    config["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    done = tried(runtime, config)
    assert "system.slice" not in done.stdout
    assert "release_agent: No such file" in done.stdout + done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/dev/fd/{}", "/proc/thread-self/fd/{}", "/link{}"])
def test_a_working_directory_by_way_of_a_descriptor_is_refused(runtime: Runtime, path: str) -> None:
    """CVE-2024-21626: a directory of the host that is still open becomes the way out."""
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    runtime("start", "one")
    for number in range(3, 30):
        where = path.format(number)
        if path.startswith("/link"):
            (root(runtime) / where[1:]).symlink_to(f"/proc/self/fd/{number}")
        if number % 9 == 0:
            config = configuration("/bin/ls", "..")
            config["process"]["cwd"] = where
            assert tried(runtime, {**config}).returncode == 1
        if number % 3 == 0:
            done = runtime("exec", "--cwd", where, "one", "/bin/ls", "..", fails=255)
            assert where in done.stderr


def test_descriptors_of_the_caller_stay_outside(runtime: Runtime, outside: Path) -> None:
    """CVE-2024-21626: what the caller left open."""
    fd = os.open(outside, os.O_RDONLY)
    os.set_inheritable(fd, True)
    runtime.configure(configuration("/bin/ls", "-l", "/proc/self/fd/"))
    try:
        shown = runtime("run", "--bundle", str(runtime.bundle), "one", close_fds=False).stdout
        runtime.configure(configuration("/bin/sleep", "1000"))
        runtime.create("two")
        runtime("start", "two")
        shown += runtime("exec", "two", "/bin/ls", "-l", "/proc/self/fd/", close_fds=False).stdout
        held = [os.readlink(link) for link in Path(f"/proc/{runtime.state('two')['pid']}/fd").iterdir()]
    finally:
        os.close(fd)
    assert str(outside) not in shown
    assert not any("outside" in path or "appc" in path for path in held)


def test_what_is_masked_is_not_by_what_the_image_put_at_dev_null(runtime: Runtime, outside: Path) -> None:
    """CVE-2025-31133: masking binds a null device that the image made a link to what it wants to write to."""
    (root(runtime) / "dev").mkdir()
    (root(runtime) / "dev/null").symlink_to("/target")
    (root(runtime) / "target").write_text("secret\n")
    (root(runtime) / "masked").write_text("masked\n")
    config = configuration("/bin/sh", "-c", "cat /masked; ls -l /masked /target")
    config["linux"]["maskedPaths"] = ["/masked"]
    done = tried(runtime, config)
    assert done.returncode == 0
    assert "secret" not in done.stdout
    assert "1,   3" in done.stdout.splitlines()[0]
    # Without a file system of its own on /dev there is no place for the devices.
    config["mounts"] = config["mounts"][:1]
    done = tried(runtime, config)
    assert done.returncode == 1
    assert "/dev/null" in done.stderr
    assert (root(runtime) / "target").read_text() == "secret\n"


@pytest.mark.parametrize("name", ["console", "ptmx", "pts"])
def test_a_terminal_is_not_mounted_by_way_of_links(
    runtime: Runtime, console: socket.socket, outside: Path, name: str
) -> None:
    """CVE-2025-52565: /dev/console, or what leads to the terminal, is a link to what ought to stay covered."""
    (root(runtime) / "dev").mkdir()
    (root(runtime) / "dev" / name).symlink_to("/covered")
    (root(runtime) / "covered").write_text("own\n")
    config = configuration("/bin/sh", "-c", "cat /covered > /seen")
    config["process"]["terminal"] = True
    config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
    ]
    runtime.configure(config)
    subprocess.run(
        runtime.words(
            "run", "-d", "--bundle", str(runtime.bundle), "--console-socket", str(runtime.base / "console.sock"), "one"
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (root(runtime) / "covered").read_text() == "own\n"
    seen = root(runtime) / "seen"
    assert not seen.exists() or seen.read_text() in ("", "own\n")
    assert untouched(outside)


def test_sources_that_are_swapped_for_links_show_nothing_of_the_host(runtime: Runtime, outside: Path) -> None:
    """A mount below another's reach: the read-only copy of a path of the root is taken from the root itself."""
    (root(runtime) / "path").mkdir()
    (root(runtime) / "path/file").write_text("own\n")
    (root(runtime) / "link").symlink_to(outside)
    config = configuration("/bin/cat", "/path/file")
    config["linux"]["readonlyPaths"] = ["/path"]
    config["linux"]["maskedPaths"] = ["/path/other"]
    with meanwhile(swapping(root(runtime) / "path", root(runtime) / "link")):
        shown = {tried(runtime, config).stdout for _ in range(ROUNDS)}
    assert shown <= {"own\n", ""}


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../one", "/etc", "a\nb", "a b", "x" * 256])
def test_names_lead_nowhere(runtime: Runtime, name: str) -> None:
    runtime.configure(configuration("/bin/true"))
    before = sorted(os.listdir(runtime.base))
    assert "invalid container id" in runtime.create(name, fails=1)
    for verb in ("state", "kill", "delete", "start", "pause", "events"):
        assert "invalid container id" in runtime(verb, name, fails=1).stderr
    assert "invalid container id" in runtime("delete", "--force", name, fails=1).stderr
    assert sorted(set(os.listdir(runtime.base)) - {"oci", "output"}) == sorted(set(before) - {"oci", "output"})


def test_a_state_that_was_forged_names_no_other_process(runtime: Runtime) -> None:
    """A directory of states belongs to root alone, and a number that is another's is not signalled."""
    runtime.configure(configuration("/bin/sleep", "1000"))
    runtime.create("one")
    assert (runtime.root / "one").stat().st_mode & 0o077 == 0
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        record = runtime.root / "one/status/_process"
        real = record.read_text()
        record.write_text(f"pid={bystander.pid}\nstarttime=5\ncreated=1\n")
        runtime("kill", "one", "KILL", fails=1)
        runtime("exec", "one", "/bin/true", fails=255)
        assert bystander.poll() is None
        record.write_text(real)
        bystander.kill()


def test_what_a_configuration_says_to_a_terminal_is_shown_harmless(runtime: Runtime) -> None:
    config = configuration("/bin/\x1b]0;pwn\x07")
    config["process"]["cwd"] = "/\x1b[31m"
    runtime.configure(config)
    message = runtime.create("one", fails=1)
    assert message.replace("\n", "").isprintable()
    (runtime.bundle / "config.json").write_text(json.dumps({"ociVersion": "\x1b[2J"}))
    assert runtime.create("one", fails=1).replace("\n", "").isprintable()
