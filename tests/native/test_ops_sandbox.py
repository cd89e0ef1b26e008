"""Each op that sets up the pod's sandbox – names, network, kernel parameters, PID 1 – alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from planlib import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    PROC,
    READY,
    InitResult,
    private_root,
    run_init,
    run_probe,
)

from appc.plan.ops import Op

pytestmark = pytest.mark.root

Init = Callable[..., InitResult]


@pytest.fixture
def sandboxed(binaries: Path, tree: Path) -> Init:
    """Perform ops in new namespaces for names, network and IPC; then the probe looks."""

    def perform(*ops: Op, probe: tuple[str, ...] = ("report",)) -> InitResult:
        track = [Op("unshare", CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWIPC), *private_root(tree)]
        track += [PROC, Op("mount", "sysfs", "sysfs", "/sys", 0, ()), Op("pivot"), *ops, run_probe(*probe)]
        return run_init(binaries / "appc-init", track)

    return perform


FIRST = 7


def test_names(sandboxed: Init) -> None:
    values = sandboxed(Op("hostname", "web-1"), Op("domainname", "example.org")).values()
    assert (values["hostname"], values["domainname"]) == ("web-1", "example.org")
    assert sandboxed(Op("hostname", "x" * 65)).failure == (FIRST, errno.EINVAL)


def test_loopback_comes_up_with_its_addresses(sandboxed: Init) -> None:
    look = ("read", "/sys/class/net/lo/flags", "read", "/proc/net/fib_trie")
    assert "127.0.0.1" not in sandboxed(probe=look).output
    output = sandboxed(Op("link-up", "lo"), probe=look).output
    assert output.startswith("0x9\n")
    assert "127.0.0.1" in output


@pytest.mark.parametrize("name", ["", "absent0", "a-name-that-is-too-long"])
def test_links_that_do_not_exist(sandboxed: Init, name: str) -> None:
    assert sandboxed(Op("link-up", name)).failure == (FIRST, errno.ENODEV)
    assert sandboxed(Op("address", name, "10.0.0.1", 8)).failure == (FIRST, errno.ENODEV)


def test_addresses_are_added(sandboxed: Init) -> None:
    ops = [Op("link-up", "lo"), Op("address", "lo", "169.254.169.255", 32), Op("address", "lo", "10.1.2.3", 24)]
    output = sandboxed(*ops, probe=("read", "/proc/net/fib_trie")).output
    assert "169.254.169.255" in output
    assert "10.1.2.3" in output
    assert "127.0.0.1" in output
    assert sandboxed(*ops, ops[1]).failure == (FIRST + 3, errno.EEXIST)


def test_addresses_of_version_6(sandboxed: Init) -> None:
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("the kernel has no IPv6")
    op = Op("address", "lo", "fd00::17", 64)
    assert "fd000000000000000000000000000017" in sandboxed(op, probe=("read", "/proc/net/if_inet6")).output


@pytest.mark.parametrize(
    ("address", "prefix"),
    [("10.0.0", 8), ("10.0.0.256", 8), ("10.0.0.1", 33), ("fd00::g", 8), ("fd00::1", 129), ("", 0), ("10.0.0.1/8", 8)],
)
def test_addresses_that_are_none(sandboxed: Init, address: str, prefix: int) -> None:
    assert sandboxed(Op("address", "lo", address, prefix)).failure == (FIRST, errno.EINVAL)


def test_sysctl_of_the_pods_namespaces(sandboxed: Init) -> None:
    ops = [Op("sysctl", "net.ipv4.ip_unprivileged_port_start", "123"), Op("sysctl", "kernel.shm_rmid_forced", "1")]
    ops += [Op("sysctl", "net.ipv4.conf.lo.rp_filter", "2")]
    look = ("ip_unprivileged_port_start", "conf/lo/rp_filter")
    output = sandboxed(*ops, probe=sum((("read", f"/proc/sys/net/ipv4/{name}") for name in look), ())).output
    assert output.split() == ["123", "2"]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("net.ipv4.nothing", errno.ENOENT),
        ("net.ipv4", errno.EISDIR),
        (".//.sysrq-trigger", errno.EINVAL),
        ("../../etc/x", errno.ENOENT),
    ],
)
def test_sysctl_refuses(sandboxed: Init, key: str, error: int) -> None:
    assert sandboxed(Op("sysctl", key, "1")).failure == (FIRST, error)


def test_sysctl_is_not_written_through_the_images_proc(binaries: Path, tree: Path) -> None:
    trap = tree / "proc/sys/net/ipv4/ip_unprivileged_port_start"
    trap.parent.mkdir(parents=True)
    trap.write_text("trap")
    track = [Op("unshare", CLONE_NEWNET), *private_root(tree), Op("pivot")]
    track += [Op("sysctl", "net.ipv4.ip_unprivileged_port_start", "123"), run_probe("exit", "0")]
    assert run_init(binaries / "appc-init", track).exit_status == 0
    assert trap.read_text() == "trap"


def test_join_takes_namespaces_by_their_number(binaries: Path, tree: Path) -> None:
    # A mount namespace that is not ours, kept by a process that waits in it.
    track = [
        Op("unshare", CLONE_NEWNS | CLONE_NEWUTS),
        Op("propagation", 0x44000),
        Op("root-bind", str(tree), str(tree)),
    ]
    track += [Op("hostname", "elsewhere"), PROC, Op("pivot"), run_probe("report", "link", "/proc/self/ns/mnt")]
    first = run_init(binaries / "appc-init", track)
    assert first.values()["hostname"] == "elsewhere"
    own = {13: os.open("/proc/self/ns/mnt", os.O_RDONLY), 12: os.open("/proc/self/ns/uts", os.O_RDONLY)}
    back = [Op("unshare", CLONE_NEWNS | CLONE_NEWUTS), Op("hostname", "away"), Op("join", CLONE_NEWUTS)]
    back += [Op("join", CLONE_NEWNS), Op("exec", (str(tree / "probe"),), ("probe", "report"), ())]
    result = run_init(binaries / "appc-init", back, keep_fds=own)
    for fd in own.values():
        os.close(fd)
    assert result.values()["hostname"] == os.uname().nodename


def test_join_refuses_what_is_not_there(binaries: Path) -> None:
    assert run_init(binaries / "appc-init", [Op("join", CLONE_NEWNET)]).failure == (0, errno.EBADF)
    assert run_init(binaries / "appc-init", [Op("join", 12345)]).failure == (0, errno.EINVAL)
    wrong = os.open("/proc/self/ns/ipc", os.O_RDONLY)
    assert run_init(binaries / "appc-init", [Op("join", CLONE_NEWNET)], keep_fds={10: wrong}).failure == (
        0,
        errno.EINVAL,
    )
    os.close(wrong)


def test_reap_says_ready_and_ends_with_its_keeper(binaries: Path) -> None:
    result = run_init(binaries / "appc-init", [Op("death-signal", 9), Op("reap")])
    assert result.reports == [(READY, 1, 0)]
    assert result.exit_status == 0
