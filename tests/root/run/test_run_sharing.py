"""What the apps of a pod share (pods.md): network, processes, IPC and hostname; and what not."""

from __future__ import annotations

import os
from pathlib import Path

from pod_kit import PROBE, Appc, Done, until


def pair(appc: Appc, first: str, second: str, *pod: str) -> Done:
    """Run two shell scripts as the apps a and b of one pod."""
    shell = ("--exec", "/bin/sh", "--", "-c")
    return appc.run(*pod, PROBE, "--name", "a", *shell, first, "---", PROBE, "--name", "b", *shell, second)


def test_processes(appc: Appc) -> None:
    # Signals reach the other app; it would otherwise run for ever. Its failure then stops this one as well.
    done = pair(appc, "sleep 600", f"trap '' TERM; {until('kill -TERM -2')}; ls -d /proc/1 /proc/2")
    assert done.status == 143
    assert "b: /proc/1" in done.out


def test_network(appc: Appc) -> None:
    done = pair(appc, "nc -l -p 999 -e echo hello", until("nc 127.0.0.1 999"))
    assert done.out == "b: hello\n"


def test_ipc(appc: Appc) -> None:
    done = pair(appc, "echo hello > /dev/shm/word", f"{until('[ -s /dev/shm/word ]')}; cat /dev/shm/word")
    assert done.out == "b: hello\n"


def test_hostname(appc: Appc) -> None:
    done = pair(appc, "cat /proc/sys/kernel/hostname", "cat /proc/sys/kernel/hostname", "--hostname", "one.example")
    assert sorted(done.out.splitlines()) == ["a: one.example", "b: one.example"]


def test_the_hostname_when_nobody_gives_one(appc: Appc) -> None:
    done = appc.probe("read", "/proc/sys/kernel/hostname")
    assert done.out == f"appc-{appc.the_pod().uuid}\n"


def test_the_roots_are_not_shared(appc: Appc) -> None:
    done = pair(appc, "echo > /only-mine; echo > /dev/shm/made", f"{until('[ -e /dev/shm/made ]')}; ls /only-mine")
    assert done.status == 1
    assert "b: ls: /only-mine: No such file or directory" in done.err


def test_no_network_but_the_loopback(appc: Appc) -> None:
    done = appc.probe("read", "/proc/net/dev", "connect", "127.0.0.1", "9", "connect", "10.1.2.3", "9")
    interfaces = [line.partition(":")[0].strip() for line in done.out.splitlines() if ":" in line and "|" not in line]
    assert interfaces[0] == "lo"
    assert "errno 111 " in done.out  # the loopback is up: somebody answers, with a refusal
    assert "errno 101 " in done.out


def test_the_hosts_network(appc: Appc) -> None:
    done = appc.run(
        *("--net", "host", PROBE, "--exec", "/bin/sh", "--"),
        *("-c", "ls /sys/class/net; cat /proc/sys/kernel/hostname /etc/resolv.conf"),
    )
    assert done.status == 0, done
    lines = done.out.splitlines()
    assert set(os.listdir("/sys/class/net")) <= set(lines)
    assert f"appc-{appc.the_pod().uuid}" in lines
    if Path("/etc/resolv.conf").exists():
        assert set(Path("/etc/resolv.conf").read_text().splitlines()) <= set(lines)


def test_a_pod_does_not_see_the_hosts_processes(appc: Appc) -> None:
    done = appc.run(PROBE, "--exec", "/bin/sh", "--", "-c", "ls -d /proc/[0-9]*")
    numbers = [int(line.rpartition("/")[2]) for line in done.out.splitlines()]
    assert numbers[0] == 1
    assert len(numbers) <= 4
